"""``streamfilter rejected``: shows messages that could not be used, and sends them in again."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from streamfilter import config as settings_room
from streamfilter import logs, rejections
from streamfilter.cli import options
from streamfilter.cli.command_group import CommandGroup
from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid, Reason, printable
from streamfilter.kafka import reader
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.records import Output
from streamfilter.rejections import Rejection
from streamfilter.service.assembly.clients import output_reader

Command = TypeVar("Command", bound=Callable[..., Any])

DELIVERY_MS = 30_000  # a person waits
_HOUR_MS = 3_600_000
# Of the columns of a list: position, time, reason, origin, schema id, bytes, replayed, detail.
_WIDTHS = (9, 25, 20, 24, 9, 8, 8, 0)
_AROUND = 48  # bytes shown before and after the place of failure
_ROW = 16


class _Position(click.ParamType[tuple[int, int]]):
    name = "PARTITION:OFFSET"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        partition, _, offset = str(value).partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            self.fail(f"{value!r} is not PARTITION:OFFSET, as `list` prints it", param, ctx)
        return int(partition), int(offset)


def _choice(command: Command) -> Command:
    """Adds ``--reason`` and ``--hours``, which choose among the rejected messages."""
    for option in (
        click.option(
            "--hours",
            type=click.FloatRange(min=0, min_open=True),
            help="Only those rejected within the last hours.",
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            type=click.Choice([each.value for each in Reason]),
            help="Only those rejected for this; may be given several times.",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=CommandGroup)
def rejected() -> None:
    """List, show and replay messages that could not be used.

    They stand in the topic outputs.rejected of the configuration, as they came, with the reason in
    headers. Nothing is committed and no group is joined.
    """


@rejected.command("list")
@_choice
@click.option("--json", "as_json", is_flag=True, help="One JSON line a message.")
@options.settings
def list_(
    reasons: tuple[str, ...],
    hours: float | None,
    as_json: bool,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """List what was rejected: position, time, reason, origin, schema id and detail."""
    settings = _settings(config, overrides)
    counts: Counter[str] = Counter()
    for each in _chosen(settings, reasons, hours):
        counts[each.reason] += 1
        facts = _facts(each)
        if as_json:
            click.echo(json.dumps(facts))
            continue
        if counts.total() == 1:
            click.echo(_aligned(facts))
        click.echo(_aligned(_text(v) for v in facts.values()))
    if not as_json:
        summary = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
        click.echo(f"{counts.total()} rejected in {settings.outputs.rejected}"
                   + (f": {summary}" if summary else ""))  # fmt: skip


@rejected.command()
@click.argument("position", type=_Position())
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the original bytes here; `streamfilter inspect` says whether they can be used now.",
)
@options.settings
def show(
    position: tuple[int, int], save: Path | None, config: Path | None, overrides: tuple[str, ...]
) -> None:
    """Show the rejected message at POSITION, and the bytes where decoding failed if that is known.

    POSITION is PARTITION:OFFSET in the rejected topic, as `list` prints it.
    """
    each = _at(_settings(config, overrides), position)
    for name, fact in _facts(each).items():
        click.echo(f"{name:10} {_text(fact)}")
    value = each.stored.value
    if value is None:
        click.echo("its bytes were too large for the rejected topic, or there were none")
        return
    place = each.byte
    start = max(0, (place or 0) - _AROUND) // _ROW * _ROW
    for line in _dump(value, start, (place or 0) + _AROUND, place):
        click.echo(line)
    if save is not None:
        save.write_bytes(value)
        click.echo(f"{len(value)} bytes written to {save}")


@rejected.command()
@click.argument("positions", nargs=-1, type=_Position())
@_choice
@click.option("--all", "everything", is_flag=True, help="All that --reason and --hours leave.")
@click.option("--topic", help="Send there. Default: the topic that each came from.")
@click.option(
    "--force",
    is_flag=True,
    help=f"Also what was replayed {rejections.MOST_REPLAYS} times already.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@options.settings
def replay(
    positions: tuple[tuple[int, int], ...],
    reasons: tuple[str, ...],
    hours: float | None,
    everything: bool,
    topic: str | None,
    force: bool,
    dry_run: bool,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Send rejected messages in again, as they came, with the header `streamfilter-replayed`.

    Choose by POSITIONS (as `list` prints them), or with --all, --reason and --hours. The header
    counts: what was replayed and rejected three times is left, so that nothing goes round for
    ever. What is replayed also stays in the rejected topic.

    \b
    Example, after a schema registry was mended:
      streamfilter rejected replay --config site.toml --reason schema_unavailable --hours 12

    Exit code 0: all chosen were sent. 1: some could not be, or nothing was chosen.
    """
    if bool(positions) == bool(everything or reasons or hours):
        raise click.UsageError("choose either POSITIONS, or by --all, --reason or --hours")
    settings = _settings(config, overrides)
    if settings.kafka.output_bootstrap and topic is None:
        raise click.UsageError(
            "kafka.output_bootstrap is set: the brokers of the origin are not ours to write to; "
            "name a --topic on the others that a worker reads"
        )
    chosen = (
        (_at(settings, each) for each in positions)
        if positions
        else _chosen(settings, reasons, hours)
    )
    _send(settings, list(_outputs(chosen, topic, force=force)), dry_run=dry_run)


def _settings(config: Path | None, overrides: tuple[str, ...]) -> Settings:
    settings = settings_room.load(config, overrides=overrides)
    logs.configure(form=settings.logs.form, level="warning")
    if not settings.outputs.rejected:
        raise ConfigurationInvalid("outputs.rejected is empty: rejected messages are not kept")
    return settings


def _chosen(
    settings: Settings, reasons: tuple[str, ...], hours: float | None
) -> Iterator[Rejection]:
    since_ms = None if hours is None else round(time.time() * 1000 - hours * _HOUR_MS)
    for stored in reader.read_topic(
        output_reader(settings), settings.outputs.rejected, since_ms=since_ms
    ):
        rejection = rejections.rejection_of(stored)
        if rejection is not None and (not reasons or rejection.reason in reasons):
            yield rejection


def _at(settings: Settings, position: tuple[int, int]) -> Rejection:
    topic, (partition, offset) = settings.outputs.rejected, position
    stored = reader.read_one(output_reader(settings), topic, partition, offset)
    rejection = None if stored is None else rejections.rejection_of(stored)
    if rejection is None:
        raise click.ClickException(f"{topic} has no rejected message at {partition}:{offset}")
    return rejection


def _outputs(
    chosen: Iterator[Rejection], topic: str | None, *, force: bool
) -> Iterator[Output | str]:
    """Yields the message to send for each rejection, or a line that says why none is sent."""
    for each in chosen:
        why = each.why_not_replayable
        goal = topic or (each.origin.topic if each.origin else None)
        if why is not None and not (force and each.stored.value is not None):
            yield f"{_place(each)} left: {why}"
        elif goal is None:
            yield f"{_place(each)} left: its headers name no origin; give --topic"
        else:
            yield rejections.replay_of(each, goal)


def _send(settings: Settings, outputs: list[Output | str], *, dry_run: bool) -> None:
    """Send, wait for every acknowledgement, and print what was not sent."""
    lines = [each for each in outputs if isinstance(each, str)]
    ready = [each for each in outputs if isinstance(each, Output)]
    acknowledged: Counter[str] = Counter()

    def done(output: Output, refusal: Undeliverable | None) -> None:
        if refusal is None:
            acknowledged[output.topic] += 1
        else:
            lines.append(f"{output.origin.partition}:{output.origin.offset}: {refusal.detail}")

    if dry_run:
        acknowledged.update(each.topic for each in ready)
    elif ready:
        sink = KafkaSink({"delivery.timeout.ms": DELIVERY_MS, **output_reader(settings)})
        try:
            for output in ready:
                sink.send(output, done)
            while sink.flush(1.0):
                pass
        finally:
            sink.close()
    for line in lines:
        click.echo(line, err=True)
    for goal, count in sorted(acknowledged.items()):
        click.echo(f"{goal}: {count} {'would be ' if dry_run else ''}sent in again")
    if lines or not ready:
        if not outputs:
            click.echo("nothing was chosen", err=True)
        raise click.exceptions.Exit(1)


def _place(each: Rejection) -> str:
    return f"{each.stored.origin.partition}:{each.stored.origin.offset}"


def _facts(each: Rejection) -> dict[str, str | int | None]:
    """Returns what `list` prints of a message; ``position`` is in the rejected topic."""
    origin, stamp = each.origin, each.stored.timestamp_ms
    moment = None if stamp is None else _moment(stamp)
    value = each.stored.value
    return {
        "position": _place(each),
        "rejected": moment,
        "reason": each.reason,
        "origin": f"{origin.topic}:{origin.partition}:{origin.offset}" if origin else None,
        "schema_id": each.schema_id or None,
        "bytes": None if value is None else len(value),
        "replayed": each.replayed,
        "detail": each.detail,
    }


def _moment(unix_ms: int) -> str:
    """A time as text; anyone may write one that no calendar has."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms"


def _aligned(cells: Iterable[str]) -> str:
    """Returns a row whose columns are aligned, unless a cell is very long; the last is free."""
    *padded, last = (f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return "  ".join((*padded, last))


def _text(value: object) -> str:
    """Returns a fact as text on one line, safe to print on a terminal."""
    return "-" if value is None else printable(str(value))


def _dump(value: bytes, start: int, end: int, place: int | None) -> Iterator[str]:
    """Yields rows of bytes in hexadecimal and as text; marks the row with ``place``."""
    for at in range(start, min(end, len(value)), _ROW):
        row = value[at : at + _ROW]
        text = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        here = place is not None and at <= place < at + len(row)
        yield f"{'>' if here else ' '} {at:8}  {row.hex(' '):<47}  {text}"
    if place is not None and place >= len(value):
        yield f"> {place:8}  here the value ends"
