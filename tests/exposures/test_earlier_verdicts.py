"""Published records, read back into verdicts."""

from dataclasses import replace
from typing import Any

from exposure_factories import make_evidence, make_received, make_verdict

from streamfilter.contaminants import CODES
from streamfilter.exposures.earlier_verdicts import collected
from streamfilter.exposures.encode import TrackingEncoder
from streamfilter.exposures.records import ContaminantAreas, FrameReason, NotJudged
from streamfilter.records import EngineIdentity

ENGINE = EngineIdentity("maxitrack", "5e" * 32, "onnxruntime 1.20.1")
ENCODER = TrackingEncoder(ENGINE, masking=ENGINE)
FRAME_CODES = [code for code in CODES if code != "RES"]  # which stamps alone have
AREAS = ContaminantAreas(100, {code: n / 64 for n, code in enumerate(FRAME_CODES)}, "x.fits")


def published(*values: bytes) -> list[Any]:
    return [ENCODER.read(value, "tracking") for value in values]


def test_what_was_published_of_detectors_comes_back() -> None:
    """But their tiles, and where they were read; of a frame that was not read, the reason."""
    evidence = make_evidence(contaminants=AREAS, not_judged=NotJudged.FOCUS, detail="why")
    unread = make_evidence(detector="8", not_evaluated=FrameReason.CUBE)
    verdict = make_verdict(detectors=(evidence, unread), revision=3)
    older = make_verdict(detectors=(evidence,), revision=2)
    found = collected(
        published(
            ENCODER.detector(make_received(), evidence, 1.5, "tracking")[0],
            ENCODER.exposure([make_received()], verdict, "tracking")[0],
            ENCODER.exposure([make_received()], older, "tracking")[0],
        )
    )
    (earlier,) = found.values()
    assert ([("camera", "e1")], 3) == (list(found), earlier.revision)
    first, second = earlier.detectors
    assert replace(evidence, source="", hdu=None, tiles=()) == first
    assert ("8", FrameReason.CUBE) == (second.detector, second.not_evaluated)


def test_a_value_of_another_schema_is_no_record() -> None:
    """A worker of another version wrote it, or somebody else."""
    assert [None, None] == published(b"", b"\xc3\x01" + bytes(20))
