"""``streamfilter topics``: makes input and output topics."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from streamfilter import config as settings_room
from streamfilter import logs
from streamfilter.cli import connection, options
from streamfilter.cli.command_group import CommandGroup
from streamfilter.config import Settings
from streamfilter.kafka.client import Settings as ClientSettings
from streamfilter.kafka.topics import Topic, alter, create, partitions_of
from streamfilter.service.assembly.clients import consumer_settings, producer_settings
from streamfilter.service.assembly.topics import NamedTopic, client_of, named_topics, patterns

HOUR_MS = 3_600_000

_properties = click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="KEY=VALUE",
    callback=connection.pairs,
    help="A topic setting of Kafka, such as max.message.bytes=8388608; may be given several times.",
)


@click.group(cls=CommandGroup)
def topics() -> None:
    """Create Kafka topics and change their settings."""


@topics.command("create")
@click.argument("names", nargs=-1)
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    help="Of each new topic; workers share a topic by partitions. Default: the broker's; without "
    "NAMES as many as the topics have that are read, where they are there.",
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
    "--survey",
    "surveys",
    multiple=True,
    metavar="NAME",
    help="Where a name in [outputs] has {survey}: make topics of these surveys alone; may be given "
    "several times. Default: of every survey with a field map.",
)
@_properties
@connection.broker
@options.settings
@click.pass_context
def create_(
    context: click.Context,
    names: tuple[str, ...],
    surveys: tuple[str, ...],
    partitions: int | None,
    replication: int | None,
    retention_hours: float | None,
    properties: dict[str, str],
    bootstrap: str,
    settings: dict[str, str],
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Create the topics NAMES; those that are there already stay as they are.

    Without NAMES: every topic that the settings name, with the message size and the clean-up that
    it needs, at the brokers where it is read or written.

    \b
    Examples:
      streamfilter topics create --config site.toml --partitions 4
      streamfilter topics create --config site.toml --survey ztf --survey lsst
      streamfilter topics create alerts streamfilter.annotations \\
          streamfilter.rejected --partitions 4 --retention-hours 24
    """
    if names and surveys:
        raise click.UsageError("--survey is for all that the settings name: leave NAMES out")
    if retention_hours is not None:
        properties = {"retention.ms": str(round(retention_hours * HOUR_MS)), **properties}
    asked = _Asked(partitions, replication, properties)
    given = connection.given(context, bootstrap, settings)
    if names and not (config or overrides):
        asked.make({"bootstrap.servers": bootstrap, **settings}, names)
        return
    _create_named(_loaded(config, overrides), names, surveys, asked, given)


@topics.command("alter")
@click.argument("name")
@_properties
@connection.broker
@options.settings
@click.pass_context
def alter_(
    context: click.Context,
    name: str,
    properties: dict[str, str],
    bootstrap: str,
    settings: dict[str, str],
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Change Kafka's settings of the topic NAME; what is not named stays.

    \b
    Example, as `streamfilter doctor` prints it:
      streamfilter topics alter streamfilter.rejected \\
          --property max.message.bytes=9437184 --config site.toml
    """
    if not properties:
        raise click.UsageError("give at least one --property KEY=VALUE")
    client: ClientSettings = {"bootstrap.servers": bootstrap, **settings}
    if config or overrides:
        chosen = _loaded(config, overrides)
        client = {**client_of(chosen, name), **connection.given(context, bootstrap, settings)}
    alter(client, name, properties)
    for key, value in properties.items():
        click.echo(f"{name}: {key} is {value} now")


class _Asked:
    """What new topics are to be like."""

    def __init__(
        self, partitions: int | None, replication: int | None, properties: Mapping[str, str]
    ) -> None:
        self.partitions, self._replication = partitions, replication
        self._properties = properties

    def make(
        self,
        client: ClientSettings,
        names: Iterable[str],
        partitions: int | None = None,
        needed: Mapping[str, str] | None = None,
    ) -> None:
        """Make topics, and say of each what it is now; what was asked for goes before needs."""
        made = create(
            client,
            tuple(names),
            self.partitions or partitions or -1,
            self._replication or -1,
            {**(needed or {}), **self._properties},
        )
        for topic in made:
            click.echo(self._line(topic))

    def _line(self, topic: Topic) -> str:
        how = "created" if topic.created else "was there already"
        note = ""
        if not topic.created and self.partitions not in (None, topic.partitions):
            note = f", not {self.partitions}: it is left as it is"
        return f"{topic.name}: {how}, {topic.partitions} partitions{note}"


def _loaded(config: Path | None, overrides: tuple[str, ...]) -> Settings:
    settings = settings_room.load(config, overrides=overrides)
    logs.configure(form=settings.logs.form, level="warning")
    return settings


def _refuse_unknown(surveys: Sequence[str], topics: Iterable[NamedTopic]) -> None:
    """Refuse surveys that no topic is named for."""
    known = sorted({topic.survey for topic in topics if topic.survey})
    if surveys and not known:
        raise click.UsageError("--survey: no name in [outputs] has {survey}; leave it out")
    if unknown := [each for each in surveys if each not in known]:
        raise click.UsageError(
            f"--survey {unknown[0]}: no field map of that name; there are {', '.join(known)} "
            "(alerts.survey_folders adds others)"
        )


def _create_named(
    settings: Settings,
    names: tuple[str, ...],
    surveys: tuple[str, ...],
    asked: _Asked,
    given: Mapping[str, str],
) -> None:
    """Make topics where the configuration has its brokers, each with what it needs."""
    known = {topic.name: topic for topic in named_topics(settings)}
    _refuse_unknown(surveys, known.values())
    wanted = [known.get(each, NamedTopic("", each, written=True)) for each in names]
    every = [each for each in known.values() if not surveys or each.survey in ("", *surveys)]
    reading = {**consumer_settings(settings), **given}
    writing = {**producer_settings(settings), **given}
    read = [topic.name for topic in known.values() if not topic.written]
    there = partitions_of(reading, read)
    apart = bool(settings.kafka.output_bootstrap) and "bootstrap.servers" not in given
    for topic in wanted or every:
        if apart and not topic.written:
            click.echo(f"{topic.name}: left, it is read from others' brokers (kafka.bootstrap)")
            continue
        client = writing if topic.written else reading
        asked.make(client, [topic.name], max(there.values(), default=None), topic.properties)
    if not names:
        for pattern in patterns(settings):
            click.echo(f"{pattern}: left, a pattern; whoever writes such topics makes them")
