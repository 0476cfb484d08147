"""Values that several rooms' tests start from; every part can be replaced."""

from collections.abc import Mapping
from typing import Any

from streamfilter.contaminants import CODES, TABLE
from streamfilter.records import (
    Action,
    Alert,
    Annotation,
    ClassEvidence,
    ClassPrior,
    EngineIdentity,
    Label,
    Message,
    Origin,
    Plane,
    StampEvidence,
    Times,
    Verdict,
)

LIGHT_END_UNIX_S = 1_765_000_000.25


def make_message(value: bytes | None = b"value", **changes: Any) -> Message:
    """A message as the filter reads it."""
    fields: dict[str, Any] = {
        "origin": Origin("lsst-alerts-v10", 7, 123_456_789),
        "key": None,
        "timestamp_ms": 1_765_000_030_000,
        "headers": (("producer_timestamp", b"1765000029000"),),
    }
    return Message(value=value, **{**fields, **changes})


def make_alert(value: bytes | None = b"value", **changes: Any) -> Alert:
    """An alert without stamps: nothing after the network uses them."""
    fields: dict[str, Any] = {
        "message": make_message(value),
        "survey": "lsst",
        "alert_id": "170587117053804617",
        "object_id": "170587117053804544",
        "stamps": {},
        "light_end_unix_s": LIGHT_END_UNIX_S,
        "flagged": frozenset({"CR"}),
        "flaggable": frozenset({"CR", "SAT", "TRL"}),
    }
    return Alert(**{**fields, **changes})


def make_evidence(plane: Plane = Plane.SCIENCE, **by_code: ClassEvidence) -> StampEvidence:
    """Evidence that differs from class to class, so that two cannot be swapped unseen."""
    classes = {
        code: by_code.get(code)
        or ClassEvidence(0.5 + i / 64, i / 64, 0.25 + i / 64, 300 * i, i + 0.5)
        for i, code in enumerate(CODES)
    }
    return StampEvidence(
        plane, None, filled_px=12, classes=classes, planes=(plane,), no_data_distance_px=2.5
    )


def make_annotation(value: bytes | None = b"value", **changes: Any) -> Annotation:
    """A cosmic ray found on an LSST alert, with evidence from the science stamp alone."""
    fields: Mapping[str, Any] = {
        "alert": make_alert(value),
        "verdict": Verdict(Label.CONTAMINATED, Action.DROP, "CR", "cosmic-ray-core"),
        "stamps": (make_evidence(),),
        "engine": EngineIdentity("maximask-1.4.1", "5e" * 32, "onnxruntime 1.20.1"),
        "priors": tuple(ClassPrior(row.code, row.prior, row.threshold) for row in TABLE),
        "times": Times(1_765_000_030.5, 0.25, 0.5, 0.125),
    }
    return Annotation(**{**fields, **changes})
