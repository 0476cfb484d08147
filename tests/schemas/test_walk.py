"""Walking records by their schema, beside fastavro's full decode."""

import io
import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfilter.errors import MessageRejected
from streamfilter.limits import Limits
from streamfilter.schemas.definition import parse_definition
from streamfilter.schemas.walk import RecordWalk, leaf_types
from streamfilter.schemas.wire import WriterSchema

POINT = {
    "type": "record",
    "name": "point",
    "fields": [
        {"name": "a", "type": "double"},
        {"name": "b", "type": ["null", "float"]},
        {"name": "c", "type": ["null", "string"]},
        {"name": "d", "type": "boolean"},
    ],
}
DEFINITION: dict[str, Any] = {
    "type": "record",
    "name": "t.alert",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "head", "type": POINT},
        {"name": "maybe", "type": ["null", "point"]},
        {"name": "colour", "type": {"type": "enum", "name": "e", "symbols": ["red", "green"]}},
        {"name": "hash", "type": {"type": "fixed", "name": "f", "size": 3}},
        {"name": "history", "type": ["null", {"type": "array", "items": "point"}]},
        {"name": "runs", "type": {"type": "array", "items": ["null", "double", "int"]}},
        {"name": "words", "type": {"type": "map", "values": "point"}},
        {"name": "first", "type": ["null", "bytes"]},
        {"name": "second", "type": ["bytes", "null"]},
        {"name": "third", "type": "bytes"},
    ],
}
SCHEMA = parse_definition(DEFINITION)
PATHS = ["first", "id", "head.b", "head.c", "head.d", "maybe.a", "maybe.c", "colour", "hash"]
PATHS += ["second", "third"]
ANCHOR = b"SIMPLE  ="
ANCHORS = (b"\x1f\x8b\x08", ANCHOR)

points = st.fixed_dictionaries(
    {
        "a": st.floats(allow_nan=False),
        "b": st.none() | st.floats(width=32, allow_nan=False),
        "c": st.none() | st.text(),
        "d": st.booleans(),
    }
)
stamps = st.binary(max_size=9) | st.binary(max_size=300).map(lambda tail: ANCHOR + tail)
records = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "head": points,
        "maybe": st.none() | points,
        "colour": st.sampled_from(["red", "green"]),
        "hash": st.binary(min_size=3, max_size=3),
        "history": st.none() | st.lists(points, max_size=40),
        "runs": st.lists(st.none() | st.floats(allow_nan=False) | st.integers(0, 9), max_size=40),
        "words": st.dictionaries(st.text(max_size=3), points, max_size=3),
        "first": st.none() | stamps,
        "second": st.none() | stamps,
        "third": stamps,
    }
)


def encoded(record: dict[str, Any]) -> bytes:
    """The record as fastavro writes it."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, SCHEMA.parsed, record)
    return buffer.getvalue()


def at_path(record: Any, path: str) -> object:
    """The value at a dotted path; None below null."""
    for word in path.split("."):
        record = None if record is None else record[word]
    return record


@settings(max_examples=200, deadline=None)
@given(records)
def test_a_walk_equals_a_full_decode(record: dict[str, Any]) -> None:
    """Wanted values are those that fastavro reads, with and without the shortcut."""
    body = encoded(record)
    full = fastavro.schemaless_reader(io.BytesIO(body), SCHEMA.parsed, None)
    expected = [at_path(full, path) for path in PATHS]
    assert expected == RecordWalk(SCHEMA, PATHS).read(body)
    assert expected == RecordWalk(SCHEMA, PATHS, ANCHORS).read(body)
    assert expected == RecordWalk(SCHEMA, PATHS, ANCHORS).read(ANCHOR + body, len(ANCHOR))


@settings(max_examples=200, deadline=None)
@given(records, st.data())
def test_damaged_bytes_are_read_or_rejected(record: dict[str, Any], data: st.DataObject) -> None:
    """No damage raises anything else, or hangs."""
    body = bytearray(encoded(record))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        values = RecordWalk(SCHEMA, PATHS, ANCHORS).read(bytes(body))
    except MessageRejected:
        return
    assert len(PATHS) == len(values)


CUTOUT = {
    "type": "record",
    "name": "cutout",
    "fields": [{"name": "file", "type": "string"}, {"name": "data", "type": "bytes"}],
}
IN_RECORDS = parse_definition(
    {
        "type": "record",
        "name": "t.cutouts",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "history", "type": {"type": "array", "items": "string"}},
            {"name": "first", "type": ["null", CUTOUT]},
            {"name": "second", "type": ["cutout", "null"]},
            {"name": "third", "type": "cutout"},
        ],
    }
)
# The length of a name of one letter is the byte of a null: where the first stamp is null, the
# second and such a name could be read as the first and a null.
names = st.text(min_size=2, max_size=90)
cutouts = st.fixed_dictionaries({"file": names, "data": stamps})


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "id": st.text(),
            "history": st.lists(st.text(), max_size=9),
            "first": st.none() | cutouts,
            "second": st.none() | cutouts,
            "third": cutouts,
        }
    )
)
def test_stamps_in_records_of_their_own_are_found(record: dict[str, Any]) -> None:
    """ZTF's stamps have their file's name before them; the values are fastavro's."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, IN_RECORDS.parsed, record)
    paths = ["id", "first.data", "second.data", "third.data"]
    expected = [at_path(record, path) for path in paths]
    assert expected == RecordWalk(IN_RECORDS, paths).read(buffer.getvalue())
    assert expected == RecordWalk(IN_RECORDS, paths, ANCHORS).read(buffer.getvalue())


def test_a_history_before_stamps_in_records_is_not_read() -> None:
    """So a packet takes the same time whatever its history; without stamps it is read whole."""
    stamp = b"\x02\x0af.fits" + b"\x80\x02" + ANCHOR + bytes(119)
    others = b"\x02" + b"\x06" + b"a.f" + b"\x02"  # the second is null
    body = b"\x02i" + b"\xff" * 30 + stamp.replace(b"\x0a", b"\x0c", 1) + others + b"z"
    paths = ["id", "first.data", "second.data", "third.data"]
    found = RecordWalk(IN_RECORDS, paths, ANCHORS).read(body)
    assert ["i", ANCHOR + bytes(119), None, b"z"] == found
    with pytest.raises(MessageRejected):
        RecordWalk(IN_RECORDS, paths).read(body)


def hostile() -> Iterator[tuple[WriterSchema, bytes]]:
    """Small bodies that announce very much."""
    most = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    for items in ("double", "string", ["null", "int"]):
        kind = {"type": "array", "items": items}
        definition = {"type": "record", "name": "h", "fields": [{"name": "x", "type": kind}]}
        schema = parse_definition(json.loads(json.dumps(definition)))
        for body in (most, b"\x01" + most, most + bytes(50), b"\x02", b"\x01\x01"):
            yield schema, body


@pytest.mark.parametrize(("schema", "body"), list(hostile()))
def test_hostile_counts_are_rejected(schema: WriterSchema, body: bytes) -> None:
    """Counts and sizes beyond the data end the walk at once."""
    with pytest.raises(MessageRejected):
        RecordWalk(schema, []).read(body)


@pytest.mark.parametrize(
    "body", [b"\x08" + bytes(5), b"\x02\x06" + bytes(5), b"\x01\x00" * 4], ids=repr
)
def test_items_are_counted_over_the_whole_record(body: bytes) -> None:
    """Nested arrays, and blocks of nothing, do not add up to a long walk."""
    inner = {"type": "array", "items": "string"}
    fields = [{"name": "x", "type": {"type": "array", "items": inner}}]
    schema = parse_definition({"type": "record", "name": "h", "fields": fields})
    with pytest.raises(MessageRejected, match="max_array_items"):
        RecordWalk(schema, [], limits=Limits(max_array_items=3)).read(body)


def test_blocks_that_announce_their_size_are_passed() -> None:
    """A negative count is followed by the block's bytes."""
    kind = {"type": "array", "items": "long"}
    fields = [{"name": "x", "type": kind}, {"name": "y", "type": "long"}]
    schema = parse_definition({"type": "record", "name": "h", "fields": fields})
    assert [7] == RecordWalk(schema, ["y"]).read(b"\x03\x04\x02\x02\x02\x02\x00\x0e")


def test_nested_unions_are_compiled_once() -> None:
    """Twenty levels of nullable arrays are twenty steps, not a million."""
    kind: object = "string"
    for _ in range(20):
        kind = ["null", {"type": "array", "items": kind}]
    fields = [{"name": "x", "type": kind}, {"name": "y", "type": "long"}]
    schema = parse_definition({"type": "record", "name": "h", "fields": fields})
    assert [7] == RecordWalk(schema, ["y"]).read(b"\x00\x0e")


def test_bytes_after_the_record_are_rejected() -> None:
    """A body is one record and nothing else."""
    schema = parse_definition(
        {"type": "record", "name": "h", "fields": [{"name": "x", "type": "long"}]}
    )
    with pytest.raises(MessageRejected, match="1 bytes after the record at byte 1"):
        RecordWalk(schema, ["x"]).read(b"\x02\x02")


@pytest.mark.parametrize(
    ("path", "types"),
    [
        ("id", {"long"}),
        ("first", {"null", "bytes"}),
        ("head.c", {"null", "string"}),
        ("maybe.a", {"null", "double"}),
        ("history", {"null", "array"}),
        ("colour", {"enum"}),
        ("head", {"record"}),
        ("nowhere", None),
        ("head.nowhere", None),
        ("id.x", None),
        ("history.a", None),
    ],
)
def test_the_types_at_a_path_are_told(path: str, types: set[str] | None) -> None:
    """Null on the way counts; arrays are not passed."""
    assert types == leaf_types(SCHEMA, path)
