"""``streamfilter inspect``: judge packets in files or of a topic, and publish nothing."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from streamfilter import config as settings_room
from streamfilter import logs
from streamfilter.alerts.field_plan import Gaps
from streamfilter.cli import connection, options, packet_sources
from streamfilter.cli.packet_sources import Files, PacketSource, Places
from streamfilter.cli.verdict_table import (
    KINDS,
    MOST_DRAWN,
    Gallery,
    Outcome,
    Totals,
    VerdictTable,
    kind_of,
    printing,
)
from streamfilter.config import Settings
from streamfilter.kafka.reader import Stretch
from streamfilter.reading import plain, read
from streamfilter.records import Message, Rejected
from streamfilter.service.assembly.alerts import Parts, open_parts, unpublished
from streamfilter.service.assembly.topics import client_of


@dataclass(frozen=True, slots=True)
class _Shown:
    """The options that choose what is shown."""

    as_json: bool
    only: tuple[str, ...]
    figure: Path | None
    at_once: bool
    """Whether rows are printed as they are found, because the packets have no end."""


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--topic", metavar="NAME", help="Packets of a Kafka topic, not of files.")
@click.option(
    "--at",
    "places",
    multiple=True,
    type=Places(),
    help="Only these of the topic: 0:1234, or 0:1200-1300; may be given several times.",
)
@click.option("--follow", is_flag=True, help="Those that come to the topic, until Ctrl-C.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(KINDS),
    help="Show only these; may be given several times. The totals are of all.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line a packet, all of it.")
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"A PNG of {MOST_DRAWN} alerts, contaminated ones first: stamps, masks, verdicts.",
)
@connection.broker
@options.settings
@click.pass_context
def inspect(
    context: click.Context,
    files: tuple[Path, ...],
    topic: str | None,
    places: tuple[Stretch, ...],
    follow: bool,
    only: tuple[str, ...],
    as_json: bool,
    figure: Path | None,
    bootstrap: str,
    settings: dict[str, str],
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Judge alert packets as `run` would, print what is found and the totals.

    FILES are Avro containers of one alert or many, single packets in wire form, folders, or tar
    archives of these, also in gzip, bzip2 or xz. With --topic packets are read from Kafka: all that
    stand there, those --at a place, or those that come (--follow). No group is joined, nothing is
    committed or published. Brokers are those of the settings, unless --bootstrap names others.

    Rejections with the same words are one row. The exit code is 0 also when packets are rejected:
    that is a finding; it is 1 when there is no packet at all.

    \b
    Examples:
      streamfilter inspect my_packets/ --only contaminated --figure hits.png
      streamfilter inspect --topic alerts --at 3:18230 --config site.toml
      streamfilter inspect --topic alerts --follow --bootstrap broker:9092
    """
    if bool(files) == bool(topic):
        raise click.UsageError("give either FILES or --topic")
    if (places or follow) and not topic:
        raise click.UsageError("--at and --follow are for a --topic")
    if places and follow:
        raise click.UsageError("--at and --follow exclude each other")
    chosen = unpublished(settings_room.load(config, overrides=overrides))
    logs.configure(form=chosen.logs.form, level="warning")
    if topic:
        client = {**client_of(chosen, topic), **connection.given(context, bootstrap, settings)}
        source = packet_sources.of_topic(client, topic, places, follow=follow)
    else:
        source = Files(files)
    _inspect(chosen, source, _Shown(as_json, only, figure, follow))


def _inspect(settings: Settings, source: PacketSource, shown: _Shown) -> None:
    console = Console(stderr=True, highlight=False)
    parts = open_parts(
        settings, threads=os.cpu_count() or 1, say=partial(console.print, markup=False)
    )
    table, totals, gallery = VerdictTable(), Totals(), Gallery()
    try:
        for outcome in _judged(parts, source, totals, console, quiet=shown.at_once):
            if not shown.only or kind_of(outcome) in shown.only:
                _show(parts, source, outcome, shown, table)
                if shown.figure is not None:
                    gallery.add(outcome)
    except KeyboardInterrupt:
        if not shown.at_once:
            raise
    for report in parts.pipeline.take_reports():
        if isinstance(report, Gaps):
            console.print(f"[yellow]{escape(str(report))}[/]", soft_wrap=True)
    if not totals.packets and not shown.at_once:
        raise click.ClickException(source.why_empty())
    if not shown.as_json:
        if not shown.at_once:
            table.show()
        for line in totals.lines():
            click.echo(line)
    if shown.figure is not None:
        drawn = gallery.draw(parts, shown.figure)
        words = f"figure: {shown.figure}" if drawn else "no figure: no alert to draw"
        console.print(words, markup=False, soft_wrap=True)


def _judged(
    parts: Parts, source: PacketSource, totals: Totals, console: Console, *, quiet: bool
) -> Iterator[Outcome]:
    """Yields the result of each packet, in order, while a bar shows the progress."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("reading", total=source.total())
        for chunk in source.chunks():
            for outcome in parts.pipeline.judge(parts.engine, chunk, also=parts.also):
                totals.add(outcome)
                message = _message(outcome)
                way = source.done(message.origin, len(message.value or b""))
                progress.update(task, completed=way, description=totals.headline())
                yield outcome


def _show(
    parts: Parts, source: PacketSource, outcome: Outcome, shown: _Shown, table: VerdictTable
) -> None:
    origin = _message(outcome).origin
    if shown.as_json:
        click.echo(json.dumps(_line(parts, source.place(origin), outcome), default=plain))
    elif table.add(source.label(origin), outcome) and shown.at_once:
        printing().print(table.last_line(), soft_wrap=True)


def _message(outcome: Outcome) -> Message:
    return outcome.message if isinstance(outcome, Rejected) else outcome[0].alert.message


def _line(parts: Parts, place: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Returns what a consumer would read, the packet's place, and the fields that rules look at."""
    if isinstance(outcome, Rejected):
        return place | {"rejected": outcome.reason, "detail": outcome.detail}
    fields = outcome[0].alert.fields
    named: dict[str, Any] = {"fields": dict(fields)} if fields else {}
    return place | named | read(parts.encoder.annotation(outcome[1], ""))
