"""Enriched alerts of every survey that there are real packets of."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from factories import make_annotation

from streamfilter import read
from streamfilter.alerts.encode import Encoder
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import annotation_schema
from streamfilter.schemas.sources import PackageSource
from streamfilter.schemas.store import SchemaFolder
from streamfilter.schemas.wire import Envelope, Form

SURVEYS = ["ztf", "lsst", "winter", "decam", "pgir"]


@pytest.fixture(scope="module")
def finder() -> SchemaFinder:
    return SchemaFinder([PackageSource()], Limits())


@pytest.fixture(params=SURVEYS)
def packets(request: pytest.FixtureRequest, samples: Path) -> list[bytes]:
    """Real messages of one survey."""
    paths = sorted((samples / request.param).glob("*.*"))
    values = [path.read_bytes() for path in paths if path.suffix in {".avro", ".bin"}]
    assert values, f"no packets in {samples / request.param}"
    return values


def alert_in(envelope: Envelope) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(envelope.body), envelope.schema.parsed, None)


def test_new_readers_see_the_alert_and_the_annotation(
    packets: list[bytes], finder: SchemaFinder, tmp_path: Path
) -> None:
    """All fields of the original, and one more."""
    encoder = Encoder(finder, store=SchemaFolder(tmp_path), clock=lambda: 1.5)
    for value in packets:
        annotation = make_annotation(value)
        alone = encoder.annotation(annotation, "annotations")
        record = read(encoder.enriched(annotation, "enriched"), schemas=tmp_path)
        assert read(alone) == record.pop("streamfilter")
        # By text, because the packets hold NaN, which equals nothing.
        assert repr(alert_in(finder.open(value))) == repr(record)


def test_readers_of_the_old_schema_see_the_alert(
    packets: list[bytes], finder: SchemaFinder, tmp_path: Path
) -> None:
    """They read with both schemas, or with only the old one on the record's bytes."""
    folder = SchemaFolder(tmp_path)
    encoder = Encoder(finder, store=folder)
    for value in packets:
        old = finder.open(value)
        new = SchemaFinder([folder], Limits()).open(
            encoder.enriched(make_annotation(value), "enriched")
        )
        body = io.BytesIO(new.body)
        record = fastavro.schemaless_reader(body, new.schema.parsed, old.schema.parsed)
        assert repr(alert_in(old)) == repr(record)
        alone = fastavro.schemaless_reader(io.BytesIO(new.body), old.schema.parsed, None)
        assert repr(alert_in(old)) == repr(alone)


def test_the_original_record_stands_in_the_enriched_one_unchanged(
    packets: list[bytes], finder: SchemaFinder
) -> None:
    """Original bytes, 0x02, annotation: nothing is encoded again."""
    encoder = Encoder(finder)
    for value in packets:
        annotation = make_annotation(value)
        body = encoder.annotation(annotation, "annotations")[10:]
        envelope = finder.open(value)
        enriched = encoder.enriched(annotation, "enriched")
        assert envelope.body + b"\x02" + body in enriched
        expected = b"Obj\x01" if envelope.form is Form.OCF else b"\xc3\x01"
        assert enriched.startswith(expected)


@pytest.mark.parametrize("packets", sorted({*SURVEYS} - {"lsst"}), indirect=True)
def test_containers_are_read_by_fastavro_alone(packets: list[bytes]) -> None:
    """Readers of the survey's files need nothing new."""
    for value in packets:
        enriched = Encoder(SchemaFinder([], Limits())).enriched(make_annotation(value), "enriched")
        record: Any = next(fastavro.reader(io.BytesIO(enriched)))
        assert "contaminated" == record["streamfilter"]["verdict"]["label"]


def test_extended_schemas_stand_by_themselves(
    packets: list[bytes], finder: SchemaFinder, tmp_path: Path
) -> None:
    """The text of a schema can be parsed alone, and defines every name once."""
    for value in packets:
        enriched = Encoder(finder, store=SchemaFolder(tmp_path)).enriched(
            make_annotation(value), "enriched"
        )
        schema = SchemaFinder([SchemaFolder(tmp_path)], Limits()).open(enriched).schema
        named: dict[str, Any] = {}
        fastavro.parse_schema(json.loads(json.dumps(schema.definition)), named_schemas=named)
        assert annotation_schema().schema.name in named
        return
