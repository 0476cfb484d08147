"""Exposures on a real Kafka, with real frames: announce, watch, read the records, account."""

import gzip
import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from fields import Field
from filter_process import EndsWorkers, FilterProcess
from kafka_desk import Broker

import streamfilter
from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.records import Announced, FrameReference, Purpose

SETTLE_S = 60.0
MIB_40 = str(41 * 2**20)

Record = dict[str, Any]


@dataclass
class Site(EndsWorkers):
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

    def start(self, only: str = "exposures", **overrides: str) -> FilterProcess:
        """Start one more worker and wait until it has partitions."""
        settings = {
            "kafka.bootstrap": self.broker.bootstrap,
            "kafka.consumer": '{"session.timeout.ms" = 6000, "heartbeat.interval.ms" = 500}',
            "exposures.group": self.group,
            "exposures.topics": f'["{self.exposures}"]',
            "exposures.threads": "1",
            "outputs.tracking": self.tracking,
            "outputs.rejected": self.rejected,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        options = ("--only", only) if only else ()
        worker = FilterProcess(log, settings, self.home, *options)
        self.workers.append(worker)
        return worker.wait_ready()

    def announce(
        self, exposure: str, frame: bytes | FrameReference, *, expected: int | None = 1, **more: Any
    ) -> None:
        """Send one message of an exposure: of science, though the trailed one is none."""
        more = {"purpose": Purpose.SCIENCE, **more}
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
    tracking = broker.topic(stem="tracking")
    with Site(broker, tmp_path, engine_home, large, tracking, rejected) as made:
        yield made


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


def test_a_cube_is_one_detector_of_several_planes(site: Site) -> None:
    """Three colours, of which one has no sky: one verdict for all; a series of twenty is too much,
    and is rejected with the setting that would let it in."""
    planes = np.stack([Field(height=420, width=420, stars=60, seed=n).image() for n in range(3)])
    planes[1] = 7
    for name, cube in {"series": np.zeros((20, 410, 410), np.uint8), "colours": planes}.items():
        out = io.BytesIO()
        fits.PrimaryHDU(cube).writeto(out)
        site.announce(name, out.getvalue(), detector="CCD7")
    worker = site.start()
    verdicts = site.verdicts(2)
    verdict = verdicts["colours"]
    assert ("complete", 1, [], "ok") == (
        *(verdict[name] for name in ("closing", "revision", "irregularities")),
        verdict["judgement"]["decision"],
    )
    found = {each["detector"]: each["not_evaluated"] for each in verdict["detectors"]}
    names = [f"CCD7:0 plane {number}" for number in (1, 2, 3)]
    assert dict(zip(names, (None, "no_variation", None), strict=True)) == found
    assert ["too_large"] == [each["not_evaluated"] for each in verdicts["series"]["detectors"]]
    (headers,) = site.refusals(1)
    assert headers["streamfilter-detail"].endswith("20 planes; exposures.max_frame_planes = 16")
    assert 0 == worker.stop()
    assert 2 == site.committed()


def test_an_exposure_that_is_meant_to_trail_is_not_judged(site: Site, samples: Path) -> None:
    """The LCO frame follows a minor planet, as its header says; another is announced as a flat."""
    site.announce("lco", trailed(samples), purpose=None)
    site.announce("flat", good(samples)["mro2m4_didymos"], purpose=Purpose.CALIBRATION)
    worker = site.start()
    verdicts = site.verdicts(2)
    found = {name: each["not_judged"] for name, each in verdicts.items()}
    assert {"lco": "non_sidereal", "flat": "calibration"} == found
    for each in verdicts.values():
        judgement = each["judgement"]
        assert ("cannot_tell", None) == (judgement["decision"], judgement["probability"])
        assert [each["not_judged"]] == [one["not_judged"] for one in each["detectors"]]
    details = {each["exposure_id"]: each["detail"] for each in site.records("detector")}
    assert "SRCTYPE is 'MINORPLANET'" == details["lco"]
    counted = worker.metric(
        'streamfilter_exposure_not_judged_total{instrument="camera",kind="exposure",'
        'reason="non_sidereal"}'
    )
    assert 1 == counted
    assert 0 == worker.stop()
    assert (2, 0) == (site.committed(), site.broker.size(site.rejected))


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
    fits.PrimaryHDU(np.zeros((20, 50, 50), np.int16)).writeto(cube)
    return {
        "truncated": plain[: len(plain) // 2],
        "not_fits": b"not FITS at all",
        "too_large": cube.getvalue(),
        "compression_unknown": b"(\xb5/\xfd of zstd",
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
    # The first may have to wait for its schema, and then comes after the second.
    assert sorted(frames) == sorted(
        headers["streamfilter-detail"].split(":")[0] for headers in found
    )
    kept = {message.key: message.value for message in site.broker.read(site.rejected)}
    sent = {message.key: message.value for message in site.broker.read(site.exposures)}
    assert kept == {key: value for key, value in sent.items() if key != b"lco"}
    assert 5 == worker.metric('streamfilter_exposure_rejected_total{reason="frame_unreadable"}')


def test_a_restart_in_the_middle_of_a_focal_plane_loses_no_detector(
    site: Site, samples: Path
) -> None:
    """One detector judged, then SIGKILL; the next worker judges the exposure with both."""
    site.announce("before", noise())
    site.announce("e1", noise(2), expected=2, detector="1")
    first = site.start()
    while len(site.records("detector")) < 2 or site.committed() < 1:
        time.sleep(0.1)
    time.sleep(1.5)  # a commit interval
    assert 1 == site.committed()
    first.kill()
    site.announce("e1", trailed(samples), expected=2, detector="2")
    second = site.start()
    verdict = site.verdicts(2)["e1"]
    # In any order: the first waits for the schema while the second is looked at.
    assert ("complete", {"1", "2"}, []) == (
        verdict["closing"],
        {each["detector"] for each in verdict["detectors"]},
        verdict["irregularities"],
    )
    assert 0 == second.stop()
    assert 3 == site.committed()


def test_a_stop_in_the_middle_of_a_focal_plane_loses_no_detector(site: Site, samples: Path) -> None:
    """SIGTERM leaves what is open to the next worker, and publishes nothing half."""
    site.announce("e1", trailed(samples), expected=2, detector="1")
    first = site.start()
    while not site.records("detector"):
        time.sleep(0.1)
    assert 0 == first.stop()
    assert ([], 0) == (site.records("exposure"), site.committed())
    site.announce("e1", trailed(samples), expected=2, detector="2")
    second = site.start()
    verdict = site.verdicts(1)["e1"]
    assert ("complete", 2, 1) == (
        verdict["closing"],
        len(verdict["detectors"]),
        verdict["revision"],
    )
    assert 0 == second.stop()
    assert 2 == site.committed()


def test_a_late_detector_revises_its_exposure_also_after_a_restart(
    site: Site, samples: Path
) -> None:
    """Judged after the wait by one worker; the next one reads what that published."""
    first = site.start(exposures__wait_s="3")
    site.announce("e1", noise(), expected=3, detector="1")
    site.announce("e1", b"not FITS", expected=3, detector="2")
    assert 1 == site.verdicts(1)["e1"]["revision"]
    assert 0 == first.stop()
    assert 2 == site.committed()
    second = site.start(exposures__wait_s="3")
    site.announce("e1", trailed(samples), expected=3, detector="3")
    while (late := site.verdicts(1)["e1"])["revision"] < 2:
        time.sleep(0.2)
    assert ("late_detector", [], {"1": None, "2": "not_fits", "3": None}) == (
        late["closing"],
        late["irregularities"],
        {each["detector"]: each["not_evaluated"] for each in late["detectors"]},
    )
    assert 0 == second.stop()
    assert (3, 2) == (site.committed(), len(site.records("exposure")))


def test_an_exposure_closes_on_time_and_late_detectors_revise_it(site: Site, samples: Path) -> None:
    """Three announced, one damaged: judged after the wait, then again with a duplicate noted."""
    worker = site.start(exposures__wait_s="5")
    site.announce("e1", noise(), expected=3, detector="1")
    site.announce("e1", b"not FITS", expected=3, detector="2")
    verdict = site.verdicts(1)["e1"]
    assert ("timed_out", ["detectors_missing"], {"1": None, "2": "not_fits"}) == (
        verdict["closing"],
        verdict["irregularities"],
        {each["detector"]: each["not_evaluated"] for each in verdict["detectors"]},
    )
    site.announce("e1", noise(), expected=3, detector="1")
    site.announce("e1", trailed(samples), expected=3, detector="3")
    while (late := site.verdicts(1)["e1"])["revision"] < 2:
        time.sleep(0.2)
    assert ("late_detector", ["duplicate_detector"], 3, "tracking_error") == (
        late["closing"],
        late["irregularities"],
        len(late["detectors"]),
        late["judgement"]["decision"],
    )
    assert 0 == worker.stop()
    assert (4, 1) == (site.committed(), site.broker.size(site.rejected))


def test_several_hdus_of_one_message_are_several_detectors(site: Site, samples: Path) -> None:
    """One of them is damaged: it is a detector with a reason, the others are judged."""
    with fits.open(io.BytesIO(trailed(samples))) as hdus:
        pixels = hdus["SCI"].data
    names = [fits.ImageHDU(pixels, name=f"N{number}") for number in (1, 2)]
    cube = fits.ImageHDU(np.zeros((3, 50, 50), np.int16), name="N3")
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *names, cube]).writeto(out)
    site.announce("mosaic", out.getvalue(), expected=3)
    worker = site.start()
    verdict = site.verdicts(1)["mosaic"]
    planes = [(f"N3 plane {number}", "too_small") for number in (1, 2, 3)]
    assert [("N1", None), ("N2", None), *planes] == [
        (each["detector"], each["not_evaluated"]) for each in verdict["detectors"]
    ]
    assert ("tracking_error", "complete") == (
        verdict["judgement"]["decision"],
        verdict["closing"],
    )
    assert 0 == worker.stop()
    assert 1 == site.committed()


def test_references_are_followed_where_allowed(site: Site, samples: Path) -> None:
    """A file as announced is judged; another one, another place and another scheme are rejected."""
    folder = samples / "exposures" / "trailed"
    path, content = folder / "lco0m4_banzai_trailed.fits.fz", trailed(samples)
    digest = hashlib.sha256(content).hexdigest()
    good_one = FrameReference(path.as_uri(), len(content), digest)
    bad = {
        "reference_differs": FrameReference(path.as_uri(), len(content), "0" * 64),
        "reference_missing": FrameReference(path.as_uri() + "x", len(content), digest),
        "reference_refused": FrameReference("https://127.0.0.1:1/x.fits", len(content), digest),
    }
    for name, reference in bad.items():
        site.announce(name, reference, detector="1")
    site.announce("lco", good_one)
    site.start(exposures__reference_folders=f'["{folder}"]')
    verdicts = site.verdicts(4)
    assert "tracking_error" == verdicts["lco"]["judgement"]["decision"]
    assert {"cannot_tell"} == {verdicts[name]["judgement"]["decision"] for name in bad}
    assert list(bad) == [each["streamfilter-reason"] for each in site.refusals(3)]


def test_metrics_tell_what_was_decided_and_how_soon(site: Site, samples: Path) -> None:
    """Probability of the last exposure, decisions, and seconds since the light and the message."""
    site.announce("lco", trailed(samples))
    worker = site.start()
    site.verdicts(1)
    prefix, camera = "streamfilter_exposure", 'instrument="camera"'
    while not worker.metric(f'{prefix}_latency_seconds_count{{since="received"}}'):
        time.sleep(0.05)  # the acknowledgement follows the message
    assert worker.metric(f"{prefix}_tracking_error_probability{{{camera}}}") > 0.9
    for kind in ("detector", "exposure"):
        labels = f'decision="tracking_error",{camera},kind="{kind}"'
        assert 1 == worker.metric(f"{prefix}_decisions_total{{{labels}}}")
    assert worker.metric(f'{prefix}_latency_seconds_sum{{since="mid_exposure"}}') > 10
    for since in ("mid_exposure", "message", "received"):
        assert 1 == worker.metric(f'{prefix}_latency_seconds_count{{since="{since}"}}')


def test_metrics_show_how_far_behind_the_worker_is(site: Site) -> None:
    """By the client's own statistics, beside the health of the brokers it talks to."""
    site.announce("noise", noise())
    worker = site.start()
    site.verdicts(1)
    lag = f'streamfilter_exposure_consumer_lag{{partition="0",topic="{site.exposures}"}}'
    end = time.monotonic() + SETTLE_S
    while not (found := worker.lines(lag)) or worker.metric(lag) > 0:
        assert time.monotonic() < end, worker.get("/metrics")[1]
        time.sleep(0.5)
    assert [f"{lag} 0.0"] == found
    assert {"1.0"} == {line.split()[-1] for line in worker.lines("streamfilter_exposure_broker_up")}


def test_one_process_filters_alerts_and_watches_exposures(site: Site, samples: Path) -> None:
    """Both consumer groups are served, and one signal ends both in order."""
    alerts, annotations = site.broker.topic(stem="alerts"), site.broker.topic(stem="annotations")
    packet = (samples / "lsst/170587117053804617.bin").read_bytes()
    site.broker.produce(alerts, [packet])
    site.announce("lco", trailed(samples))
    topics = {"alerts__topics": f'["{alerts}"]', "outputs__annotations": annotations}
    group = f"group-{alerts}"
    worker = site.start(only="", kafka__group=group, engine__workers="1", **topics)
    assert "tracking_error" == site.verdicts(1)["lco"]["judgement"]["decision"]
    while not site.broker.size(annotations):
        time.sleep(0.1)
    assert 200 == worker.get("/healthz")[0]
    assert 0 == worker.stop()
    assert (1, {0: 1}) == (site.committed(), site.broker.committed(group, alerts))


@pytest.mark.parametrize(
    ("size", "reason"), [(100_000, "frame_unreadable"), (3_000_000, "message_too_large")]
)
def test_what_the_rejected_topic_refuses_comes_without_its_bytes(
    site: Site, size: int, reason: str
) -> None:
    """The headers say why and where the original stands; also of what is too large to be read."""
    site.rejected = site.broker.topic(stem="small", max_message_bytes="20000")
    site.announce("noise", np.random.default_rng(3).bytes(size))
    worker = site.start(exposures__max_message_bytes="1000000")
    (headers,) = site.refusals(1)
    assert (reason, site.exposures, "0") == tuple(
        headers[f"streamfilter-{name}"] for name in ("reason", "topic", "offset")
    )
    assert [None] == [message.value for message in site.broker.read(site.rejected)]
    assert 0 == worker.stop()
    assert 1 == site.committed()


def test_a_large_frame_is_judged_in_bounded_memory(site: Site) -> None:
    """4,096 x 4,096 pixels, 32 MB in the message; the next is fetched meanwhile."""
    image = np.random.default_rng(5).normal(1000, 10, (4096, 4096)).astype(np.int16)
    out = io.BytesIO()
    fits.PrimaryHDU(image).writeto(out)
    for number in range(3):
        site.announce(f"e{number}", out.getvalue())
    worker = site.start(exposures__threads="2")
    (verdict,) = site.verdicts(1).values()
    assert ("cannot_tell", 121) == (
        verdict["judgement"]["decision"],
        verdict["judgement"]["tiles_abstained"],
    )
    assert worker.peak_mb() < 1500


def test_detectors_follow_their_partition_when_workers_come_and_go(site: Site) -> None:
    """Four exposures of two detectors over four partitions: each is complete in the end."""
    site.exposures = site.broker.topic(4, stem="exposures")
    names = {f"e{number}" for number in range(4)}
    first, frame = site.start(), noise()
    for name in sorted(names):
        site.announce(name, frame, expected=2, detector="1")
    while len(site.records("detector")) < 4:
        time.sleep(0.1)
    second = site.start()
    assert 0 == first.stop()
    for name in sorted(names):
        site.announce(name, frame, expected=2, detector="2")
    verdicts = site.verdicts(4)
    assert {("complete", 2)} == {
        (each["closing"], len(each["detectors"])) for each in verdicts.values()
    }
    assert 0 == second.stop()
    assert 8 == site.committed()
