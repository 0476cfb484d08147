"""Verdicts as Arrow tables: the only module of the library that needs pyarrow."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pyarrow as pa

from streamfilter.alerts.surveys import NIGHT_BEGINS_UTC_H, night_of
from streamfilter.contaminants import BY_CODE
from streamfilter.library.columns import Column
from streamfilter.library.judged import Judged
from streamfilter.records import Annotation, Plane, StampEvidence

METADATA = b"streamfilter"
"""Key of a table's metadata: what judged its rows, as JSON."""
DETAIL = ("class", "core_raw", "core", "peak", "pixels", "distance_px")
"""Of a plane's struct: the class, and the fields of ``ClassEvidence``."""
_BATCH = 256
_MOMENTS = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
_TEXTS = pa.list_(pa.string())
_FIRST = (
    ("survey", pa.string()),
    ("alert_id", pa.string()),
    ("object_id", pa.string()),
    ("ra", pa.float64()),
    ("dec", pa.float64()),
    ("time", pa.timestamp("us", tz="UTC")),
    ("night", pa.string()),
    ("verdict", pa.string()),
    ("action", pa.string()),
    ("contaminant", pa.string()),
    ("rule", pa.string()),
    ("agreement", pa.string()),
    ("flagged", _TEXTS),
    ("flaggable", _TEXTS),
    ("judged_planes", _TEXTS),
    ("source", pa.string()),
    ("index", pa.int64()),
    ("rejected", pa.string()),
    ("detail", pa.string()),
)
_NUMBERS = pa.list_(pa.float32())
_STRUCT = pa.struct(
    [
        ("class", _TEXTS),
        ("core_raw", _NUMBERS),
        ("core", _NUMBERS),
        ("peak", _NUMBERS),
        ("pixels", pa.list_(pa.int32())),
        ("distance_px", _NUMBERS),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The columns of a table, and its metadata."""

    planes: tuple[Plane, ...]
    codes: tuple[str, ...]
    """Classes of the network, in its order."""
    columns: tuple[Column, ...]
    """Fields of the alerts, behind ours."""
    nights: Mapping[str, float]
    """Hour of UTC at which a night begins, by survey."""
    judged_by: Mapping[str, Any]
    """What decides verdicts, as JSON has it."""

    @property
    def contaminants(self) -> tuple[str, ...]:
        """Classes whose core posterior on the science stamp is a column."""
        normal = (code for code in self.codes if not BY_CODE[code].normal)
        return tuple(normal) if Plane.SCIENCE in self.planes else ()

    @property
    def schema(self) -> pa.Schema:
        """The schema: key first, then what is filtered by, then detail."""
        fields = [*_FIRST, *((_core(code), pa.float32()) for code in self.contaminants)]
        fields += [(each.name, pa.string() if each.text else pa.float64()) for each in self.columns]
        for plane in self.planes:
            fields += [
                (f"{plane}_not_evaluated", pa.string()),
                (f"{plane}_filled_px", pa.int32()),
                (f"{plane}_no_data_distance_px", pa.float32()),
                (str(plane), _STRUCT),
            ]
        return pa.schema(fields, {METADATA: json.dumps(dict(self.judged_by)).encode()})

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of columns and metadata: tables with the same can be joined."""
        text = f"{self.schema.remove_metadata()}{json.dumps(dict(self.judged_by), sort_keys=True)}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _core(code: str) -> str:
    return f"{code.lower()}_core"


def whole(layout: Layout, judged: Iterable[Judged]) -> pa.Table:
    """Returns a table with a row for each packet, in order."""
    return pa.Table.from_batches(batches(layout, judged), layout.schema)


def batches(layout: Layout, judged: Iterable[Judged]) -> Iterator[pa.RecordBatch]:
    """Yields batches of at most 256 rows, one for each packet, in order."""
    schema, remaining = layout.schema, iter(judged)
    while rows := [_row(layout, each) for each in islice(remaining, _BATCH)]:
        yield pa.RecordBatch.from_pylist(rows, schema)


def _row(layout: Layout, judged: Judged) -> dict[str, Any]:
    """Returns the values of a row; columns without one are left out."""
    row: dict[str, Any] = {"source": judged.source, "index": judged.index}
    if judged.rejected is not None:
        return row | {"rejected": judged.rejected.reason.value, "detail": judged.rejected.detail}
    annotation = judged.annotation
    alert, verdict = annotation.alert, annotation.verdict
    row |= {
        "survey": alert.survey,
        "alert_id": alert.alert_id,
        "object_id": alert.object_id,
        "ra": alert.fields.get("ra"),
        "dec": alert.fields.get("dec"),
        **_when(alert.light_end_unix_s, layout.nights.get(alert.survey, NIGHT_BEGINS_UTC_H)),
        "verdict": verdict.label.value,
        "action": verdict.action.value,
        "contaminant": verdict.contaminant,
        "rule": verdict.rule,
        "agreement": judged.agreement.value,
        "flagged": sorted(alert.flagged),
        "flaggable": sorted(alert.flaggable),
        "judged_planes": list(annotation.planes),
    }
    for column in layout.columns:
        value = alert.fields.get(column.name)
        row[column.name] = str(value) if column.text and value is not None else value
    return row | _of_stamps(layout, annotation)


def _of_stamps(layout: Layout, annotation: Annotation) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for stamp in annotation.stamps:
        if stamp.plane not in layout.planes:
            continue
        row |= {
            f"{stamp.plane}_not_evaluated": stamp.not_evaluated and stamp.not_evaluated.value,
            f"{stamp.plane}_filled_px": stamp.filled_px,
            f"{stamp.plane}_no_data_distance_px": stamp.no_data_distance_px,
        }
        if not stamp.classes:
            continue
        row[str(stamp.plane)] = _detail(stamp)
        if stamp.plane is Plane.SCIENCE:
            row |= {_core(code): stamp.classes[code].core for code in layout.contaminants}
    return row


def _detail(stamp: StampEvidence) -> dict[str, list[Any]]:
    """Returns lists of equal length, a value for each class of the network."""
    values: dict[str, list[Any]] = {"class": list(stamp.classes)}
    for name in DETAIL[1:]:
        values[name] = [getattr(each, name) for each in stamp.classes.values()]
    return values


def _when(unix_s: float | None, night_begins_utc_h: float) -> dict[str, Any]:
    """Returns time and night; both None for a time that is not known or outside the calendar."""
    if unix_s is None:
        return {"time": None, "night": None}
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_s)
    except (OverflowError, ValueError):
        return {"time": None, "night": None}
    if not _MOMENTS[0] <= moment <= _MOMENTS[1]:
        return {"time": None, "night": None}
    return {"time": moment, "night": night_of(moment, night_begins_utc_h)}
