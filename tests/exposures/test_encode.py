"""What is published of a detector and of an exposure."""

from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
from exposure_factories import make_announced, make_evidence, make_received

import streamfilter
from streamfilter.contaminants import CODES
from streamfilter.exposures.encode import HEADERS, TrackingEncoder, key_of
from streamfilter.exposures.records import (
    Closing,
    ContaminantAreas,
    ExposureVerdict,
    FrameReason,
    Irregularity,
)
from streamfilter.records import EngineIdentity
from streamfilter.schemas.published import PublishedSchema

NOW = 1_765_000_040.0
ENGINE = EngineIdentity("maxitrack", "5e" * 32, "onnxruntime 1.20.1")
ENCODER = TrackingEncoder(ENGINE, clock=lambda: NOW)


def make_verdict() -> ExposureVerdict:
    one, other = make_evidence(), make_evidence(detector="8", not_evaluated=FrameReason.CUBE)
    return ExposureVerdict(
        *("e1", "camera", 2, Closing.TIMED_OUT, one.judgement, (one, other), 3),
        irregularities=(Irregularity.DETECTORS_MISSING,),
    )


def test_a_detector_s_record_holds_all_of_its_evidence() -> None:
    """Judgement, shapes and tiles come back as they were, read without any schema at hand."""
    evidence = make_evidence()
    value, _ = ENCODER.detector(make_received(), evidence, 1.5, "tracking")
    record = streamfilter.read(value)
    assert asdict(evidence.judgement) == record["judgement"]
    assert [asdict(tile) for tile in evidence.tiles] == record["tiles"]
    assert ("detector", "e1", "camera", "CCD7") == tuple(
        record[name] for name in ("kind", "exposure_id", "instrument", "detector")
    )
    assert {"topic": "exposures", "partition": 0, "offset": 5} == record["origin"]
    assert {"name": "maxitrack", "sha256": b"\x5e" * 32, "runtime": ENGINE.runtime} == (
        record["engine"]
    )


def test_an_exposure_s_record_holds_its_detectors_in_short() -> None:
    """Revision, closing and irregularities say how far it can be trusted."""
    value, _ = ENCODER.exposure([make_received()], make_verdict(), "tracking")
    record = streamfilter.read(value)
    assert ("exposure", None, 2, "timed_out", ["detectors_missing"], 3, []) == tuple(
        record[name]
        for name in (
            *("kind", "detector", "revision", "closing", "irregularities"),
            *("detectors_expected", "tiles"),
        )
    )
    assert [("CCD7", None), ("8", "cube")] == [
        (each["detector"], each["not_evaluated"]) for each in record["detectors"]
    ]


def test_a_record_dates_the_way_of_its_exposure() -> None:
    """The last message's times count; a field that one message lacks comes from another."""
    silent = make_received(mid_exposure_unix_s=None, filter=None)
    value, _ = ENCODER.exposure([silent, make_received()], make_verdict(), "tracking")
    record = streamfilter.read(value)
    times = record["times"]
    assert datetime.fromtimestamp(1_765_000_000.25, UTC) == times["mid_exposure"]
    assert datetime.fromtimestamp(1_765_000_030, UTC) == times["message"]
    assert datetime.fromtimestamp(1_765_000_031, UTC) == times["received"]
    assert (datetime.fromtimestamp(NOW, UTC), None) == (times["judged"], times["look_s"])
    assert ("r", 30.5) == (record["filter"], record["exposure_time_s"])


def test_an_exposure_s_contaminants_are_those_of_all_that_was_searched() -> None:
    """Shares are weighted by pixels; a detector that was not searched does not count."""
    shares = dict.fromkeys(CODES, 0.0)
    areas = [ContaminantAreas(n, shares | {"CR": cr}, "x") for n, cr in ((100, 0.1), (300, 0.3))]
    detectors = [make_evidence(contaminants=each) for each in (*areas, None)]
    verdict = replace(make_verdict(), detectors=tuple(detectors))
    encoder = TrackingEncoder(ENGINE, masking=ENGINE, clock=lambda: NOW)
    found = streamfilter.read(encoder.exposure([make_received()], verdict, "t")[0])["contaminants"]
    assert (400, pytest.approx(0.25), 0.0, None, "maxitrack") == (
        *(found[name] for name in ("pixels", "cr", "hcl", "mask")),
        found["engine"]["name"],
    )


def test_the_network_that_was_chosen_for_cosmic_rays_is_named() -> None:
    """Null where none was: then it is that of all classes."""
    alone = replace(ENGINE, name="deepcr")
    areas = ContaminantAreas(100, dict.fromkeys(CODES, 0.0), None)
    names = []
    for cosmic_rays in (None, alone):
        encoder = TrackingEncoder(ENGINE, masking=ENGINE, cosmic_rays=cosmic_rays)
        evidence = make_evidence(contaminants=areas)
        value = encoder.detector(make_received(), evidence, 1.5, "t")[0]
        found = streamfilter.read(value)["contaminants"]
        assert "maxitrack" == found["engine"]["name"]
        names.append(found["cosmic_rays"] and found["cosmic_rays"]["name"])
    assert [None, "deepcr"] == names


def test_headers_route_without_decoding() -> None:
    """Every header is documented, and says the same as the record."""
    _, headers = ENCODER.detector(make_received(), make_evidence(), 1.5, "tracking")
    assert list(HEADERS) == [name for name, _ in headers]
    assert b"tracking_error" == dict(headers)["streamfilter-decision"]


def test_messages_of_one_exposure_have_one_key() -> None:
    """The same exposure id of another instrument has another key."""
    assert key_of(make_announced(detector="1")) == key_of(make_announced(detector="2"))
    assert key_of(make_announced(instrument="a")) != key_of(make_announced(instrument="b"))


@pytest.mark.parametrize("topics", [("a", "a"), ("a", "b")])
def test_with_a_registry_the_schema_is_registered_once_a_topic(topics: tuple[str, str]) -> None:
    """Records then begin with the registry's id."""

    class Registrar:
        subjects: list[str] = []  # noqa: RUF012 - of this test alone

        def register(self, subject_name: str, schema: PublishedSchema) -> int:
            self.subjects.append(subject_name)
            return 258

    encoder = TrackingEncoder(ENGINE, registrar=Registrar(), clock=lambda: NOW)
    encoder.register(topics[0])
    values = [encoder.detector(make_received(), make_evidence(), 1.5, t)[0] for t in topics]
    assert {b"\0\0\0\x01\x02"} == {value[:5] for value in values}
    assert sorted({f"{topic}-value" for topic in topics}) == sorted(Registrar.subjects)
