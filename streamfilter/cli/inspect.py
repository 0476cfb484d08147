"""``streamfilter inspect``: judge packets in files, without Kafka."""

import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamfilter import config as settings_room
from streamfilter import logs
from streamfilter.alerts import figures, packets
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.pipeline import Prepared
from streamfilter.cli import options
from streamfilter.contaminants import CODES
from streamfilter.errors import printable
from streamfilter.reading import plain, read
from streamfilter.records import Annotation, Label, Message, Origin, Plane, Rejected
from streamfilter.service.assembly.alerts import Parts, open_parts

Outcome = tuple[Prepared, Annotation] | Rejected

_STYLES = {
    Label.CLEAN: "green",
    Label.SUSPECT: "yellow",
    Label.CONTAMINATED: "red",
    Label.NOT_EVALUATED: "dim",
}
_MOST_DRAWN = 12
# In the order that a person wants to see them.
_ORDER = (Label.CONTAMINATED, Label.SUSPECT, Label.NOT_EVALUATED, Label.CLEAN)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON line a packet, all of it.")
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"A PNG of {_MOST_DRAWN} alerts, contaminated ones first: stamps, masks, verdicts.",
)
@options.settings
def inspect(
    files: tuple[Path, ...],
    as_json: bool,
    figure: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Judge the alert packets in FILES as `run` would, and print what is found.

    FILES are Avro containers of one alert or many, single packets in wire form, folders, or tar
    archives of these, also in gzip, bzip2 or xz. The exit code is 0 also when packets are rejected:
    that is a finding; it is 1 when there is no packet at all.
    """
    settings = settings_room.load(config, overrides=overrides)
    # Nothing is published, so no schema is registered; single-object encoding needs no registry.
    schemas = settings.schemas.model_copy(update={"publish": settings_room.Registry()})
    settings = settings.model_copy(update={"schemas": schemas})
    logs.configure(form=settings.logs.form, level="warning")
    console = Console(stderr=True, highlight=False)
    parts = open_parts(settings, threads=os.cpu_count() or 1, say=console.print)
    table = _Table()
    gallery = _Gallery()
    any_packet = False
    for packet, outcome in _judge(parts, files):
        any_packet = True
        if as_json:
            click.echo(json.dumps(_line(parts, packet, outcome), default=plain))
        else:
            table.add(packet, outcome)
        if figure is not None:
            gallery.add(outcome)
    for report in parts.pipeline.take_reports():
        if isinstance(report, Gaps):
            console.print(f"[yellow]{escape(str(report))}[/]", soft_wrap=True)
    if not any_packet:
        raise click.ClickException("no alert packet in these files (the log says what was left)")
    if not as_json:
        table.show()
    if figure is not None:
        drawn = gallery.draw(parts, figure)
        console.print(f"figure: {figure}" if drawn else "no figure: every packet was rejected")


def _judge(parts: Parts, files: tuple[Path, ...]) -> Iterator[tuple[packets.Packet, Outcome]]:
    """Yields each packet with its result, in order."""
    waiting: deque[packets.Packet] = deque()

    def messages() -> Iterator[Message]:
        for packet in packets.read_packets(files):
            waiting.append(packet)
            yield Message(Origin(packet.source, 0, packet.index), packet.value)

    for outcome in parts.pipeline.judge(parts.engine, messages()):
        yield waiting.popleft(), outcome


def _line(parts: Parts, packet: packets.Packet, outcome: Outcome) -> dict[str, Any]:
    """Returns what a consumer would read about a packet, and the packet's file and index."""
    place = {"file": packet.source, "index": packet.index}
    if isinstance(outcome, Rejected):
        return place | {"rejected": outcome.reason, "detail": outcome.detail}
    return place | read(parts.encoder.annotation(outcome[1], ""))


class _Table:
    """A table with one row a packet."""

    def __init__(self) -> None:
        self._table = Table()
        for name in ("packet", "survey", "alert", "verdict", "class", "rule", "core"):
            self._table.add_column(name, overflow="fold")
        self._table.add_column("survey flags", overflow="fold")

    def add(self, packet: packets.Packet, outcome: Outcome) -> None:
        name = escape(Path(packet.source).name + (f"[{packet.index}]" if packet.index else ""))
        if isinstance(outcome, Rejected):
            why = escape(f"{outcome.reason}: {outcome.detail}")
            self._table.add_row(name, "", "", "[magenta]rejected[/]", "", why, "", "")
            return
        _, annotation = outcome
        verdict, alert = annotation.verdict, annotation.alert
        style = _STYLES[verdict.label]
        self._table.add_row(
            name,
            alert.survey,
            escape(printable(alert.alert_id)),
            f"[{style}]{verdict.label}[/]",
            verdict.contaminant or "",
            escape(verdict.rule or _why_not(annotation)),
            _core(annotation),
            " ".join(sorted(alert.flagged)),
        )

    def show(self) -> None:
        """Print the table, as wide as the terminal, or 160 columns where there is none."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=160)
        console.print(self._table)


def _why_not(annotation: Annotation) -> str:
    return ", ".join(
        f"{s.plane}: {s.not_evaluated}" + (f" ({s.detail})" if s.detail else "")
        for s in annotation.stamps
        if s.not_evaluated
    )


def _core(annotation: Annotation) -> str:
    """Returns the core posterior of the class that decided; empty where there is none."""
    code = annotation.verdict.contaminant
    for stamp in annotation.stamps:
        if code and stamp.plane is Plane.SCIENCE and stamp.classes:
            return f"{stamp.classes[CODES.index(code)].core:.2f}"
    return ""


class _Gallery:
    """Collects the alerts to draw: a bounded number of each label."""

    def __init__(self) -> None:
        self._by_label: dict[Label, list[tuple[Prepared, Annotation]]] = {
            each: [] for each in _ORDER
        }
        self._alerts = 0

    def add(self, outcome: Outcome) -> None:
        if isinstance(outcome, Rejected):
            return
        self._alerts += 1
        kept = self._by_label[outcome[1].verdict.label]
        if len(kept) < _MOST_DRAWN:
            kept.append(outcome)

    def draw(self, parts: Parts, path: Path) -> bool:
        """Write the page, with contaminated alerts first; False where there is no alert to draw."""
        rows = [row for label in _ORDER for row in self._by_label[label]][:_MOST_DRAWN]
        inspected = [figures.inspect_alert(parts.pipeline, parts.engine, *row) for row in rows]
        if inspected:
            figures.draw(inspected, path, most_rows=_MOST_DRAWN, others=self._alerts - len(rows))
        return bool(inspected)
