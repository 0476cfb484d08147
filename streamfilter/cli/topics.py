"""``streamfilter topics``: makes input and output topics."""

import click

from streamfilter.cli import connection
from streamfilter.kafka.topics import create as create_topics

HOUR_MS = 3_600_000


@click.group()
def topics() -> None:
    """Make Kafka topics."""


@topics.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    help="Of each new topic; workers share a topic by partitions. Default: the broker's.",
)
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    help="Copies of each partition; at most the number of brokers. Default: the broker's.",
)
@click.option(
    "--retention-hours",
    type=click.FloatRange(min=0, min_open=True),
    help="How long messages are kept. Default: the broker's (usually 168).",
)
@click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="KEY=VALUE",
    callback=connection.pairs,
    help="A topic setting of Kafka, such as max.message.bytes=8388608; may be given several times.",
)
@connection.broker
def create(
    names: tuple[str, ...],
    partitions: int | None,
    replication: int | None,
    retention_hours: float | None,
    properties: dict[str, str],
    bootstrap: str,
    settings: dict[str, str],
) -> None:
    """Create the topics NAMES; those that are there already stay as they are.

    \b
    Example, for a test of the defaults of `streamfilter run`:
      streamfilter topics create alerts streamfilter.annotations \\
          streamfilter.rejected --partitions 4 --retention-hours 24
    """
    if retention_hours is not None:
        properties = {"retention.ms": str(round(retention_hours * HOUR_MS)), **properties}
    for topic in create_topics(
        {"bootstrap.servers": bootstrap, **settings},
        names,
        partitions or -1,
        replication or -1,
        properties,
    ):
        how = "created" if topic.created else "was there already"
        note = ""
        if not topic.created and partitions not in (None, topic.partitions):
            note = f", not {partitions}: it is left as it is"
        click.echo(f"{topic.name}: {how}, {topic.partitions} partitions{note}")
