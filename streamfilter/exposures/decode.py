"""Decodes messages of the exposure stream; an unusable one becomes a Rejected with a reason."""

import math
import re
from functools import lru_cache
from typing import TypeVar

from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures.records import Announced, ExposureMessage, FrameReference, Purpose
from streamfilter.records import Message, Rejected
from streamfilter.schemas.finder import SchemaFinder, SchemaKey
from streamfilter.schemas.walk import RecordWalk, leaf_types
from streamfilter.schemas.wire import WriterSchema, schema_id_of

_TEXT, _WHOLE = frozenset({"string", "null"}), frozenset({"int", "long", "null"})
_NUMBER = frozenset({"float", "double", "null"})
_FIELDS: dict[str, frozenset[str]] = {
    "exposure_id": _TEXT,
    "instrument": _TEXT,
    "detector": _TEXT,
    "detectors_expected": _WHOLE,
    "hdu": _TEXT,
    "mid_exposure": _WHOLE | {"timestamp-micros"},
    "exposure_time_s": _NUMBER,
    "filter": _TEXT,
    "purpose": _TEXT,
    "reference.uri": _TEXT,
    "reference.size": _WHOLE,
    "reference.sha256": _TEXT,
    "frame": frozenset({"bytes", "null"}),
}
"""The paths that the decoder reads, and the Avro types that each may have."""
_REQUIRED = ("exposure_id", "instrument")
_LONGEST_NAME = 200
"""Characters; names are repeated in keys, headers and logs."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_DETECTORS = 100_000
_YEAR_9999_UNIX_S = 253_402_300_799

Kind = TypeVar("Kind", str, bytes, int, float)


class ExposureDecoder:
    """Decodes messages of the exposure stream.

    Parameters
    ----------
    finder
        Opens messages and finds their writer schemas: ``streamfilter.v1.Exposure`` or another
        record with its fields, in any of the three wire forms.
    """

    def __init__(self, finder: SchemaFinder) -> None:
        self._finder = finder
        self._walk = lru_cache(maxsize=64)(_walk)

    def decode(self, message: Message) -> ExposureMessage | Rejected:
        """Returns the decoded message, or a Rejected that says why it cannot be used.

        Raises
        ------
        SchemaUnavailable
            The writer schema is not available now; the message can be decoded later.
        """
        value = message.value
        if message.unread:
            return Rejected(message, Reason.HEADERS_MALFORMED, message.unread)
        if not value:
            return Rejected(message, Reason.EMPTY, "the message has no value")
        try:
            envelope = self._finder.open(value, message.headers)
            paths, walk = self._walk(envelope.schema)
            values = dict(zip(paths, walk.read(envelope.body), strict=True))
            return ExposureMessage(message, _announced(values), _frame(values))
        except MessageRejected as rejected:
            schema_id = schema_id_of(value, message.headers)
            return Rejected(message, rejected.reason, rejected.detail, schema_id)

    def fetch(self, key: SchemaKey) -> None:
        """Fetch a writer schema now, so that messages written with it need not wait.

        Raises
        ------
        MessageRejected
            No source knows the schema, or it is malformed.
        SchemaUnavailable
            The schema is not available now.
        """
        self._finder.find(key)


def _walk(schema: WriterSchema) -> tuple[tuple[str, ...], RecordWalk]:
    """Returns the paths that a writer schema has, and a walk that reads their values."""
    present = {path: types for path in _FIELDS if (types := leaf_types(schema, path)) is not None}
    for path, types in present.items():
        if not types <= _FIELDS[path]:
            raise MessageRejected(
                Reason.FIELD_TYPE,
                f"{path} is {' or '.join(sorted(types))}; "
                f"it can be {' or '.join(sorted(_FIELDS[path]))}",
            )
    for path in _REQUIRED:
        if path not in present:
            raise MessageRejected(
                Reason.FIELD_MISSING, f"{schema.name} has no {path}; expected an Exposure"
            )
    return tuple(present), RecordWalk(schema, list(present))


def _announced(values: dict[str, object]) -> Announced:
    expected = _value(values, "detectors_expected", int)
    if expected is not None and not 0 < expected <= _MOST_DETECTORS:
        raise MessageRejected(
            Reason.FIELD_TYPE, f"detectors_expected is {expected}; expected 1 to {_MOST_DETECTORS}"
        )
    mid_us = _value(values, "mid_exposure", int)
    mid_unix_s = None if mid_us is None else mid_us / 1e6
    if mid_unix_s is not None and not 0 <= mid_unix_s <= _YEAR_9999_UNIX_S:
        mid_unix_s = None  # the producer's clock was never set
    exposure_time_s = _value(values, "exposure_time_s", float)
    if exposure_time_s is not None and not math.isfinite(exposure_time_s):
        exposure_time_s = None
    return Announced(
        exposure_id=_name(values, "exposure_id") or "",
        instrument=_name(values, "instrument") or "",
        detector=_name(values, "detector"),
        detectors_expected=expected,
        hdu=_name(values, "hdu"),
        mid_exposure_unix_s=mid_unix_s,
        exposure_time_s=exposure_time_s,
        filter=_name(values, "filter"),
        purpose=_purpose(values),
    )


def _purpose(values: dict[str, object]) -> Purpose | None:
    """Returns what an exposure is for; raises MessageRejected for an unknown word."""
    word = (_value(values, "purpose", str) or "").strip().lower()
    if not word:
        return None
    if word not in list(Purpose):
        known = ", ".join(Purpose)
        raise MessageRejected(Reason.FIELD_TYPE, f"purpose is {word[:80]!r}; expected {known}")
    return Purpose(word)


def _frame(values: dict[str, object]) -> bytes | FrameReference:
    frame = _value(values, "frame", bytes)
    uri = _value(values, "reference.uri", str)
    if (frame is None) == (uri is None):
        both = "neither is given" if frame is None else "both are given"
        raise MessageRejected(Reason.FIELD_MISSING, f"one of frame and reference: {both}")
    if frame is not None or uri is None:
        return frame or b""
    size, sha256 = _value(values, "reference.size", int), _value(values, "reference.sha256", str)
    if size is None or size < 0 or _SHA256.fullmatch((sha256 or "").lower()) is None:
        raise MessageRejected(
            Reason.FIELD_TYPE, "reference: expected its size in bytes and 64 digits of sha256"
        )
    return FrameReference(uri, size, (sha256 or "").lower())


def _name(values: dict[str, object], path: str) -> str | None:
    """Returns a name, or None where it is missing or empty.

    Raises
    ------
    MessageRejected
        The name is required and empty, or it is too long.
    """
    text = _value(values, path, str)
    if path in _REQUIRED and not (text or "").strip():
        raise MessageRejected(Reason.FIELD_MISSING, f"{path} is empty")
    if text is not None and len(text) > _LONGEST_NAME:
        raise MessageRejected(
            Reason.FIELD_TYPE, f"{path} has {len(text)} characters; at most {_LONGEST_NAME}"
        )
    return text or None


def _value(values: dict[str, object], path: str, kind: type[Kind]) -> Kind | None:
    value = values.get(path)
    return value if isinstance(value, kind) else None
