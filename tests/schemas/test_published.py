"""The schemas of what is published."""

import dataclasses
import io
import json
import socket
from collections.abc import Iterator
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import fastavro
import pytest
from exposure_factories import make_evidence, make_received

from streamfilter.alerts.encode import Agreement
from streamfilter.contaminants import TABLE
from streamfilter.errors import SchemaUnavailable
from streamfilter.exposures.encode import TrackingEncoder
from streamfilter.exposures.records import (
    Closing,
    Decision,
    FrameReason,
    Irregularity,
    Judgement,
    Shapes,
    TileEvidence,
    Voice,
)
from streamfilter.records import Action, EngineIdentity, Label, NotEvaluated
from streamfilter.schemas.published import (
    ConfluentRegistrar,
    PublishedSource,
    annotation_schema,
    confluent_header,
    publish,
    published_schemas,
    single_object_header,
    subject,
    tracking_schema,
)
from streamfilter.schemas.registry_client import CLIENT_DEFAULTS

NAMES = {row.code.lower(): row.meaning for row in TABLE}


def records(schema: Any) -> Iterator[dict[str, Any]]:
    """Every named type that is defined in a schema."""
    for part in schema if isinstance(schema, list) else [schema]:
        if isinstance(part, dict):
            yield from (part,) if "name" in part else ()
            yield from records(part.get("items", []))
            for field in part.get("fields", ()):
                yield from records(field["type"])


TYPES = {part["name"]: part for part in records(annotation_schema().schema.definition)}
EVERY = [
    part for each in published_schemas() for part in records(each.schema.definition)
]  # of all schemas: the same name may stand in several
EXPOSURE_TYPES = {part["name"]: part for part in records(tracking_schema().schema.definition)}


def of_classes(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of the classes, in their order."""
    return [field for field in record["fields"] if field["name"] in NAMES]


@pytest.mark.parametrize("record", ["StampEvidence", "Priors"])
def test_classes_of_the_schema_are_those_of_the_table(record: str) -> None:
    """There is one named field per class, in the table's order, documented with its meaning."""
    fields = of_classes(TYPES[record])
    docs = {field["name"]: field["doc"].rstrip(".").lower() for field in fields}
    assert list(NAMES) == [field["name"] for field in fields]
    assert {name: meaning.lower() for name, meaning in NAMES.items()} == docs


def test_classes_of_the_tracking_schema_are_those_of_the_table() -> None:
    """There is one named column per class, in the table's order; a frame has no residuals."""
    fields = of_classes(EXPOSURE_TYPES["Contaminants"])
    docs = {field["name"]: field["doc"] for field in fields}
    expected = {name: f"Share of the pixels: {NAMES[name]}." for name in NAMES if name != "res"}
    assert expected == docs
    assert list(expected) == list(docs)


def test_a_record_of_before_contaminants_is_read_with_the_schema_of_today() -> None:
    """The promise of a major version: what is new has a default."""
    today = tracking_schema().schema.definition
    before = {**today, "fields": [f for f in today["fields"] if f["name"] != "contaminants"]}
    evidence, out = make_evidence(), io.BytesIO()
    value, _ = TrackingEncoder(EngineIdentity("n", "5e" * 32, "r")).detector(
        make_received(), evidence, 1.0, "t"
    )
    record = fastavro.schemaless_reader(io.BytesIO(value[10:]), today, None)
    fastavro.schemaless_writer(out, before, record)
    out.seek(0)
    assert record == fastavro.schemaless_reader(out, before, today)


@pytest.mark.parametrize("enum", [Label, Action, NotEvaluated, Agreement])
def test_symbols_of_the_schema_are_those_of_the_records(enum: type[StrEnum]) -> None:
    """Enums are written by position, so the order is held too."""
    assert [str(symbol) for symbol in enum] == TYPES[enum.__name__]["symbols"]


@pytest.mark.parametrize("enum", [Decision, Voice, FrameReason, Closing, Irregularity])
def test_symbols_of_the_tracking_schema_are_those_of_the_records(enum: type[StrEnum]) -> None:
    """A value that the schema does not know could not be written."""
    assert [str(symbol) for symbol in enum] == EXPOSURE_TYPES[enum.__name__]["symbols"]


@pytest.mark.parametrize(
    ("record", "name"), [(Judgement, "Judgement"), (Shapes, "Shapes"), (TileEvidence, "Tile")]
)
def test_fields_of_the_tracking_schema_are_those_of_the_records(record: Any, name: str) -> None:
    """All results are published, under the same names."""
    fields = [field["name"] for field in EXPOSURE_TYPES[name]["fields"]]
    assert [field.name for field in dataclasses.fields(record)] == fields


def test_every_type_and_field_is_documented() -> None:
    """Columns explain themselves."""
    undocumented = [
        f"{part['name']}.{field['name']}"
        for part in EVERY
        for field in part.get("fields", ())
        if not field.get("doc")
    ]
    assert ([], []) == (undocumented, [part["name"] for part in EVERY if not part.get("doc")])


def test_every_nullable_field_defaults_to_null() -> None:
    """A reader of a later minor version can fill what an earlier one did not write."""
    fields = [field for part in EVERY for field in part.get("fields", ())]
    nullable = [field for field in fields if isinstance(field["type"], list)]
    assert {("null", None)} == {(field["type"][0], field.get("default", 0)) for field in nullable}


def test_fingerprint_is_crc_64_avro() -> None:
    """A known schema has the fingerprint of the specification."""
    schema = publish({"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]})
    canonical = b'{"name":"R","type":"record","fields":[{"name":"x","type":"int"}]}'
    assert _crc_64_avro(canonical) == schema.fingerprint


def _crc_64_avro(data: bytes) -> int:
    """The algorithm as the Avro specification prints it."""
    empty = 0xC15D213AA4D7A795
    crc = empty
    for byte in data:
        low = (crc ^ byte) & 0xFF
        for _ in range(8):
            low = (low >> 1) ^ (empty if low & 1 else 0)
        crc = (crc >> 8) ^ low
    return crc


def test_wire_headers_are_those_of_the_specifications() -> None:
    """Single-object: C3 01 and eight bytes, lowest first; Confluent: 00 and four, highest first."""
    schema = annotation_schema()
    lowest_first = f"{schema.fingerprint:016x}"
    assert bytes.fromhex(lowest_first)[::-1] == single_object_header(schema)[2:]
    assert b"\xc3\x01" == single_object_header(schema)[:2]
    assert b"\x00\x00\x00\x03\xe8" == confluent_header(1000)


def test_built_in_schemas_are_found_by_fingerprint() -> None:
    """Annotations are read without any folder or registry."""
    schema = annotation_schema()
    assert schema.schema.definition == PublishedSource().by_fingerprint(schema.fingerprint)
    assert PublishedSource().by_fingerprint(schema.fingerprint ^ 1) is None
    assert schema in published_schemas()


class _Registry(BaseHTTPRequestHandler):
    """As much of Confluent's API as a registration needs."""

    seen: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, posted["schema"]))
        body = json.dumps({"id": 42}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    """Address of a registry on loopback."""
    _Registry.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_schema_is_registered_once_under_the_topics_subject(registry: str) -> None:
    """The client remembers; the registry is asked once."""
    registrar = ConfluentRegistrar({"url": registry})
    ids = [registrar.register(subject("annotations"), annotation_schema()) for _ in range(2)]
    assert [42, 42] == ids
    ((path, text),) = _Registry.seen
    assert "/subjects/annotations-value/versions" == path.split("?")[0]
    assert annotation_schema().schema.definition == json.loads(text)


def test_a_registry_that_does_not_answer_is_named() -> None:
    """The failure says where it was tried; nothing listens on port 9 of loopback."""
    settings = {"url": "http://127.0.0.1:9", "max.retries": 0}
    with pytest.raises(SchemaUnavailable, match=r"127\.0\.0\.1:9"):
        ConfluentRegistrar(settings).register("annotations-value", annotation_schema())


def test_a_registry_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that waited without end would hold its alerts, and the end of the worker."""
    assert 10 == CLIENT_DEFAULTS["timeout"]
    quick = {"timeout": 0.2, "max.retries": 0}
    monkeypatch.setattr("streamfilter.schemas.registry_client.CLIENT_DEFAULTS", quick)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SchemaUnavailable, match="annotations-value"):
            ConfluentRegistrar({"url": url}).register("annotations-value", annotation_schema())
