"""Values whose schema's id, or GUID, stands in a Kafka header."""

import io
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest
from factories import make_alert, make_annotation
from loopback_registry import serving

import streamfilter
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Drift
from streamfilter.alerts.encode import Encoder, written_anew
from streamfilter.alerts.surveys import Surveys
from streamfilter.doctor.messages import sample_of
from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.records import Announced, ExposureMessage
from streamfilter.headers import rejected_message
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Origin, Rejected
from streamfilter.rejections import rejection_of, replay_of
from streamfilter.schemas.finder import SchemaFinder, schema_key
from streamfilter.schemas.published import exposure_schema
from streamfilter.schemas.sources import RegistrySource
from streamfilter.schemas.wire import Form, schema_id_of, schema_in
from streamfilter.service.rejecting import rejections

NAME = "__value_schema_id"
GUID = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
BY_ID = ((NAME, b"\x00\x00\x00\x00\x07"),)
BY_GUID = ((NAME, b"\x01" + GUID.bytes),)
ALERT: dict[str, Any] = {
    "type": "record", "name": "alert", "namespace": "ztf", "fields": [
        {"name": "candid", "type": "long"}, {"name": "objectId", "type": "string"},
        {"name": "cutoutScience", "type": ["null", {
            "type": "record", "name": "Cutout", "fields": [
                {"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}]}]},
    ]}  # fmt: skip
UNUSABLE = [
    (b"", "has 0 bytes, none"),
    (b"\x00\x00\x07", "has 3 bytes, 00 00 07"),
    (b"\x00\x00\x00\x00\x00\x07", "has 6 bytes"),
    (b"\x01" + bytes(15), "has 16 bytes"),
    (b"\x02" + bytes(4), "has 5 bytes, 02 00 00 00 00"),
    (b"7", "has 1 bytes, 37"),
    (bytes(10_000), "has 10000 bytes, 00 00"),
]


def body(candid: int = 0) -> bytes:
    """The record alone; that of candid 0 begins with 00, as the Confluent form does."""
    out = io.BytesIO()
    record = {"candid": candid, "objectId": "ZTF1", "cutoutScience": None}
    fastavro.schemaless_writer(out, fastavro.parse_schema(ALERT), record)
    return out.getvalue()


def message(headers: Any, value: bytes | None = None, topic: str = "alerts") -> Message:
    return Message(Origin(topic, 0, 1), body() if value is None else value, headers=headers)


class Shelf:
    """A registry in memory, with one schema."""

    name = "shelf"

    def __init__(self, definition: dict[str, Any] = ALERT) -> None:
        self.definition = definition
        self.asked: list[int | UUID] = []

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        self.asked.append(schema_id)
        return self.definition if schema_id == 7 else None

    def by_guid(self, guid: UUID) -> dict[str, Any] | None:
        self.asked.append(guid)
        return self.definition if guid == GUID else None

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        return None


@pytest.fixture
def finder() -> SchemaFinder:
    return SchemaFinder([Shelf()], Limits())


@pytest.fixture
def decoder(finder: SchemaFinder) -> Decoder:
    return Decoder(finder, Surveys.load(), Limits())


@pytest.mark.parametrize("headers", [BY_ID, BY_GUID], ids=["id", "guid"])
def test_an_alert_is_decoded_by_the_schema_that_the_header_names(
    decoder: Decoder, headers: Any
) -> None:
    """Its value begins with 00, and is not taken for the Confluent form."""
    value = body()
    assert value.startswith(b"\x00")
    found = decoder.decode(message((("other", b"x"), *headers)))
    assert isinstance(found, Alert), found
    assert "0" == found.alert_id


@pytest.mark.parametrize(("data", "words"), UNUSABLE)
def test_a_header_that_cannot_be_used_is_named(decoder: Decoder, data: bytes, words: str) -> None:
    """With what it holds, and what it should hold."""
    rejected = decoder.decode(message(((NAME, data),)))
    assert isinstance(rejected, Rejected)
    assert (Reason.WIRE_FORM_UNKNOWN, None) == (rejected.reason, rejected.schema_id)
    assert f"the header {NAME} {words}" in rejected.detail
    assert "expected 00 and a schema id of 4 bytes, or 01 and a GUID of 16" in rejected.detail
    assert len(rejected.detail) < 300


def test_a_header_that_is_null_is_none() -> None:
    """Kafka's headers may have no value."""
    assert None is schema_in(((NAME, None), ("x", b"\x00")))
    assert 7 == schema_in(((NAME, None), *BY_ID, *BY_ID))


def test_two_headers_that_differ_are_refused(decoder: Decoder) -> None:
    """Clients do not agree on which of them counts."""
    rejected = decoder.decode(message((*BY_ID, *BY_GUID)))
    assert isinstance(rejected, Rejected)
    assert f"2 headers {NAME} that differ; expected one" == rejected.detail


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\x00\x00\x00\x00\x08", "schema id 8"), (b"\x01" + bytes(16), f"schema GUID {UUID(int=0)}")],
)
def test_a_schema_that_no_source_knows_is_named_with_the_header(
    finder: SchemaFinder, decoder: Decoder, data: bytes, words: str
) -> None:
    """Also where it is asked for before its first message is decoded."""
    headers = ((NAME, data),)
    rejected = decoder.decode(message(headers))
    assert isinstance(rejected, Rejected)
    assert Reason.SCHEMA_UNKNOWN == rejected.reason
    assert f"{words} of the header {NAME} is not known (shelf)" == rejected.detail
    key = schema_key(b"x", headers)
    assert key is not None
    with pytest.raises(MessageRejected, match=words):
        finder.find(key)


def test_a_place_without_guids_is_passed_over() -> None:
    """Folders and packages know ids and fingerprints."""

    class Folder:
        name = "folder"

        def by_id(self, schema_id: int) -> dict[str, Any] | None:
            return ALERT

        by_fingerprint = by_id

    finder = SchemaFinder([Folder(), Shelf()], Limits())
    assert "ztf.alert" == finder.open(b"x", BY_GUID).schema.name
    with pytest.raises(MessageRejected, match="GUID"):
        SchemaFinder([Folder()], Limits()).open(b"x", BY_GUID)


def test_an_id_and_a_guid_of_one_number_are_two_schemas(finder: SchemaFinder) -> None:
    """The registry gives both as it likes."""
    assert "ztf.alert" == finder.open(b"x", BY_ID).schema.name
    with pytest.raises(MessageRejected, match="GUID"):
        finder.open(b"x", ((NAME, b"\x01" + UUID(int=7).bytes),))


@pytest.mark.parametrize(
    ("headers", "expected"), [(BY_ID, 7), (BY_GUID, None), (((NAME, b"?"),), None), ((), 1000)]
)
def test_the_schema_id_of_a_message_is_the_one_it_is_read_by(
    headers: Any, expected: int | None
) -> None:
    """In a rejection's headers, and in what doctor asks a registry for."""
    value = b"\x00\x00\x00\x03\xe8body"
    assert expected == schema_id_of(value, headers)
    (rejected,) = rejections(MessageRejected(Reason.EMPTY, ""), message(headers, value))
    assert expected == rejected.schema_id


def test_doctor_asks_the_registry_for_what_the_header_names() -> None:
    """By GUID too; what cannot be used is a finding of the message."""
    named = [sample_of(message(each), "").schema_id for each in (BY_ID, BY_GUID, ((NAME, b"?"),))]
    assert [7, GUID, None] == named


def test_a_registry_is_asked_by_guid_and_keeps_what_it_gave(tmp_path: Path) -> None:
    """A GUID says one schema for ever."""
    with serving({7: ALERT}) as registry:
        registry.guids[str(GUID)] = 7
        source = RegistrySource(
            {"url": registry.settings()["schemas__registry__url"]}, tmp_path, Limits()
        )
        assert ALERT == source.by_guid(GUID)
        assert None is source.by_guid(UUID(int=9))
        assert None is source.by_guid(UUID(int=9))
    assert [f"/schemas/guids/{each}" for each in (GUID, UUID(int=9))] == registry.asked
    assert ALERT == source.by_guid(GUID)


@pytest.mark.parametrize("headers", [BY_ID, BY_GUID], ids=["id", "guid"])
def test_an_exposure_is_decoded_by_the_schema_that_the_header_names(headers: Any) -> None:
    """Its stream has the same three ways, and this one."""
    announced = Announced(exposure_id="e1", instrument="camera")
    value = encode_exposure(announced, b"SIMPLE  =")[10:]
    decoder = ExposureDecoder(SchemaFinder([Shelf(exposure_schema().schema.definition)], Limits()))
    found = decoder.decode(message(headers, value))
    assert isinstance(found, ExposureMessage), found
    assert "e1" == found.announced.exposure_id
    refused = decoder.decode(message(((NAME, b"?"),), value))
    assert isinstance(refused, Rejected)
    assert NAME in refused.detail


def test_a_schema_that_moves_into_the_header_is_a_new_wire_form(decoder: Decoder) -> None:
    """Once for the topic, and nothing of the fields changed."""
    decoder.decode(message((), b"\x00\x00\x00\x00\x07" + body(5)))
    assert [] == decoder.take_reports()[1:]
    decoder.decode(message(BY_ID, body(6)))
    decoder.decode(message(BY_ID, body(7)))
    (drift,) = (each for each in decoder.take_reports() if isinstance(each, Drift))
    assert ("wire_form",) == drift.changes
    assert "(id 7, header)" in drift.now


def test_what_is_replayed_keeps_the_header() -> None:
    """Without it nobody could read the message again."""
    rejected = Rejected(message(BY_GUID), Reason.SCHEMA_UNKNOWN, "not known")
    value, headers = rejected_message(rejected)
    assert BY_GUID[0] in headers
    found = rejection_of(Message(Origin("rejected", 0, 0), value, headers=headers))
    assert found is not None
    assert BY_GUID[0] in replay_of(found, "alerts").headers


@pytest.mark.parametrize("headers", [BY_ID, list(BY_GUID), dict(BY_ID)], ids=["id", "guid", "dict"])
def test_read_takes_the_headers_of_a_message(headers: Any) -> None:
    """As clients give them, for what a survey sent."""
    with serving({7: ALERT}) as registry:
        registry.guids[str(GUID)] = 7
        url = registry.settings()["schemas__registry__url"]
        record = streamfilter.read(body(), headers=headers, registry=url)
    assert 0 == record["candid"]


def test_read_without_a_registry_says_that_one_has_the_schema() -> None:
    """A folder of exported schemas would not help."""
    with pytest.raises(MessageRejected) as caught:
        streamfilter.read(body(), headers=list(BY_GUID))
    assert f"schema GUID {GUID} of the header {NAME} is not known" in caught.value.detail
    assert 'registry="https://' in caught.value.detail
    assert None is not streamfilter.read(Encoder(SchemaFinder([], Limits())).annotation(
        make_annotation(), "annotations"), headers=None)  # fmt: skip


def test_what_is_written_anew_does_not_name_the_survey_s_schema(finder: SchemaFinder) -> None:
    """Readers that look at the header first would decode an annotation as an alert."""
    alert = make_alert(message=message((("kept", b"x"), *BY_ID)))
    encoder = Encoder(finder)
    headers = encoder.headers(make_annotation(alert=alert))
    assert BY_ID[0] in headers
    names = [name for name, _ in written_anew(headers)]
    assert "kept" == names[0]
    assert NAME not in names


def test_an_enriched_alert_is_in_the_confluent_form() -> None:
    """Registered as those whose id stood before the record are."""

    class Registrar:
        def register(self, subject: str, schema: Any) -> int:
            return 12

    encoder = Encoder(SchemaFinder([Shelf()], Limits()), registrar=Registrar())
    annotation = make_annotation(alert=make_alert(message=message(BY_GUID)))
    value = encoder.enriched(annotation, "enriched")
    assert b"\x00\x00\x00\x00\x0c" + body() == value[: 5 + len(body())]
    encoder.prepare((Form.HEADER, GUID), "enriched")
