"""What is fuzzed: each target takes any bytes, and raises only where streamfilter has a bug.

Only failures that the room names may come out of it, and only those that its docstring promises.
"""

import contextlib
import gzip
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np
from confluent_kafka import Message as RawMessage

import streamfilter
from streamfilter.alerts.beside import beside, usable
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import SchemaHistory, writer_of
from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.figures import fields_in_words
from streamfilter.alerts.normalise import Normalised, normalise, reflect, side_of
from streamfilter.alerts.surveys import RuleField, Surveys
from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures import frames
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.records import Frame, FrameRefused
from streamfilter.fits.stamps import read_stamp
from streamfilter.headers import rejected_message
from streamfilter.inference.manifest import InputPlane, load
from streamfilter.kafka.messages import message_of
from streamfilter.limits import Limits
from streamfilter.records import (
    Alert,
    Condition,
    FieldKind,
    Message,
    NotEvaluated,
    Origin,
    Plane,
    Rejected,
)
from streamfilter.rejections import rejection_of, replay_of
from streamfilter.schemas import binary
from streamfilter.schemas.codecs import CODECS, decompress
from streamfilter.schemas.definition import parse_text, self_contained
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import PublishedSource, exposure_schema, single_object_header
from streamfilter.schemas.splice import Splicer, extend
from streamfilter.schemas.walk import RecordWalk, leaf_types
from streamfilter.schemas.wire import VALUE_SCHEMA_ID, Form, WriterSchema

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))  # for those who run without pytest
from factories import make_annotation  # noqa: E402
from foreign_words import foreign_words  # noqa: E402

CORPUS = HERE / "corpus"
REGRESSIONS = HERE / "regressions"

# Small, so that a limit is reached by inputs that a fuzzer makes.
LIMITS = Limits(
    max_message_bytes=2**18,
    max_decompressed_bytes=2**18,
    max_stamp_side_px=64,
    max_schema_bytes=2**16,
)
RULES = frames.FrameRules(max_bytes=2**20, max_pixels=2**16)

_POINT: dict[str, Any] = {
    "type": "record",
    "name": "t.point",
    "fields": [
        {"name": "flux", "type": "double"},
        {"name": "band", "type": ["null", "string"]},
        {"name": "flags", "type": ["null", "boolean", "int"]},
    ],
}
_STAMP: dict[str, Any] = {
    "type": "record",
    "name": "t.stamp",
    "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}],
}
SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "record",
        "name": "ztf.alert",
        "fields": [
            {"name": "objectId", "type": "string"},
            {"name": "candid", "type": "long"},
            {
                "name": "candidate",
                "type": {
                    "type": "record",
                    "name": "t.candidate",
                    "fields": [
                        {"name": "jd", "type": "double"},
                        {"name": "nbad", "type": ["int", "null"]},
                        {"name": "exptime", "type": ["null", "float"]},
                        {"name": "kind", "type": {"type": "enum", "name": "k", "symbols": ["a"]}},
                        {"name": "hash", "type": {"type": "fixed", "name": "f", "size": 3}},
                    ],
                },
            },
            {"name": "history", "type": ["null", {"type": "array", "items": _POINT}]},
            {"name": "runs", "type": {"type": "array", "items": ["null", "double", "int"]}},
            {"name": "deep", "type": {"type": "array", "items": {"type": "map", "values": {
                "type": "array", "items": "string"}}}},
            {"name": "cutoutScience", "type": ["null", _STAMP]},
            {"name": "cutoutDifference", "type": ["t.stamp", "null"]},
        ],
    },
    {
        "type": "record",
        "name": "lsst.v9_0.alert",
        "fields": [
            {"name": "diaSourceId", "type": "long"},
            {
                "name": "diaSource",
                "type": {
                    "type": "record",
                    "name": "t.source",
                    "fields": [
                        {"name": "midpointMjdTai", "type": "double"},
                        {"name": "diaObjectId", "type": ["null", "long"]},
                        {"name": "pixelFlags_cr", "type": ["null", "boolean"]},
                    ],
                },
            },
            {"name": "history", "type": ["null", {"type": "array", "items": _POINT}]},
            {"name": "cutoutDifference", "type": ["null", "bytes"]},
            {"name": "cutoutScience", "type": ["null", "bytes"]},
            {"name": "cutoutTemplate", "type": ["bytes", "null"]},
        ],
    },
)  # fmt: skip
"""Writer schemas by the id of the Confluent form; between them every type of Avro."""


class _Shelf:
    """The schemas above, as a registry would give them."""

    name = "the fuzzer's schemas"

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        return SCHEMAS[schema_id] if schema_id < len(SCHEMAS) else None

    def by_guid(self, guid: UUID) -> dict[str, Any] | None:
        return self.by_id(guid.int)

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        return None


_SHELF_TYPES = {each["name"]: each for each in (_POINT, _STAMP, *SCHEMAS)}
_SURVEYS = Surveys.load()
# As if rules looked at every field that a map names.
_FIELDS = frozenset(
    RuleField(each.survey, name, FieldKind.TEXT if "version" in name.lower() else FieldKind.NUMBER)
    for each in _SURVEYS.maps
    for name in each.fields
)
_SHELF = SchemaFinder([_Shelf(), PublishedSource()], LIMITS)
_DECODER = Decoder(_SHELF, _SURVEYS, LIMITS)
_ZTF = writer_of(_SHELF.find((Form.CONFLUENT, 0)), _SURVEYS.of_record("ztf.alert")[0])
_LONGEST_WORDS = 1_500  # a hundred characters of a name, each escaped
_EXPOSURES = ExposureDecoder(_SHELF)
_SYNC = bytes(16)
_ENCODER = Encoder(_SHELF)
_SIDES_PX = load("maximask").sides_px
# A Kafka message's headers count with its size; ours are a few short words.
_LONGEST_HEADERS = 5_000
_EXPOSURE_HEADER = single_object_header(exposure_schema())


def _message(value: bytes) -> Message:
    return Message(Origin("fuzz", 0, 0), value)


def _followed(found: Alert | Rejected) -> Alert | Rejected:
    """What was decoded, once all that follows has taken it: nothing there may fail on an alert."""
    if isinstance(found, Rejected):
        rejected_message(found)
        _in_our_words(found.detail)
        return found
    for unreadable in found.unreadable.values():
        _in_our_words(unreadable.detail)
    assert fields_in_words(found.fields).isprintable()
    for value in found.fields.values():
        assert Condition(equals=value).holds(value)
    for stamp in found.stamps.values():
        ready = normalise(stamp)
        if not isinstance(ready, NotEvaluated):
            out = np.empty((side_of(ready.image.shape, _SIDES_PX),) * 2, np.float32)
            reflect(ready, out)
            assert np.isfinite(out).all(), "the network would be given no numbers"
    science = usable(found, Plane.SCIENCE, _SIDES_PX[-1])
    if isinstance(science, Normalised):
        for image in beside(found, science, tuple(InputPlane)[1:], _SIDES_PX[-1]).images:
            assert image is None or np.isfinite(image).all(), "nor here"
    annotation = make_annotation(alert=found)
    published = streamfilter.read(_ENCODER.annotation(annotation, "annotations"))
    assert published["alert_id"] == found.alert_id
    assert len(str(_ENCODER.headers(annotation))) < _LONGEST_HEADERS
    with contextlib.suppress(MessageRejected):
        _ENCODER.enriched(annotation, "enriched")
    return found


def _in_our_words(detail: str) -> None:
    """What is said of a message names what was found, in no library's words."""
    assert not foreign_words(detail), detail


def container(data: bytes) -> object:
    """A message that begins as an Avro container, whose schema is the sender's own."""
    # A finder of its own: what one input leaves in a cache must not change the next one's way.
    finder = SchemaFinder([], LIMITS)
    value = b"Obj\x01" + data
    with contextlib.suppress(MessageRejected):
        Splicer().splice(finder.open(value), b"", "enriched")
    decoder = Decoder(finder, _SURVEYS, LIMITS)
    found = _followed(decoder.decode(_message(value), fields=_FIELDS))
    assert all(str(each).isprintable() for each in decoder.take_reports())
    return found


def record(data: bytes) -> object:
    """The body of an alert whose schema is known: the first byte chooses among them."""
    value = b"\x00" + (data[0] % len(SCHEMAS)).to_bytes(4, "big") + data[1:] if data else b""
    return _followed(_DECODER.decode(_message(value), fields=_FIELDS))


def exposure(data: bytes) -> object:
    """The body of a message of the exposure stream."""
    found = _EXPOSURES.decode(_message(_EXPOSURE_HEADER + data))
    if isinstance(found, Rejected):
        _in_our_words(found.detail)
    return found


def header(data: bytes) -> object:
    """A header that may name the schema, after its length; then the value."""
    length = data[0] % 32 if data else 0
    named = ((VALUE_SCHEMA_ID, data[1 : 1 + length]),)
    message = Message(Origin("fuzz", 0, 0), data[1 + length :], headers=named)
    _EXPOSURES.decode(message)
    with contextlib.suppress(MessageRejected):
        streamfilter.read(message.value or b"", headers=named, finder=_SHELF)
    return _followed(_DECODER.decode(message))


def wire(data: bytes) -> object:
    """Any bytes as a message."""
    _EXPOSURES.decode(_message(data))
    try:
        streamfilter.read(data)
    except MessageRejected as rejected:
        _in_our_words(rejected.detail)
    return _followed(_DECODER.decode(_message(data)))


def schema(data: bytes) -> object:
    """A writer schema's text; after a zero byte a record of it; also as a container's."""
    text, _, body = data.partition(b"\0")
    head = binary.long(1) + binary.string("avro.schema") + binary.long(len(text)) + text + b"\0"
    with contextlib.suppress(ValueError, RecursionError):
        definition = json.loads(text)
        if isinstance(definition, dict):
            self_contained(definition, _SHELF_TYPES.get)
    container(head + _SYNC + binary.long(1) + binary.long(len(body)) + body + _SYNC)
    try:
        found = parse_text(text, LIMITS)
        with contextlib.suppress(MessageRejected):
            extend(found)
        _drifted(found)
        names = [field["name"] for field in found.parsed["fields"]]
        paths = [name for name in names if _is_leaf(leaf_types(found, name))]
        return RecordWalk(found, paths, (b"SIMPLE  =",)).read(body)
    except MessageRejected as rejected:
        _in_our_words(rejected.detail)
        return rejected


def _drifted(found: WriterSchema) -> None:
    """What a log says of a schema that follows a survey's own is short and plain."""
    watch = SchemaHistory()
    watch.record("t", Form.OCF, None, _ZTF)
    drift = watch.record("t", Form.OCF, None, writer_of(found, _SURVEYS.of_record("ztf.alert")[0]))
    for words in (drift.now, *(each.detail for each in drift.fields)) if drift else ():
        assert words.isprintable()
        assert len(words) < _LONGEST_WORDS


def _is_leaf(types: frozenset[str] | None) -> bool:
    return types is not None and not types & {"record", "error", "array", "map", "union"}


def stamp(data: bytes) -> object:
    """The FITS bytes of a stamp."""
    try:
        planes = read_stamp(data, LIMITS)
    except MessageRejected as rejected:
        _in_our_words(rejected.detail)
        return rejected
    assert planes.image.dtype == np.float32
    assert max(planes.image.shape) <= LIMITS.max_stamp_side_px
    return planes


def frame(data: bytes) -> object:
    """The FITS bytes of an exposure's frame."""
    frames.headers(data, RULES)
    found = list(frames.read_frames(data, "fuzz", RULES))
    assert found, "nothing was said of the bytes"
    assert all(isinstance(each, Frame | FrameRefused) for each in found)
    for each in found:
        if isinstance(each, FrameRefused):
            _in_our_words(each.detail)
    return found[0]


class _Record:
    """A record as librdkafka's bindings hand it over: names of headers are decoded when asked."""

    def __init__(self, data: bytes) -> None:
        self._when, *parts = data.split(b"\n")
        self._headers = list(zip(parts[::2], parts[1::2], strict=False))

    def headers(self) -> list[tuple[str, bytes]]:
        try:
            return [(name.decode(), value) for name, value in self._headers]
        except UnicodeDecodeError as error:
            raise SystemError("headers returned a result with an exception set") from error

    def timestamp(self) -> tuple[int, int]:
        return len(self._when) % 3, int.from_bytes(self._when[:8], "big", signed=True)

    def topic(self) -> str:
        return "fuzz"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def value(self) -> bytes | None:
        return b"\n".join(value for _, value in self._headers) or None

    def key(self) -> bytes | None:
        return self._when or None


def kafka(data: bytes) -> object:
    """A Kafka record, headers and time any bytes, on its way to the rejected topic and back."""
    message = message_of(cast("RawMessage", _Record(data)))
    for decoded in (_DECODER.decode(message), _EXPOSURES.decode(message)):
        assert isinstance(decoded, Rejected) or not message.unread
    value, headers = rejected_message(Rejected(message, Reason.INTERNAL, message.unread))
    stored = Message(message.origin, value, message.key, message.timestamp_ms, headers)
    rejection = rejection_of(stored)
    assert rejection is not None, "our own headers are not recognised"
    assert (message.origin, message.value) == (rejection.origin, rejection.stored.value)
    replay_of(rejection, "again")
    return message


_UNPACK: tuple[tuple[bytes, Callable[[bytes], object]], ...] = (
    (b"\x1f\x8b", lambda data: read_stamp(data, LIMITS)),
    (b"\x1f\x8b", lambda data: next(frames.read_frames(data, "fuzz", RULES))),
    (b"", lambda data: decompress(data, "deflate", LIMITS)),
    (b"BZh", lambda data: decompress(data, "bzip2", LIMITS)),
    (b"\xfd7zXZ\x00", lambda data: decompress(data, "xz", LIMITS)),
    (b"", lambda data: decompress(data, "snappy", LIMITS)),
    (b"\x28\xb5\x2f\xfd", lambda data: decompress(data, "zstandard", LIMITS)),
)
PACK: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, mtime=0),
    lambda data: gzip.compress(data, mtime=0),
    *(CODECS[name].compress for name in ("deflate", "bzip2", "xz", "snappy", "zstandard")),
)
"""What makes inputs of each kind of compression, in the same order."""


def packed(data: bytes) -> object:
    """Compressed bytes: the first byte chooses among the kinds, their magic is put in front."""
    magic, unpack = _UNPACK[data[0] % len(_UNPACK)] if data else _UNPACK[0]
    try:
        return unpack(magic + data[1:])
    except MessageRejected as rejected:
        _in_our_words(rejected.detail)
        return rejected


def magic_bytes(kind: int) -> int:
    """How many bytes ``packed`` puts in front by itself."""
    return len(_UNPACK[kind][0])


TARGETS: Mapping[str, Callable[[bytes], object]] = {
    "container": container,
    "exposure": exposure,
    "frame": frame,
    "header": header,
    "kafka": kafka,
    "packed": packed,
    "record": record,
    "schema": schema,
    "stamp": stamp,
    "wire": wire,
}
