"""``streamfilter replay``: sends packets from files to a topic, as a survey would."""

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from streamfilter.alerts import packets
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.packets import Packet
from streamfilter.alerts.surveys import Surveys
from streamfilter.cli import connection, options
from streamfilter.errors import SchemaUnavailable
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.limits import Limits
from streamfilter.records import (
    FROM_FILES,
    PRODUCER_TIMESTAMP,
    Headers,
    Message,
    Origin,
    Output,
    Rejected,
)
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource

# A person waits: an unreachable broker is reported sooner than by a service.
DELIVERY_MS = 30_000
# Interval of handling acknowledgements and drawing the progress while no packet is due.
TICK_S = 0.1

KeyOf = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Pace:
    """``size`` packets at once, every ``every_s`` seconds; 0 s means as fast as possible."""

    size: int = 1
    every_s: float = 0.0

    def due_s(self, index: int) -> float:
        """Returns when a packet is due, in seconds after the first."""
        return index // self.size * self.every_s


@dataclass(slots=True)
class Tally:
    """Counts the packets by their result."""

    sent: int = 0
    size_bytes: int = 0
    acknowledged: int = 0
    keyless: int = 0
    refused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def done(self, output: Output, error: Undeliverable | None) -> None:
        """Count a broker's acknowledgement or refusal."""
        if error is None:
            self.acknowledged += 1
        else:
            self.refused.append(f"{output.origin.topic}: {error.detail}")

    def skip(self, source: str, reason: str) -> None:
        """Count a file that is not an alert."""
        self.skipped.append(f"{source}: {reason}")


class _Bursts(click.ParamType[Pace]):
    name = "N/S"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Pace:
        if isinstance(value, Pace):
            return value
        match = re.fullmatch(r"(\d+)/(\d+(?:\.\d+)?)s?", str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is not N/S, such as 10000/39: packets and seconds", param, ctx)
        return Pace(int(match[1]), float(match[2]))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--topic", required=True, help="Where to send them; it must exist.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Packets per second, evenly. Default: as fast as the broker takes them.",
)
@click.option(
    "--bursts",
    type=_Bursts(),
    help="N packets at once every S seconds, as visits bring them: 10000/39 is LSST's design.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Go through the files K times.",
)
@click.option(
    "--max", "most", type=click.IntRange(min=1), metavar="N", help="Stop after N packets."
)
@click.option(
    "--key",
    type=click.Choice(["none", "alert-id"]),
    default="none",
    show_default=True,
    help="The message key. alert-id decodes each packet; one that cannot be decoded has no key.",
)
@options.as_live
@connection.broker
def replay(
    files: tuple[Path, ...],
    topic: str,
    rate: float | None,
    bursts: Pace | None,
    repeat: int,
    most: int | None,
    key: str,
    as_live: bool,
    bootstrap: str,
    settings: dict[str, str],
) -> None:
    """Send the alert packets in FILES to a topic, byte for byte.

    FILES are Avro containers of one alert or many (split into one message each), single packets
    in wire form, folders, and tar archives such as ZTF's nightly ones. Damaged packets are sent
    as they are; files that are no alerts are skipped. Each message has the header
    `producer_timestamp` (Unix milliseconds as text), from which latency is measured, and
    `streamfilter-replayed`: a rehearsal with old packets is not taken for a delay.

    \b
    Examples:
      streamfilter topics create alerts --partitions 4
      streamfilter replay night/ --topic alerts --rate 20
      streamfilter replay ztf_public_20260101.tar.gz --topic alerts --bursts 500/45
      streamfilter replay one.avro --topic alerts --repeat 10000 --key alert-id

    Exit code 0: every packet is acknowledged. 1: the broker refused some, or cannot be used.
    """
    if rate is not None and bursts is not None:
        raise click.UsageError("--rate and --bursts exclude each other")
    pace = bursts or (Pace() if rate is None else Pace(1, 1.0 / rate))
    client = connection.reached([topic], bootstrap, settings)
    tally = Tally()
    passes = itertools.chain.from_iterable(_passes(files, repeat, tally))
    chosen = itertools.islice(passes, most)
    key_of = _alert_id_keys() if key == "alert-id" else _no_key
    sink = KafkaSink({"delivery.timeout.ms": DELIVERY_MS, **client})
    begin = time.monotonic()
    try:
        _send(sink, chosen, topic, pace, key_of, tally, () if as_live else FROM_FILES)
    finally:
        sink.close()
    _report(topic, tally, time.monotonic() - begin, keyed=key != "none")


def _passes(files: Iterable[Path], repeat: int, tally: Tally) -> Iterator[Iterator[Packet]]:
    """Yields the packets of each pass; skipped files are counted in the first pass only."""
    for number in range(repeat):
        sent = tally.sent
        yield packets.read_packets(files, skipped=tally.skip if number == 0 else lambda *_: None)
        if tally.sent == sent:
            return


def _send(
    sink: KafkaSink,
    chosen: Iterable[Packet],
    topic: str,
    pace: Pace,
    key_of: KeyOf,
    tally: Tally,
    marks: Headers,
) -> None:
    """Send each packet when it is due, then wait for all acknowledgements."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task, begin = progress.add_task("reading"), time.monotonic()

        def show() -> None:
            if not progress.disable:
                progress.update(task, description=_line(tally, time.monotonic() - begin))

        for packet in chosen:
            while (wait_s := begin + pace.due_s(tally.sent) - time.monotonic()) > 0:
                sink.poll(min(wait_s, TICK_S))
                show()
            key = key_of(packet.value)
            tally.keyless += key is None
            stamp = b"%d" % (time.time_ns() // 1_000_000)
            origin = Origin(packet.source, 0, packet.index)
            headers = ((PRODUCER_TIMESTAMP, stamp), *marks)
            sink.send(Output(origin, topic, packet.value, key, headers), tally.done)
            sink.poll(0)
            tally.sent += 1
            tally.size_bytes += len(packet.value)
            show()
        while sink.flush(TICK_S):
            show()


def _no_key(_: bytes) -> None:
    """Returns no key."""


def _alert_id_keys() -> KeyOf:
    """Returns a function from a packet to its alert id as bytes; None if it cannot be decoded."""
    finder = SchemaFinder([PackageSource()], Limits())
    decoder = Decoder(finder, Surveys.load(), Limits())

    def key_of(value: bytes) -> bytes | None:
        try:
            decoded = decoder.decode(Message(Origin("", 0, 0), value), planes=())
        except SchemaUnavailable:
            return None
        return None if isinstance(decoded, Rejected) else decoded.alert_id.encode()

    return key_of


def _line(tally: Tally, took_s: float) -> str:
    rate = tally.sent / took_s if took_s > 0 else 0.0
    megabytes = tally.size_bytes / 1e6
    return f"{tally.sent} packets, {megabytes:.1f} MB in {took_s:.1f} s ({rate:.1f}/s)"


def _report(topic: str, tally: Tally, took_s: float, *, keyed: bool) -> None:
    for text in tally.skipped:
        click.echo(f"skipped {text}", err=True)
    for text in tally.refused:
        click.echo(f"refused {text}", err=True)
    if not tally.sent:
        raise click.ClickException("no alert in these files")
    keyless = f", {tally.keyless} without a key" if keyed and tally.keyless else ""
    files = "file" if len(tally.skipped) == 1 else "files"
    click.echo(
        f"{topic}: {_line(tally, took_s)}, {tally.acknowledged} acknowledged, "
        f"{len(tally.refused)} refused, {len(tally.skipped)} {files} skipped{keyless}"
    )
    if tally.refused:
        raise click.exceptions.Exit(1)
