"""The demo's second half: a telescope drifts once, and the worker must notice.

It also runs over the embedded broker, which keeps 5 MB a partition. So an exposure is sent only
when the verdict on the exposure before has come.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from streamfilter.config import Settings
from streamfilter.demo.alerts import CONSUMER
from streamfilter.demo.running import running
from streamfilter.errors import StreamfilterError, TransportFailed
from streamfilter.exposures import figures, frames
from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.encode import key_of
from streamfilter.exposures.figures import DetectorPicture, Row
from streamfilter.exposures.readout import (
    INSTRUMENTS,
    AnnouncementOptions,
    announcements,
    read_header,
)
from streamfilter.exposures.watcher import Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.reading import read as decode
from streamfilter.records import PRODUCER_TIMESTAMP, Origin, Output
from streamfilter.service.assembly.exposures import open_exposures
from streamfilter.simulate.frames import Exposure, readout

IN, TRACKING, REJECTED = "demo.exposures", "demo.tracking", "demo.exposures.rejected"
TOPICS = dict.fromkeys((IN, TRACKING, REJECTED), 1)
"""Partitions by topic."""
FIGURE = "exposures.png"

_DETECTORS, _SIDE_PX = 4, 600  # four files of 0.7 MB
_DRIFT_PX, _DRIFT_ANGLE_RAD = 12.0, 0.6  # four times the seeing
_SILENCE_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedVisit:
    """A simulated exposure, and the verdict on it."""

    exposure: Exposure
    verdict: dict[str, Any] | None
    """None where no verdict came out."""
    seconds: float
    """From its first message to its verdict."""

    @property
    def decision(self) -> str:
        """The published decision."""
        return "lost" if self.verdict is None else str(self.verdict["judgement"]["decision"])

    @property
    def right(self) -> bool:
        """Whether the decision agrees with the simulation."""
        return self.decision == ("tracking_error" if self.exposure.drift_px else "ok")


def visit(exposure_id: str, *, drifts: bool) -> Exposure:
    """Returns an exposure of the demo's camera, while the telescope tracks or drifts."""
    drift_px = _DRIFT_PX if drifts else 0.0
    return Exposure(exposure_id, _DETECTORS, _SIDE_PX, drift_px, _DRIFT_ANGLE_RAD)


def visits() -> Iterator[Exposure]:
    """Yields three exposures; the telescope drifts during the second."""
    for number in (1, 2, 3):
        yield visit(f"visit-{number}", drifts=number == 2)


def messages(exposure: Exposure, seed: int, topic: str) -> Iterator[Output]:
    """Yields a message for each detector of a simulated exposure, as a readout would."""
    files = readout(exposure, seed)
    options = AnnouncementOptions(keywords=INSTRUMENTS["ztf"])
    read_out = [read_header(f"{n}.fits", content, options) for n, content in enumerate(files)]
    for announced, content in zip(announcements(read_out, options), files, strict=True):
        value = encode_exposure(announced, content)
        headers = ((PRODUCER_TIMESTAMP, b"%d" % (time.time_ns() // 1_000_000)),)
        yield Output(Origin(topic, -1, -1), topic, value, key_of(announced), headers)


def run(
    bootstrap: str, *, seed: int, out: Path, home: Path | None, say: Callable[[str], None]
) -> list[SimulatedVisit]:
    """Send the visits through a worker and draw the first two.

    Parameters
    ----------
    bootstrap
        A broker with the ``TOPICS``.

    Raises
    ------
    StreamfilterError
        The broker or the worker failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    worker = open_exposures(settings(bootstrap, home), registry=CollectorRegistry(), say=say)
    with running(worker, "exposures") as failures:
        sent = _send_visits(bootstrap, seed, failures)
    _draw(out, sent[:2], seed, home or default_home(os.environ))
    return sent


def settings(bootstrap: str, home: Path | None) -> Settings:
    """Returns the settings of the demo's exposure worker."""
    return Settings.model_validate(
        {
            "kafka": {"bootstrap": bootstrap, "consumer": CONSUMER},
            "exposures": {"topics": [IN], "group": "demo-watch"},
            "outputs": {"tracking": TRACKING, "rejected": REJECTED},
            "engine": {"home": str(home) if home else None},
        }
    )


def _send_visits(
    bootstrap: str, seed: int, failures: list[StreamfilterError]
) -> list[SimulatedVisit]:
    """Send the visits one by one, and wait for each verdict."""
    connection: dict[str, str | int] = {"bootstrap.servers": bootstrap}
    sink = KafkaSink(connection)
    source = KafkaSource(connection | {"group.id": "demo-observer", **CONSUMER}, [TRACKING])
    source.join()
    try:
        return [_visit(each, seed, sink, source, failures) for each in visits()]
    finally:
        source.close()
        sink.close()


def _visit(
    exposure: Exposure,
    seed: int,
    sink: KafkaSink,
    source: KafkaSource,
    failures: list[StreamfilterError],
) -> SimulatedVisit:
    outputs = list(messages(exposure, seed, IN))
    started_s = time.monotonic()
    for output in outputs:
        sink.send(output, _sent)
    while time.monotonic() - started_s < _SILENCE_S:
        if failures:
            raise failures[0]
        sink.poll(0)
        for message in source.poll(16, 0.05):
            record: dict[str, Any] = decode(message.value or b"")
            if record["kind"] == "exposure" and record["exposure_id"] == exposure.exposure_id:
                return SimulatedVisit(exposure, record, time.monotonic() - started_s)
    return SimulatedVisit(exposure, None, time.monotonic() - started_s)


def _sent(_output: Output, trouble: Undeliverable | None) -> None:
    if trouble:
        raise TransportFailed(f"the embedded broker refused an exposure: {trouble.detail}")


def _draw(out: Path, sent: list[SimulatedVisit], seed: int, home: Path) -> None:
    """Draw the focal planes with the same judgements as the worker's."""
    engine = open_engine("maxitrack", "onnxruntime", home, 1, progress=lambda line: None)
    watcher = Watcher(engine)
    rows = []
    for each in sent:
        pictures: list[DetectorPicture] = []
        for number, content in enumerate(readout(each.exposure, seed), start=1):
            for frame in frames.read_frames(content, IN, frames.FrameRules(), None):
                judged = watcher.judge_frame(frame)
                named = replace(judged.evidence, detector=f"CCD {number}")
                pictures.append(figures.picture_of(replace(judged, evidence=named)))
        judgement = watcher.judge([picture.evidence for picture in pictures])
        rows.append(Row(each.exposure.exposure_id, judgement, tuple(pictures)))
    figures.draw(rows, out / FIGURE)
