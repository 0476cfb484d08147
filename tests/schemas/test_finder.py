"""Opening messages, with and without sources of schemas."""

import io
import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import pytest

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.wire import Form

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "namespace": "t",
    "fields": [{"name": "x", "type": "long"}],
}


@dataclass
class Shelf:
    """A source of schemas in memory that counts how often it is asked."""

    schemas: dict[int, dict[str, Any]]
    name: str = "shelf"
    down: bool = False
    asked: list[int] = field(default_factory=list)

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        self.asked.append(schema_id)
        if self.down:
            raise SchemaUnavailable("the shelf does not answer")
        return self.schemas.get(schema_id)

    by_fingerprint = by_id


def reason_of(value: bytes, finder: SchemaFinder) -> Reason:
    """Why a message cannot be opened."""
    with pytest.raises(MessageRejected) as caught:
        finder.open(value)
    return caught.value.reason


def container(schema: object) -> bytes:
    """A container whose header carries this schema and whose record is one byte."""
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(SCHEMA), [{"x": 1}])
    header = fastavro.reader(io.BytesIO(buffer.getvalue()))
    old = header.metadata["avro.schema"].encode()
    text = json.dumps(schema).encode()
    return buffer.getvalue().replace(length(len(old)) + old, length(len(text)) + text)


def length(number: int) -> bytes:
    """A length as Avro writes it."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema("long"), number)
    return buffer.getvalue()


def test_a_confluent_message_is_opened() -> None:
    """The id is looked up and the body is what follows it."""
    envelope = SchemaFinder([Shelf({7: SCHEMA})], Limits()).open(b"\x00\x00\x00\x00\x07\x02")
    assert (Form.CONFLUENT, 7, "t.alert", b"\x02") == (
        envelope.form,
        envelope.schema_id,
        envelope.schema.name,
        envelope.body,
    )


def test_a_single_object_is_opened() -> None:
    """The fingerprint is little-endian."""
    finder = SchemaFinder([Shelf({0x0102030405060708: SCHEMA})], Limits())
    envelope = finder.open(b"\xc3\x01\x08\x07\x06\x05\x04\x03\x02\x01\x02")
    assert (Form.SINGLE_OBJECT, "t.alert", b"\x02") == (
        envelope.form,
        envelope.schema.name,
        envelope.body,
    )


def test_a_schema_is_asked_for_once() -> None:
    """Known ids need no source any more, and give the same object."""
    shelf = Shelf({7: SCHEMA})
    finder = SchemaFinder([shelf], Limits())
    schemas = {id(finder.open(b"\x00\x00\x00\x00\x07\x02").schema) for _ in range(3)}
    assert (1, [7]) == (len(schemas), shelf.asked)


def test_sources_are_asked_in_order_until_one_knows() -> None:
    """The second source is asked where the first does not know."""
    first, second = Shelf({}), Shelf({7: SCHEMA})
    SchemaFinder([first, second], Limits()).open(b"\x00\x00\x00\x00\x07\x02")
    assert ([7], [7]) == (first.asked, second.asked)


def test_an_id_that_nobody_knows_is_rejected() -> None:
    """Unknown is a property of the message."""
    finder = SchemaFinder([Shelf({})], Limits())
    assert Reason.SCHEMA_UNKNOWN == reason_of(b"\x00\x00\x00\x00\x07\x02", finder)


def test_a_source_in_trouble_is_not_an_unknown_schema() -> None:
    """While a source does not answer, nobody may say that the schema is unknown."""
    finder = SchemaFinder([Shelf({}, down=True), Shelf({})], Limits())
    with pytest.raises(SchemaUnavailable):
        finder.open(b"\x00\x00\x00\x00\x07\x02")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"\x00\x00", Reason.AVRO_MALFORMED),
        (b"\xc3\x01\x00", Reason.AVRO_MALFORMED),
        (b"\x00" * 101, Reason.MESSAGE_TOO_LARGE),
        (b"hello", Reason.WIRE_FORM_UNKNOWN),
    ],
)
def test_hopeless_values_are_rejected(value: bytes, reason: Reason) -> None:
    """Each kind of hopeless bytes has its reason."""
    assert reason == reason_of(value, SchemaFinder([], Limits(max_message_bytes=100)))


def test_a_container_schema_is_parsed_once(samples: Path) -> None:
    """Packets that repeat a schema share one parsed schema; their sync markers are their own."""
    finder = SchemaFinder([], Limits())
    packets = [p.read_bytes() for p in sorted((samples / "ztf").glob("24754338500*.avro"))]
    assert 1 == len({id(finder.open(packet).schema) for packet in packets})


def test_bodies_of_real_containers_decode_as_fastavro_decodes_the_file(samples: Path) -> None:
    """The body and the schema together are the record."""
    finder = SchemaFinder([], Limits())
    paths = sorted(samples.glob("*/*.avro"))[5::4]
    assert paths
    for path in paths:
        envelope = finder.open(path.read_bytes())
        record = fastavro.schemaless_reader(io.BytesIO(envelope.body), envelope.schema.parsed, None)
        assert repr(next(fastavro.reader(io.BytesIO(path.read_bytes())))) == repr(record)


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "array", "items": "null"},
        {"type": "array", "items": {"type": "record", "name": "e", "fields": []}},
        {"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}},
        ["null", "t.alert"],
        {"type": "nonsense"},
        "t.unheard_of",
        {"type": "fixed", "name": "f", "size": -1},
        {"type": "fixed", "name": "f", "size": 2**40},
        [],
    ],
    ids=repr,
)
def test_a_schema_that_could_hang_a_reader_is_rejected(kind: object) -> None:
    """Items without bytes, recursion and nonsense are refused before anything is decoded."""
    schema = {**SCHEMA, "fields": [{"name": "x", "type": kind}]}
    assert Reason.SCHEMA_MALFORMED == reason_of(container(schema), SchemaFinder([], Limits()))


def history(items: object) -> dict[str, object]:
    """A schema with a nullable history of items, as Spark (and so Fink) writes ZTF's."""
    array = {"type": "array", "items": items}
    return {**SCHEMA, "fields": [{"name": "prv_candidates", "type": [array, "null"]}]}


def spark_item(fields: int) -> dict[str, object]:
    """A record of nullable fields."""
    named = [{"name": f"f{number}", "type": ["double", "null"]} for number in range(fields)]
    return {"type": "record", "name": "prv_candidate", "fields": named}


@pytest.mark.parametrize("fields", [20, 21, 60, 500])
def test_items_that_can_be_null_may_have_many_fields(fields: int) -> None:
    """Spark makes items nullable; a null is one byte, and then no field is visited."""
    value = container(history([spark_item(fields), "null"]))
    assert Form.OCF == SchemaFinder([], Limits()).open(value).form


def sparse(nulls: int) -> dict[str, object]:
    """A record of one byte and many fields that take none."""
    names = [f"f{number}" for number in range(nulls)]
    fields = [{"name": "x", "type": "int"}, *({"name": n, "type": "null"} for n in names)]
    return {"type": "record", "name": "sparse", "fields": fields}


@pytest.mark.parametrize(
    "items", [sparse(70), ["null", sparse(140)], [sparse(140), "null"]], ids=["plain", "2nd", "1st"]
)
def test_items_of_many_types_for_each_byte_are_refused(items: object) -> None:
    """The branch with the highest cost counts; the message has the path and the limit."""
    value = container(history(items))
    with pytest.raises(MessageRejected, match=r"prv_candidates: .*over 64 types for each byte"):
        SchemaFinder([], Limits()).open(value)


def test_a_schema_that_doubles_at_each_level_is_rejected() -> None:
    """Fifty nested pairs would be 2**50 fields of nothing."""
    kind: object = "null"
    for level in range(50):
        fields = [{"name": "a", "type": kind}, {"name": "b", "type": f"r{level - 1}"}]
        kind = {"type": "record", "name": f"r{level}", "fields": fields[: 2 if level else 1]}
    schema = {**SCHEMA, "fields": [{"name": "x", "type": kind}]}
    assert Reason.SCHEMA_MALFORMED == reason_of(container(schema), SchemaFinder([], Limits()))


@pytest.mark.parametrize(("depth", "refused"), [(50, False), (70, True)])
def test_types_nest_only_so_deep(depth: int, refused: bool) -> None:
    """Surveys have four levels; a walk goes down one step for each."""
    kind: object = "long"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    value = container({**SCHEMA, "fields": [{"name": "x", "type": kind}]})
    expected = pytest.raises(MessageRejected, match="nested deeper") if refused else nullcontext()
    with expected:
        SchemaFinder([], Limits()).open(value)


def test_a_long_schema_is_rejected() -> None:
    """The limit on schema bytes holds for containers."""
    finder = SchemaFinder([], Limits(max_schema_bytes=50))
    assert Reason.SCHEMA_MALFORMED == reason_of(container(SCHEMA), finder)


@pytest.mark.parametrize(
    "schema",
    [
        b'{"type": "record", "name": "r"}',
        b'{"name": "o", "type": {"type": "record", "name": "r", "fields": []}}',
        b'{"type": "record", "name": "r", "fields": [{"name": "x", "type": ["int", ["null"]]}]}',
        b'{"type": "record", "name": "r", "fields": [], "junk": [' + b"[]," * 90_000 + b"0]}",
    ],
    ids=["no fields", "a type in a type", "a union in a union", "very many values"],
)
def test_a_schema_that_is_no_plain_record_is_rejected(schema: bytes) -> None:
    """What nobody sends is not kept, however its reader takes it."""
    value = b"Obj\x01\x02" + length(11) + b"avro.schema" + length(len(schema)) + schema
    assert Reason.SCHEMA_MALFORMED == reason_of(value + bytes(17), SchemaFinder([], Limits()))


def test_json_that_nests_without_end_is_rejected() -> None:
    """Neither the JSON reader nor ours may run out of stack."""
    schema = b'{"type": "array", "items":' * 5000 + b'"long"' + b"}" * 5000
    value = b"Obj\x01\x02" + length(11) + b"avro.schema" + length(len(schema)) + schema
    assert Reason.SCHEMA_MALFORMED == reason_of(value + bytes(17), SchemaFinder([], Limits()))
