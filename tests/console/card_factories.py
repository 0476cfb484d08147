"""Annotation records and cards for tests."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import fastavro

from streamfilter.console.cards import Card, card_of
from streamfilter.records import Origin
from streamfilter.schemas.published import annotation_schema, single_object_header

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def record(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A record of an annotation: contaminated by a cosmic ray, dropped."""
    evidence = {"core_raw": 1.0, "core": 0.98, "peak": 0.99, "pixels": 5, "distance_px": 0.5}
    verdict = {
        "label": "contaminated", "action": "drop", "contaminant": "CR", "rule": "cosmic-ray",
    }  # fmt: skip
    made: dict[str, Any] = {
        "survey": "ztf",
        "alert_id": str(number),
        "object_id": f"ZTF{number}",
        "origin": {"topic": "alerts", "partition": 0, "offset": number},
        "verdict": verdict,
        "science": {"not_evaluated": None, "filled_px": 0, "cr": evidence},
        "template": None,
        "difference": None,
        "priors": {"cr": {"prior": 5e-4, "threshold": 0.43}},
        "survey_flags": {"flagged": [], "flaggable": ["HP"], "agreement": "streamfilter_only"},
        "engine": {"name": "maximask", "sha256": b"\1" * 32, "runtime": "onnxruntime"},
        "times": {
            "light_end": NOON, "message": NOON, "received": NOON, "annotated": NOON,
            "decode_s": 0.0, "queue_s": 0.0, "infer_s": 0.01,
        },
        "version": "0",
    }  # fmt: skip
    return {**made, **changes}


def clean_record(number: int, **changes: Any) -> dict[str, Any]:
    """A record of an annotation in which no rule spoke."""
    verdict = {"label": "clean", "action": "keep", "contaminant": None, "rule": None}
    flags = {"flagged": [], "flaggable": ["HP"], "agreement": "agree"}
    return record(number, **{"verdict": verdict, "survey_flags": flags, **changes})


def opinion(core: float = 0.9, **changes: Any) -> dict[str, Any]:
    """What stampmask says of the same alert, as the annotation has it: a cosmic ray."""
    evidence = {"core_raw": 1.0, "core": core, "peak": 0.95, "pixels": 7, "distance_px": 0.5}
    made: dict[str, Any] = {
        "engine": {"name": "stampmask", "sha256": b"\2" * 32, "runtime": "onnxruntime"},
        "science": {"not_evaluated": None, "filled_px": 0, "cr": evidence},
        "template": None,
        "difference": None,
        "priors": {"cr": {"prior": 1e-3, "threshold": 0.6}},
        "infer_s": 0.001,
    }
    return {**made, **changes}


def message_of(made: dict[str, Any]) -> bytes:
    """The record as the filter publishes it."""
    out = io.BytesIO(single_object_header(annotation_schema()))
    out.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(out, annotation_schema().schema.parsed, made)
    return out.getvalue()


def card(number: int = 1, **changes: Any) -> Card:
    """The card of a record."""
    made = {**record(number), "science": {"not_evaluated": None, **_all_classes(number)}}
    found = card_of(Origin("annotations", 0, number), made)
    return replace(found, **changes)


def _all_classes(number: int) -> dict[str, Any]:
    return {"cr": record(number)["science"]["cr"]}
