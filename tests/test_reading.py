"""What consumers of our topics call."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from factories import make_annotation
from foreign_words import foreign_words
from loopback_registry import serving

import streamfilter
from streamfilter.alerts.encode import Encoder
from streamfilter.errors import ConfigurationInvalid, MessageRejected, Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.reading import read
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import PublishedSchema, annotation_schema, publish
from streamfilter.schemas.store import SchemaFolder

FINDER = SchemaFinder([], Limits())


class Registry:
    """Both ends of a schema registry, in memory."""

    name = "a registry in memory"

    def __init__(self) -> None:
        self.schemas: list[PublishedSchema] = []

    def register(self, subject_name: str, schema: PublishedSchema) -> int:
        self.schemas.append(schema)
        return len(self.schemas) - 1

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        return self.schemas[schema_id].schema.definition

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        return None


def test_an_annotation_is_read_without_any_schema() -> None:
    """Its schema travels with the package."""
    record = read(Encoder(FINDER).annotation(make_annotation(), "annotations"))
    assert ("170587117053804617", "CR") == (record["alert_id"], record["verdict"]["contaminant"])
    assert 0.25 == record["science"]["cr"]["peak"]


def test_the_confluent_form_is_read_with_a_finder() -> None:
    """The registry that gave the id knows the schema."""
    registry = Registry()
    value = Encoder(FINDER, registrar=registry).annotation(make_annotation(), "annotations")
    record = read(value, finder=SchemaFinder([registry], Limits()))
    assert "contaminated" == record["verdict"]["label"]


def test_without_a_registry_the_confluent_form_is_answered_with_how_to_name_one() -> None:
    """A folder of exported schemas would not help: they are known by fingerprints."""
    with pytest.raises(MessageRejected, match="schema id 1000 is not known") as caught:
        read(b"\x00\x00\x00\x03\xe8body")
    assert Reason.SCHEMA_UNKNOWN == caught.value.reason
    assert 'registry="https://' in caught.value.detail
    assert "STREAMFILTER_SCHEMAS__PUBLISH__URL" in caught.value.detail
    assert "schemas export" not in caught.value.detail


def test_an_unknown_fingerprint_is_answered_with_how_to_have_its_schema() -> None:
    """A registry would not help: it knows ids."""
    with pytest.raises(MessageRejected, match="streamfilter schemas export") as caught:
        read(b"\xc3\x01" + bytes(8) + b"body", registry="http://127.0.0.1:9")
    assert "fingerprint 0000000000000000" in caught.value.detail
    assert "registry=" not in caught.value.detail


def test_a_finder_s_own_words_are_left_as_they_are() -> None:
    """Who brings a finder knows better where schemas are."""
    with pytest.raises(MessageRejected) as caught:
        read(b"\x00\x00\x00\x03\xe8body", finder=FINDER)
    assert "schema id 1000 is not known (no source is configured)" == caught.value.detail


def test_settings_of_the_registry_s_client_may_be_given() -> None:
    """Such as a password; what it refuses is named as what was given."""
    definition = annotation_schema().schema.definition
    value = b"\x00\x00\x00\x00\x07" + Encoder(FINDER).annotation(make_annotation(), "")[10:]
    with serving({7: definition}) as registry:
        settings = {"url": registry.settings()["schemas__registry__url"], "timeout": 5}
        assert "lsst" == read(value, registry=settings)["survey"]
        with pytest.raises(ConfigurationInvalid, match=r"^registry: .*no\.such\.key"):
            read(value, registry={**settings, "no.such.key": 1})


def test_a_registry_is_asked_once_for_a_schema() -> None:
    """A consumer reads thousands of messages of one."""
    definition = annotation_schema().schema.definition
    value = b"\x00\x00\x00\x00\x07" + Encoder(FINDER).annotation(make_annotation(), "")[10:]
    with serving({7: definition}) as registry:
        for _ in range(3):
            read(value, registry=registry.settings()["schemas__registry__url"])
    assert ["/schemas/ids/7"] == registry.asked


def test_a_registry_that_does_not_answer_is_named() -> None:
    """A retry may help, so it is no rejection."""
    with pytest.raises(SchemaUnavailable, match=r"http://127\.0\.0\.1:9"):
        read(b"\x00\x00\x00\x03\xe8body", registry={"url": "http://127.0.0.1:9", "max.retries": 0})


@pytest.mark.parametrize("value", [b"", b"text", b"\xc3\x01", b"Obj\x01", b"\x00\x00"])
def test_a_damaged_message_is_rejected(value: bytes) -> None:
    """Never another exception."""
    with pytest.raises(MessageRejected):
        read(value)


@pytest.mark.parametrize("change", [lambda value: value[:-1], lambda value: value + b"\x00"])
def test_a_record_of_wrong_length_is_rejected(change: Any) -> None:
    """Too short or too long: its numbers would not be believed."""
    value = Encoder(FINDER).annotation(make_annotation(), "annotations")
    with pytest.raises(MessageRejected) as caught:
        read(change(value))
    assert Reason.AVRO_MALFORMED == caught.value.reason


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    """The message names the file, which is not the message's fault."""
    fingerprint = 0x0123456789ABCDEF
    (tmp_path / f"survey.alert-{fingerprint:016x}.avsc").write_text("{")
    with pytest.raises(SchemaUnavailable, match="export it again"):
        read(b"\xc3\x01" + fingerprint.to_bytes(8, "little") + b"body", schemas=tmp_path)


def test_a_schema_that_arrives_later_is_found(tmp_path: Path) -> None:
    """A survey's new schema version needs no restart of its readers."""
    schema = annotation_schema().schema.definition | {"name": "Other"}
    other = publish(schema)
    value = Encoder(FINDER).annotation(make_annotation(), "annotations")
    value = b"\xc3\x01" + other.fingerprint.to_bytes(8, "little") + value[10:]
    with pytest.raises(MessageRejected, match="not known"):
        read(value, schemas=tmp_path)
    SchemaFolder(tmp_path).keep(other)
    assert "lsst" == read(value, schemas=tmp_path)["survey"]


@pytest.mark.process
def test_read_stands_at_the_root_and_importing_the_root_is_light() -> None:
    """``import streamfilter`` loads nothing; ``streamfilter.read`` loads what it needs."""
    assert read is streamfilter.read
    code = (
        "import streamfilter, sys; heavy = {'numpy', 'fastavro', 'confluent_kafka'};"
        "assert not heavy & set(sys.modules); streamfilter.read;"
        "assert {'fastavro'} == heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_root_exports_nothing_else() -> None:
    """A misspelt name fails as on any module."""
    with pytest.raises(AttributeError, match="'reed'"):
        _ = streamfilter.reed
    assert {"__version__", "read"} <= set(streamfilter.__all__)


def test_a_record_that_is_damaged_is_said_with_its_field() -> None:
    """And with its place; the library's own words would name neither."""
    value = Encoder(FINDER).annotation(make_annotation(), "annotations")
    with pytest.raises(MessageRejected) as caught:
        read(value[:60])
    assert "streamfilter.v1.Annotation: the field " in caught.value.detail
    assert "does not hold what the schema says" in caught.value.detail
    for end in range(10, len(value), 7):
        with pytest.raises(MessageRejected) as caught:
            read(value[:end])
        assert [] == foreign_words(caught.value.detail)
