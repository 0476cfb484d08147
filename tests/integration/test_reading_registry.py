"""What the README tells consumers to do, on a real registry, in every wire form."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import documents
import fastavro
import pytest
from factories import make_alert, make_annotation

import streamfilter
from streamfilter.alerts.encode import Encoder
from streamfilter.errors import MessageRejected
from streamfilter.files import bundled_folder
from streamfilter.limits import Limits
from streamfilter.records import (
    Action,
    Annotation,
    Label,
    NotEvaluated,
    Plane,
    StampEvidence,
    Verdict,
)
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import ConfluentRegistrar, annotation_schema
from streamfilter.schemas.sources import FolderSource
from streamfilter.simulate.visits import alerts

README = documents.ROOT / "README.md"
ADDRESS = 'registry="http://127.0.0.1:8081"'
TOPIC = "site.annotations"


@pytest.fixture(scope="module")
def values() -> dict[str, bytes]:
    """One alert of each survey as it comes: ZTF in a container, LSST in the Confluent form."""
    return {each.survey: each.value for each in alerts(11, 12, mix={}, per_visit=6)}


@pytest.fixture(scope="module")
def finder() -> SchemaFinder:
    return SchemaFinder([FolderSource(bundled_folder("schemas") / "simulated")], Limits())


def of(value: bytes, survey: str) -> Annotation:
    """An annotation that is kept, of an alert of a survey."""
    return make_annotation(alert=make_alert(value, survey=survey))


def in_a_container(value: bytes) -> bytes:
    """An annotation as sinks keep it: an object container file."""
    schema = annotation_schema().schema.definition
    out = io.BytesIO()
    fastavro.writer(out, schema, [streamfilter.read(value)])
    return out.getvalue()


def snippet_on(value: bytes, registry: str) -> dict[str, Any]:
    """The names that the README's snippet leaves, of a message and a registry."""
    (code,) = (each for each in documents.blocks(README, "python") if "streamfilter.read" in each)
    assert ADDRESS in code
    names: dict[str, Any] = {"message": SimpleNamespace(value=lambda: value)}
    exec(code.replace(ADDRESS, f"registry={registry!r}"), names)
    return names


@pytest.mark.parametrize("form", ["container", "confluent", "single_object"])
def test_the_readme_s_snippet_reads_an_annotation(
    registry_url: str, finder: SchemaFinder, form: str
) -> None:
    """As it stands, but for the registry's address, which may always be given."""
    annotation = of(b"value", "lsst")
    value = Encoder(finder).annotation(annotation, TOPIC)
    if form == "container":
        value = in_a_container(value)
    elif form == "confluent":
        registrar = ConfluentRegistrar({"url": registry_url})
        value = Encoder(finder, registrar=registrar).annotation(annotation, TOPIC)
    starts = {"container": b"Obj\x01", "confluent": b"\x00", "single_object": b"\xc3\x01"}
    assert value.startswith(starts[form])
    record = snippet_on(value, registry_url)["record"]
    assert (annotation.alert.alert_id, "drop") == (record["alert_id"], record["verdict"]["action"])


def test_the_readme_s_snippet_prints_also_an_alert_that_was_not_evaluated(
    registry_url: str, finder: SchemaFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such an alert is kept, and has no evidence of any class."""
    verdict = Verdict(Label.NOT_EVALUATED, Action.KEEP)
    stamps = (StampEvidence(Plane.SCIENCE, NotEvaluated.NO_DATA, 0),)
    annotation = make_annotation(verdict=verdict, stamps=stamps)
    snippet_on(Encoder(finder).annotation(annotation, TOPIC), registry_url)
    assert f"{annotation.alert.alert_id} not_evaluated\n" == capsys.readouterr().out


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_enriched_alerts_are_read_with_a_registry(
    registry_url: str, finder: SchemaFinder, values: dict[str, bytes], survey: str
) -> None:
    """A container stays one; LSST's Confluent form carries an id of the site's registry."""
    registrar = ConfluentRegistrar({"url": registry_url})
    encoder = Encoder(finder, registrar=registrar)
    value = encoder.enriched(of(values[survey], survey), "site.enriched")
    record = streamfilter.read(value, registry=registry_url)
    assert survey == record["streamfilter"]["survey"]
    assert ("candid" if survey == "ztf" else "diaSourceId") in record


def test_a_registry_that_the_environment_names_is_asked(
    registry_url: str, finder: SchemaFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it names it for the filter; settings of the client too."""
    registrar = ConfluentRegistrar({"url": registry_url})
    value = Encoder(finder, registrar=registrar).annotation(of(b"value", "ztf"), TOPIC)
    monkeypatch.setenv("STREAMFILTER_SCHEMAS__PUBLISH__URL", registry_url)
    monkeypatch.setenv("STREAMFILTER_SCHEMAS__PUBLISH__SETTINGS", "{timeout = 5}")
    monkeypatch.setenv("STREAMFILTER_KAFKA__NO_SUCH_KEY", "of no concern to readers")
    assert "ztf" == streamfilter.read(value)["survey"]


def test_an_id_that_the_registry_has_not_is_said_with_what_to_try(
    registry_url: str, tmp_path: Path
) -> None:
    """Sites have two registries: the survey's and their own."""
    with pytest.raises(MessageRejected) as caught:
        streamfilter.read(b"\x00\x7f\xff\xff\xffbody", registry=registry_url, schemas=tmp_path)
    detail = caught.value.detail
    assert "schema id 2147483647 is not known" in detail
    assert registry_url in detail
    assert "schemas.registry" in detail
    assert "schemas export" not in detail
