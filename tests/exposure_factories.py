"""Values of the exposure half that several tests start from; every part can be replaced."""

from typing import Any

from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.encode import ReceivedExposure
from streamfilter.exposures.records import (
    Announced,
    Closing,
    Decision,
    DetectorEvidence,
    ExposureVerdict,
    FrameReference,
    Judgement,
    Purpose,
    Shapes,
    TileEvidence,
    Voice,
)
from streamfilter.records import Message, Origin


def make_announced(**changes: Any) -> Announced:
    """A readout with a value in every field."""
    fields: dict[str, Any] = {
        "exposure_id": "e1",
        "instrument": "camera",
        "detector": "CCD7",
        "detectors_expected": 2,
        "hdu": "SCI",
        "mid_exposure_unix_s": 1_765_000_000.25,
        "exposure_time_s": 30.5,
        "filter": "r",
        "purpose": Purpose.SCIENCE,
    }
    return Announced(**{**fields, **changes})


def make_message(
    frame: bytes | FrameReference = b"SIMPLE  =", offset: int = 0, **changes: Any
) -> Message:
    """A message of the exposure stream."""
    value = encode_exposure(make_announced(**changes), frame)
    return Message(Origin("exposures", 0, offset), value, b"e1", 1_765_000_030_000)


def make_received(**changes: Any) -> ReceivedExposure:
    """The same message without its frame."""
    message = Message(Origin("exposures", 0, 5), None, b"e1", 1_765_000_030_000)
    return ReceivedExposure(message, make_announced(**changes), 1_765_000_031.0)


def make_evidence(**changes: Any) -> DetectorEvidence:
    """A detector with trailed stars; every number in it is different."""
    shapes = Shapes(31, 1.75, -42.5, 0.875, 3.25, 1.5)
    judgement = Judgement(
        *(Decision.TRACKING_ERROR, Voice.BOTH, 0.9375, 5.5, 3.75, 1.625, 0.8125, 0.05, 4, 2),
        shapes,
        *(0.5625, 4.25, 5),
    )
    tiles = (
        TileEvidence(0, 0, 0.99, 12, 1.0, 0.9, 0.6),
        TileEvidence(0, 112, None, 1, 0.4, 0.1, 0),
    )
    fields: dict[str, Any] = {
        "source": "exposures",
        "hdu": 1,
        "detector": "CCD7",
        "judgement": judgement,
        "tiles": tiles,
    }
    return DetectorEvidence(**{**fields, **changes})


def make_verdict(**changes: Any) -> ExposureVerdict:
    """A verdict on an exposure with that detector and a second one that is missing."""
    evidence = make_evidence()
    judgement = evidence.judgement
    fields: dict[str, Any] = {
        "exposure_id": "e1",
        "instrument": "camera",
        "revision": 1,
        "closing": Closing.COMPLETE,
        "judgement": judgement,
        "detectors": (evidence,),
        "detectors_expected": 2,
    }
    return ExposureVerdict(**{**fields, **changes})
