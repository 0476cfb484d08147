"""Appending the annotation to encoded records."""

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import fastavro
import pytest
from factories import make_annotation
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfilter.alerts.encode import encode_annotation
from streamfilter.errors import ConfigurationInvalid, MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import PublishedSchema, annotation_schema, publish
from streamfilter.schemas.splice import Splicer, extend
from streamfilter.schemas.wire import Envelope, Form

BODY = encode_annotation(make_annotation(), annotated_unix_s=1.5)
ALERT = publish(
    {
        "type": "record",
        "name": "survey.alert",
        "fields": [{"name": "id", "type": "long"}, {"name": "stamp", "type": ["null", "bytes"]}],
    }
)
RECORD = {"id": 7, "stamp": b"pixels"}


@cache
def annotation() -> Any:
    """The record that ``BODY`` holds."""
    return fastavro.schemaless_reader(io.BytesIO(BODY), annotation_schema().schema.parsed, None)


def encoded(schema: PublishedSchema, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema.schema.parsed, record)
    return out.getvalue()


def envelope(schema: PublishedSchema, record: Any, form: Form) -> Envelope:
    return Envelope(form, schema.schema, encoded(schema, record), schema_id=1)


def container(schema: PublishedSchema, record: Any, codec: str = "null") -> bytes:
    out = io.BytesIO()
    metadata = {"note": "kept"}
    fastavro.writer(out, schema.schema.definition, [record], codec=codec, metadata=metadata)
    return out.getvalue()


def opened(value: bytes) -> Envelope:
    return SchemaFinder([], Limits()).open(value)


class Shelf(list[PublishedSchema]):
    """A store in memory."""

    def keep(self, schema: PublishedSchema) -> None:
        self.append(schema)


class Registry:
    """Gives every schema the id 77 and remembers it with its subject."""

    def __init__(self) -> None:
        self.given: list[tuple[str, PublishedSchema]] = []

    def register(self, subject_name: str, schema: PublishedSchema) -> int:
        self.given.append((subject_name, schema))
        return 77


def pair(avro: Any, values: st.SearchStrategy[Any]) -> tuple[Any, st.SearchStrategy[Any]]:
    return avro, values


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = st.sampled_from(
    [
        pair("boolean", st.booleans()),
        pair("int", st.integers(-(2**31), 2**31 - 1)),
        pair("long", st.integers(-(2**63), 2**63 - 1)),
        pair("float", st.floats(width=32, allow_nan=False)),
        pair("double", st.floats(allow_nan=False)),
        pair("bytes", st.binary(max_size=40)),
        pair("string", TEXT),
    ]
)


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Types made of other types; a null union is flattened, as Avro wants it."""
    arrays = inner.map(lambda t: pair({"type": "array", "items": t[0]}, st.lists(t[1], max_size=3)))
    maps = inner.map(
        lambda t: pair({"type": "map", "values": t[0]}, st.dictionaries(TEXT, t[1], max_size=3))
    )
    nullable = inner.filter(lambda t: not isinstance(t[0], list)).map(
        lambda t: pair(["null", t[0]], st.none() | t[1])
    )
    return arrays | maps | nullable


@st.composite
def alerts(draw: st.DrawFn) -> tuple[PublishedSchema, dict[str, Any]]:
    """A random record schema with a record inside, and a value of it."""
    types = draw(st.lists(st.recursive(LEAVES, wider, max_leaves=4), max_size=5))
    fields = [{"name": f"f{i}", "type": avro} for i, (avro, _) in enumerate(types)]
    inner = {"type": "record", "name": "Annotation", "fields": fields}
    definition = {
        "type": "record",
        "name": "alert",
        "namespace": "survey.v1",
        "fields": [*fields, {"name": "inner", "type": inner}],
    }
    record = {f"f{i}": draw(values) for i, (_, values) in enumerate(types)}
    again = {f"f{i}": draw(values) for i, (_, values) in enumerate(types)}
    return publish(definition), {**record, "inner": again}


@settings(max_examples=60, deadline=None)
@given(alerts())
def test_any_record_keeps_its_value_and_gains_the_annotation(
    alert: tuple[PublishedSchema, dict[str, Any]],
) -> None:
    """New readers see the field; readers that know only the old schema see the alert."""
    schema, record = alert
    shelf = Shelf()
    message = envelope(schema, record, Form.CONFLUENT)
    value = Splicer(store=shelf).splice(message, BODY, "enriched")
    (new,) = shelf
    body = io.BytesIO(value[10:])
    assert {**record, "streamfilter": annotation()} == (
        fastavro.schemaless_reader(body, new.schema.parsed, None)
    )
    body.seek(0)
    assert record == fastavro.schemaless_reader(body, new.schema.parsed, schema.schema.parsed)
    body.seek(0)
    assert record == fastavro.schemaless_reader(body, schema.schema.parsed, None)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy"])
def test_a_container_stays_a_container(codec: str) -> None:
    """Codec, metadata and sync marker stay; readers need nothing new."""
    value = container(ALERT, RECORD, codec)
    enriched = Splicer().splice(opened(value), BODY, "enriched")
    reader = fastavro.reader(io.BytesIO(enriched))
    assert [{**RECORD, "streamfilter": annotation()}] == list(reader)
    assert (codec, "kept") == (reader.metadata["avro.codec"], reader.metadata["note"])
    assert value[-16:] == enriched[-16:]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_the_records_bytes_in_a_container_are_the_original_ones(codec: str) -> None:
    """Nothing is encoded again, whatever the compression."""
    value = container(ALERT, RECORD, codec)
    enriched = Splicer().splice(opened(value), BODY, "enriched")
    assert opened(value).body + b"\x02" + BODY == opened(enriched).body


def test_a_container_reads_with_the_old_schema() -> None:
    """A reader that brings its own schema does not see the field."""
    enriched = Splicer().splice(opened(container(ALERT, RECORD)), BODY, "enriched")
    reader = fastavro.reader(io.BytesIO(enriched), reader_schema=ALERT.schema.definition)
    assert [RECORD] == list(reader)


def test_a_codec_that_is_not_known_is_rejected() -> None:
    """The message says which are."""
    value = container(ALERT, RECORD).replace(b"\x08null", b"\x08zstd")
    header = opened(container(ALERT, RECORD)).container
    assert header is not None
    odd = type(header)(header.metadata, "zstd", header.sync, header.end)
    message = Envelope(Form.OCF, ALERT.schema, value, container=odd)
    with pytest.raises(MessageRejected, match="deflate") as caught:
        Splicer().splice(message, BODY, "enriched")
    assert Reason.WIRE_FORM_UNKNOWN == caught.value.reason


def test_the_confluent_form_gets_the_id_of_the_extended_schema() -> None:
    """The extended schema stands in the registry under the enriched topic's subject."""
    registry = Registry()
    splicer = Splicer(registrar=registry)
    message = envelope(ALERT, RECORD, Form.CONFLUENT)
    values = {splicer.splice(message, BODY, "enriched") for _ in range(2)}
    assert {b"\x00\x00\x00\x00\x4d" + message.body + b"\x02" + BODY} == values
    ((subject, schema),) = registry.given
    assert ("enriched-value", "survey.alert") == (subject, schema.schema.name)


@pytest.mark.parametrize(
    ("form", "make"),
    [(Form.CONFLUENT, Splicer), (Form.SINGLE_OBJECT, lambda: Splicer(registrar=Registry()))],
)
def test_else_the_fingerprint_of_the_extended_schema_stands_before_the_record(
    form: Form, make: Callable[[], Splicer]
) -> None:
    """Single-object encoding: without a registry, and where the alert came in it."""
    message = envelope(ALERT, RECORD, form)
    value = make().splice(message, BODY, "enriched")
    fingerprint = extend(ALERT.schema).fingerprint
    assert b"\xc3\x01" + fingerprint.to_bytes(8, "little") == value[:10]
    assert message.body + b"\x02" + BODY == value[10:]


def test_an_extended_schema_is_kept_before_the_first_message_and_only_then() -> None:
    """Readers find it; the store is not asked for every alert."""
    shelf = Shelf()
    splicer = Splicer(store=shelf)
    for _ in range(3):
        splicer.splice(envelope(ALERT, RECORD, Form.CONFLUENT), BODY, "enriched")
    assert [extend(ALERT.schema).fingerprint] == [schema.fingerprint for schema in shelf]


def test_an_extended_schema_stands_by_itself() -> None:
    """Its text is JSON that can be parsed alone, with the same fingerprint."""
    extended = extend(ALERT.schema)
    assert extended.fingerprint == publish(json.loads(extended.text)).fingerprint
    field = extended.schema.definition["fields"][-1]
    assert ("streamfilter", None) == (field["name"], field["default"])
    assert ["id", "stamp"] == [f["name"] for f in ALERT.schema.definition["fields"]]


def test_an_alert_that_has_the_field_already_is_rejected() -> None:
    """The same name twice would make a schema that no reader takes."""
    once = extend(ALERT.schema)
    with pytest.raises(MessageRejected, match="read the topic before enrichment") as caught:
        extend(once.schema)
    assert Reason.ALREADY_ENRICHED == caught.value.reason


def test_two_streamfilters_follow_each_other_under_two_names() -> None:
    """The second one's types stand in a namespace of their own."""
    first = Splicer().splice(opened(container(ALERT, RECORD)), BODY, "enriched")
    second = Splicer(field="second").splice(opened(first), BODY, "enriched")
    (record,) = fastavro.reader(io.BytesIO(second))
    assert {**RECORD, "streamfilter": annotation(), "second": annotation()} == record


@pytest.mark.parametrize("field", ["", "stream-filter", "1st", "a.b"])
def test_a_field_name_that_avro_does_not_take_is_refused(field: str) -> None:
    """The start fails, not the first alert."""
    with pytest.raises(ConfigurationInvalid, match="field's name"):
        Splicer(field=field)
