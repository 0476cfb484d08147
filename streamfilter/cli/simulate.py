"""``streamfilter simulate``: sends a simulated survey and camera to a broker, or into files."""

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from streamfilter.cli import connection, simulated_files
from streamfilter.demo import exposures
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.records import PRODUCER_TIMESTAMP, Origin, Output
from streamfilter.simulate.visits import CADENCE_S, alerts

# A person or an orchestrator waits: an unreachable broker is reported sooner than by a service.
_DELIVERY_MS = 30_000
# Longest time until SIGTERM is noticed.
_TICK_S = 0.1
_SURVEYS = ("ztf", "lsst")


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Outputs of one kind, in turns; the outputs of a turn are sent together."""

    turns: Iterator[list[Output]]
    every_s: float


@dataclass(slots=True)
class _Tally:
    """Counts the messages by their result."""

    sent: int = 0
    refused: int = 0
    stopped: bool = False

    def done(self, output: Output, error: Undeliverable | None) -> None:
        """Count a broker's acknowledgement or refusal; prints the first refusal."""
        self.sent += error is None
        if error is not None:
            self.refused += 1
            if self.refused == 1:
                click.echo(f"refused by {output.topic}: {error.detail}", err=True)


@click.command()
@click.option("--topic", help="Where alerts are sent; it must exist.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="N",
    help="Alerts a second.",
)
@click.option(
    "--survey",
    "surveys",
    type=click.Choice(_SURVEYS),
    multiple=True,
    default=_SURVEYS,
    show_default=True,
    help="Whose packets; may be given several times, they take turns. The worker needs the schema "
    'of lsst\'s: schemas.folders = [".../schemas/simulated"].',
)
@click.option("--exposures", metavar="TOPIC", help="Where exposures are sent; it must exist.")
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds from one exposure to the next.",
)
@click.option(
    "--drift-every",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="N",
    help="The telescope drifts during each N-th exposure; 0: never.",
)
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so long. Default: never.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write --alerts and --frames into this folder, and send nothing.",
)
@click.option(
    "--alerts",
    "packets",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --out: packets in alerts/; truth.csv says what was put into each.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --out: exposures in frames/, a FITS file for each detector.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed, the same skies.")
@connection.broker
def simulate(
    topic: str | None,
    rate: float,
    surveys: tuple[str, ...],
    exposures: str | None,
    every: float,
    drift_every: int,
    seconds: float | None,
    out: Path | None,
    packets: int | None,
    frames: int | None,
    seed: int,
    bootstrap: str,
    settings: dict[str, str],
) -> None:
    """Send simulated alerts, exposures or both until SIGTERM or Ctrl-C, or write them to files.

    Alerts are those of the demo, in ZTF's and LSST's wire forms with contaminants at known places,
    and the light of a visit ended when they are sent. An exposure has four detectors of 600 px.

    \b
    Examples:
      streamfilter topics create alerts exposures --partitions 4
      streamfilter simulate --topic alerts --rate 20 --exposures exposures --every 30
      streamfilter simulate --out night --alerts 100 --survey ztf --frames 2 --drift-every 2

    Exit code 0: every message was acknowledged. 1: the broker refused some, or cannot be used.
    """
    named = [each for each in (topic, exposures) if each]
    if out is not None:
        if named or not (packets or frames):
            raise click.UsageError("--out is for --alerts, --frames or both, and sends nothing")
        _write(out, packets, frames, surveys, drift_every, seed)
        return
    if packets or frames:
        raise click.UsageError("--alerts and --frames are written to files: give --out")
    if not named:
        raise click.UsageError("nothing to send: give --topic, --exposures, or both")
    client = connection.reached(named, bootstrap, settings)
    sequences = []
    if topic:
        sequences.append(_Sequence(_alerts(topic, rate, surveys, seed), 1.0 / rate))
    if exposures:
        sequences.append(_Sequence(_exposures(exposures, drift_every, seed), every))
    tally = _Tally()

    def stop(*_: object) -> None:
        tally.stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sink = KafkaSink({"delivery.timeout.ms": _DELIVERY_MS, **client})
    try:
        _send(sink, sequences, tally, sys.float_info.max if seconds is None else seconds)
    finally:
        sink.close()
    click.echo(f"{tally.sent} messages acknowledged, {tally.refused} refused")
    if tally.refused:
        raise click.exceptions.Exit(1)


def _write(
    out: Path,
    packets: int | None,
    frames: int | None,
    surveys: tuple[str, ...],
    drift_every: int,
    seed: int,
) -> None:
    if packets:
        simulated_files.write_alerts(out, packets, surveys, seed)
        click.echo(f"{packets} alerts in {out / simulated_files.ALERTS}")
    if frames:
        written = simulated_files.write_frames(out, frames, drift_every, seed)
        click.echo(f"{written} frames in {out / simulated_files.FRAMES}")


def _send(sink: KafkaSink, sequences: list[_Sequence], tally: _Tally, for_s: float) -> None:
    """Send each turn when it is due, until the stop, then wait for all acknowledgements."""
    begin = time.monotonic()
    due_s = [0.0 for _ in sequences]
    while not tally.stopped:
        nearest = min(range(len(sequences)), key=due_s.__getitem__)
        wait_s = due_s[nearest] - (time.monotonic() - begin)
        if due_s[nearest] >= for_s:
            break
        if wait_s > 0:
            sink.poll(min(wait_s, _TICK_S))
            continue
        for output in next(sequences[nearest].turns):
            sink.send(output, tally.done)
        sink.poll(0)
        due_s[nearest] += sequences[nearest].every_s
    while sink.flush(_TICK_S):
        pass


def _alerts(
    topic: str, rate_per_s: float, surveys: tuple[str, ...], seed: int
) -> Iterator[list[Output]]:
    """Yields one alert a turn; at this rate, simulated visits follow each other in real time."""
    stream = alerts(
        seed,
        sys.maxsize,
        surveys=surveys,
        per_visit=max(1, round(rate_per_s * CADENCE_S)),
        start_unix_s=time.time(),
    )
    for alert in stream:
        headers = ((PRODUCER_TIMESTAMP, b"%d" % (time.time_ns() // 1_000_000)),)
        # Without a key librdkafka fills one partition for a while: spread them.
        key = alert.alert_id.encode()
        yield [Output(Origin(topic, -1, -1), topic, alert.value, key, headers)]


def _exposures(topic: str, drift_every: int, seed: int) -> Iterator[list[Output]]:
    """Yields all detectors of an exposure a turn; the name is the time, so that it is unique."""
    number = 0
    while True:
        number += 1
        drifts = drift_every > 0 and number % drift_every == 0
        name = f"simulated-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        exposure = exposures.visit(name, drifts=drifts)
        yield list(exposures.messages(exposure, seed, topic))
