"""Exposures on a real Kafka, with real frames: announce, watch, read the records, account."""

import gzip
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from filter_process import FilterProcess
from kafka_desk import Broker

import streamfilter
from streamfilter.encode_exposure import encode_exposure
from streamfilter.exposure_records import Announced, FrameReference

SETTLE_S = 60.0
MIB_40 = str(41 * 2**20)

Record = dict[str, Any]


@dataclass
class Site:
    """A topic of exposures, topics of outputs, and workers of one group."""

    broker: Broker
    folder: Path
    home: Path
    exposures: str
    tracking: str
    rejected: str
    workers: list[FilterProcess] = field(default_factory=list)

    @property
    def group(self) -> str:
        return f"group-{self.exposures}"

    def start(self, **overrides: str) -> FilterProcess:
        """Start one more worker and wait until it has partitions."""
        settings = {
            "kafka.bootstrap": self.broker.bootstrap,
            "kafka.consumer": '{"session.timeout.ms" = 6000}',
            "exposures.group": self.group,
            "exposures.topics": f'["{self.exposures}"]',
            "exposures.threads": "1",
            "outputs.tracking": self.tracking,
            "outputs.rejected": self.rejected,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = FilterProcess(log, settings, self.home, "--only", "exposures")
        self.workers.append(worker)
        return worker.wait_ready()

    def announce(
        self, exposure: str, frame: bytes | FrameReference, *, expected: int | None = 1, **more: Any
    ) -> None:
        """Send one message of an exposure."""
        announced = Announced(
            exposure_id=exposure,
            instrument="camera",
            detectors_expected=expected,
            mid_exposure_unix_s=time.time() - 10,
            **more,
        )
        value = encode_exposure(announced, frame)
        self.broker.produce(self.exposures, [value], keys=[exposure.encode()])

    def records(self, kind: str) -> list[Record]:
        """Everything that was published of this kind."""
        found = [streamfilter.read(m.value) for m in self.broker.read(self.tracking) if m.value]
        return [record for record in found if record["kind"] == kind]

    def verdicts(self, count: int) -> dict[str, Record]:
        """The last verdict on each exposure, once there are so many."""
        end = time.monotonic() + SETTLE_S
        while True:
            found = {record["exposure_id"]: record for record in self.records("exposure")}
            if len(found) >= count:
                return found
            assert time.monotonic() < end, f"{len(found)} of {count}: {self.workers[-1].events()}"
            time.sleep(0.2)

    def refusals(self, count: int) -> list[dict[str, str]]:
        """Headers of the rejected messages, once there are so many."""
        end = time.monotonic() + SETTLE_S
        while len(found := self.broker.read(self.rejected)) < count:
            assert time.monotonic() < end, f"{len(found)} of {count}: {self.workers[-1].events()}"
            time.sleep(0.2)
        return [{name: (value or b"").decode() for name, value in m.headers} for m in found]

    def committed(self) -> int:
        return sum(self.broker.committed(self.group, self.exposures).values())


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    large = broker.topic(stem="exposures", max_message_bytes=MIB_40)
    rejected = broker.topic(stem="rejected", max_message_bytes=MIB_40)
    made = Site(broker, tmp_path, engine_home, large, broker.topic(stem="tracking"), rejected)
    yield made
    for worker in made.workers:
        worker.__exit__()


def trailed(samples: Path) -> bytes:
    """Every star is a trail."""
    return (samples / "exposures/trailed/lco0m4_banzai_trailed.fits.fz").read_bytes()


def good(samples: Path) -> dict[str, bytes]:
    """Frames of four telescopes that tracked."""
    return {p.name.split(".")[0]: p.read_bytes() for p in (samples / "exposures/good").iterdir()}


def noise(seed: int = 1) -> bytes:
    """Sky without any star."""
    out = io.BytesIO()
    image = np.random.default_rng(seed).normal(1000, 10, (420, 420)).astype(np.float32)
    fits.PrimaryHDU(image).writeto(out)
    return out.getvalue()


def test_a_trailed_exposure_is_a_tracking_error(site: Site, samples: Path) -> None:
    """The LCO frame, a Rice-compressed file inside a message: detector, exposure, headers."""
    site.announce("lco", trailed(samples), filter="w", exposure_time_s=45.265)
    worker = site.start()
    verdict = site.verdicts(1)["lco"]
    assert "tracking_error" == verdict["judgement"]["decision"]
    assert verdict["judgement"]["probability"] > 0.9
    assert ("both", "complete", 1, "w", 45.265) == (
        verdict["judgement"]["voice"],
        *(verdict[name] for name in ("closing", "revision", "filter", "exposure_time_s")),
    )
    (detector,) = site.records("detector")
    assert verdict["judgement"]["probability"] == detector["judgement"]["probability"]
    assert 12 == len(detector["tiles"])
    assert detector["judgement"]["shapes"]["elongation"] > 2
    headers = dict(site.broker.read(site.tracking)[-1].headers)
    assert (b"exposure", b"tracking_error") == (
        headers["streamfilter-kind"],
        headers["streamfilter-decision"],
    )
    assert 0 == worker.stop()
    assert 1 == site.committed()


def test_good_frames_are_no_tracking_errors(site: Site, samples: Path) -> None:
    """Four tracked; one is smaller than a tile; sky without stars tells nothing."""
    frames = {**good(samples), "noise": noise()}
    for name, content in frames.items():
        site.announce(name, content)
    worker = site.start()
    verdicts = site.verdicts(len(frames))
    decisions = {name: each["judgement"]["decision"] for name, each in verdicts.items()}
    assert "tracking_error" not in decisions.values(), decisions
    assert ("cannot_tell", "cannot_tell") == (decisions["noise"], decisions["decam_OBS04a_256"])
    (small,) = verdicts["decam_OBS04a_256"]["detectors"]
    assert ("too_small", None) == (small["not_evaluated"], small["probability"])
    assert 0 == worker.stop()
    assert (len(frames), 0) == (site.committed(), site.broker.size(site.rejected))


def damaged(samples: Path) -> dict[str, bytes]:
    """What is no frame, in several ways."""
    plain = gzip.decompress((samples / "exposures/good/saao1m_ste3_raw.fits.gz").read_bytes())
    cube = io.BytesIO()
    fits.PrimaryHDU(np.zeros((3, 50, 50), np.int16)).writeto(cube)
    return {
        "truncated": plain[: len(plain) // 2],
        "not_fits": b"not FITS at all",
        "cube": cube.getvalue(),
        "compression_unknown": b"BZh91AY&SY",
        "empty": b"",
    }


def test_damaged_frames_are_rejected_with_their_bytes(site: Site, samples: Path) -> None:
    """The reason stands in the headers; the next frame is judged."""
    frames = damaged(samples)
    for name, content in frames.items():
        site.announce(name, content, expected=None)
    site.announce("lco", trailed(samples))
    worker = site.start()
    assert "tracking_error" == site.verdicts(1)["lco"]["judgement"]["decision"]
    found = site.refusals(len(frames))
    assert {"frame_unreadable"} == {headers["streamfilter-reason"] for headers in found}
    assert list(frames) == [headers["streamfilter-detail"].split(":")[0] for headers in found]
    kept = [message.value for message in site.broker.read(site.rejected)]
    assert kept == [message.value for message in site.broker.read(site.exposures)][: len(frames)]
    assert 5 == worker.metric('streamfilter_exposure_rejected_total{reason="frame_unreadable"}')
