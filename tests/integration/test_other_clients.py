"""The table of deploy/OUTPUTS.md: which client of others reads which output."""

import io
import json
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import documents
import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from factories import make_alert, make_annotation
from kafka_node import KafkaUnavailable, fetched_once

import streamfilter
from streamfilter.alerts.encode import Encoder, written_anew
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import ConfluentRegistrar
from streamfilter.schemas.sources import PackageSource
from streamfilter.schemas.store import SchemaFolder

OUTPUTS_PAGE = documents.ROOT / "deploy" / "OUTPUTS.md"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
AVRO_TOOLS = "1.12.0"


@pytest.fixture(scope="module")
def values(
    samples: Path, registry_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, bytes]:
    """Each output in each of its forms, of a real packet of each survey."""
    pytest.importorskip("lsst.alert", reason="needs the extra streamfilter[lsst]")
    ztf = min((samples / "ztf").glob("*.avro")).read_bytes()
    lsst = (samples / "lsst" / "170595945463939107.bin").read_bytes()
    finder = SchemaFinder([PackageSource()], Limits())
    registered = Encoder(finder, registrar=ConfluentRegistrar({"url": registry_url}))
    alone = Encoder(finder, store=SchemaFolder(tmp_path_factory.mktemp("schemas")))
    of_ztf = make_annotation(alert=make_alert(ztf, survey="ztf"))
    of_lsst = make_annotation(alert=make_alert(lsst, survey="lsst"))
    return {
        "annotation confluent": registered.annotation(of_ztf, "clients"),
        "annotation single": alone.annotation(of_ztf, "clients"),
        "enriched ztf": registered.enriched(of_ztf, "clients-ztf"),
        "enriched lsst": registered.enriched(of_lsst, "clients-lsst"),
        "enriched lsst single": alone.enriched(of_lsst, "clients-lsst"),
        "clean ztf": ztf,
        "clean lsst": lsst,
    }


def readable(values: Mapping[str, bytes], read: Any) -> set[str]:
    """Those that a client reads."""
    found = set()
    for name, value in values.items():
        try:
            record = read(value)
        except Exception:  # each client has its own
            continue
        assert {"alert_id", "candid", "diaSourceId"} & set(record)
        found.add(name)
    return found


def schema_of(value: bytes, registry_url: str) -> Any:
    number = int.from_bytes(value[1:5], "big")
    with urllib.request.urlopen(f"{registry_url}/schemas/ids/{number}") as answer:
        return json.loads(json.load(answer)["schema"])


def test_confluent_s_deserialiser(values: Mapping[str, bytes], registry_url: str) -> None:
    """Whatever is in its own form, if its schema is in the registry that it asks."""
    context = SerializationContext("clients", MessageField.VALUE)
    with SchemaRegistryClient({"url": registry_url}) as client:
        read = AvroDeserializer(client)
        found = readable(values, lambda value: read(value, context))
    assert {"annotation confluent", "enriched lsst"} == found


def test_fastavro(values: Mapping[str, bytes], registry_url: str) -> None:
    """Containers as they are; others with their schema, behind the five bytes."""
    containers = readable(values, lambda value: next(fastavro.reader(io.BytesIO(value))))
    assert {"enriched ztf", "clean ztf"} == containers
    for name in ("annotation confluent", "enriched lsst"):
        schema = fastavro.parse_schema(schema_of(values[name], registry_url))
        record = fastavro.schemaless_reader(io.BytesIO(values[name][5:]), schema, None)
        assert isinstance(record, dict)


def test_avro_tools(values: Mapping[str, bytes], registry_url: str, tmp_path: Path) -> None:
    """Java's own program says the same of a container and of a record with its schema."""
    artifact = f"-Dartifact=org.apache.avro:avro-tools:{AVRO_TOOLS}"
    try:
        folder = fetched_once("avro-tools", AVRO_TOOLS, [COPY, artifact])
    except KafkaUnavailable as why:
        pytest.skip(f"no avro-tools: {why}")
    java = ["java", "-jar", str(folder / f"avro-tools-{AVRO_TOOLS}.jar")]
    place = tmp_path / "alert"
    place.write_bytes(values["enriched ztf"])
    done = subprocess.run([*java, "tojson", str(place)], check=True, capture_output=True)
    assert "streamfilter" in json.loads(done.stdout)
    place.write_bytes(values["annotation confluent"][5:])
    schema = tmp_path / "schema"
    schema.write_text(json.dumps(schema_of(values["annotation confluent"], registry_url)))
    command = [*java, "fragtojson", "--schema-file", str(schema), str(place)]
    done = subprocess.run(command, check=True, capture_output=True)
    assert "alert_id" in json.loads(done.stdout)


def test_hop_client(values: Mapping[str, bytes]) -> None:
    """It reads containers."""
    models = pytest.importorskip("hop.models", reason="hop-client is not installed")
    read = models.AvroBlob.deserialize
    assert {"enriched ztf", "clean ztf"} == readable(values, lambda value: read(value).content)


def test_pittgoogle_client(values: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers of ZTF; of LSST's what has Rubin's own id."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "none")
    client = pytest.importorskip("pittgoogle", reason="pittgoogle-client is not installed")
    types = pytest.importorskip("google.cloud.pubsub_v1").types

    def read(survey: str, value: bytes) -> Any:
        message = types.PubsubMessage(data=value)
        return client.Alert.from_msg(message, schema_name=survey).dict

    for survey, expected in (("ztf", {"enriched ztf", "clean ztf"}), ("lsst", {"clean lsst"})):
        named = {name: value for name, value in values.items() if survey in name}
        assert expected == readable(named, lambda value, survey=survey: read(survey, value))


def test_fink_client(values: Mapping[str, bytes], tmp_path: Path) -> None:
    """Files that are containers."""
    client = pytest.importorskip("fink_client.avro_utils", reason="fink-client is not installed")

    def read(value: bytes) -> Any:
        path = tmp_path / "alert.avro"
        path.write_bytes(value)
        return client.AlertReader(str(path)).to_list()[0]

    assert {"enriched ztf", "clean ztf"} == readable(values, read)


def test_clean_and_annotations_are_joined_as_the_page_says(
    values: Mapping[str, bytes], registry_url: str
) -> None:
    """By survey and alert id; the survey's bytes stay what they were."""
    (code,) = (each for each in documents.blocks(OUTPUTS_PAGE, "python") if "on_clean" in each)
    names: dict[str, Any] = {"streamfilter": streamfilter}
    exec(code.replace("http://127.0.0.1:8081", registry_url), names)
    annotation = make_annotation(alert=make_alert(values["clean lsst"], survey="lsst"))
    finder = SchemaFinder([PackageSource()], Limits())
    encoder = Encoder(finder, registrar=ConfluentRegistrar({"url": registry_url}))
    headers = encoder.headers(annotation)
    value = encoder.annotation(annotation, "clients")
    names["on_annotation"](
        SimpleNamespace(value=lambda: value, headers=lambda: list(written_anew(headers)))
    )
    clean = SimpleNamespace(value=lambda: values["clean lsst"], headers=lambda: list(headers))
    original, joined = names["on_clean"](clean)
    assert values["clean lsst"] == original
    assert "drop" == joined["verdict"]["action"]
