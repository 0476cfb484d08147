"""Topics of each survey's own, on a real Kafka with real packets of several in one input."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from filter_site import Site, packets
from kafka_desk import Broker

import streamfilter
from streamfilter.cli import root
from streamfilter.records import Message

OWN = ("annotations", "enriched", "clean")
READ = ("ztf", "lsst")
CONTAINER, CONFLUENT, SINGLE_OBJECT = b"Obj\x01", b"\x00", b"\xc3\x01"


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    alerts = broker.topic(4, stem="alerts")
    topics = {name: f"{alerts}-{{survey}}-{name}" for name in OWN}
    topics |= {name: broker.topic(stem=name) for name in ("contaminated", "rejected")}
    with Site(broker, tmp_path, engine_home, alerts, topics) as made:
        for survey in READ:
            make_topics(made, survey)
        yield made


def make_topics(site: Site, survey: str) -> None:
    for name in OWN:
        site.broker.topic(name=site.topics[name].replace("{survey}", survey))


def read(site: Site, output: str, survey: str) -> list[Message]:
    """What stands in an output of a survey."""
    return site.broker.read(site.topics[output].replace("{survey}", survey))


def counts(site: Site, output: str, survey: str) -> Counter[bytes | None]:
    return Counter(message.key for message in read(site, output, survey))


def starts(messages: list[Message], length: int) -> set[bytes]:
    """The first bytes of the values, which tell the wire form."""
    return {(message.value or b"")[:length] for message in messages}


def of_surveys(samples: Path, *surveys: str) -> dict[bytes, bytes]:
    """Real packets by key; a key begins with its survey."""
    found = {k: v for k, v in packets(samples).items() if k.decode().startswith(surveys)}
    assert set(surveys) == {key.decode().partition("/")[0] for key in found}
    return found


def answered(site: Site, *surveys: str) -> set[bytes | None]:
    annotated = [counts(site, "annotations", survey) for survey in surveys or READ]
    return set().union(*annotated, site.counts("rejected"))


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_each_survey_comes_out_in_its_own_topics_in_its_own_form(
    site: Site, samples: Path, guarantee: str
) -> None:
    """ZTF's containers and LSST's Confluent form never stand in one topic; each alert once.

    Alerts of a survey that has no topic are rejected, and stop nothing.
    """
    values = of_surveys(samples, *READ, "winter")
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start(delivery__guarantee=guarantee)
    site.wait(set(values), answered)
    assert 0 == worker.stop()
    for survey in READ:
        expected = Counter(key for key in values if key.decode().startswith(survey))
        assert expected == counts(site, "annotations", survey) == counts(site, "enriched", survey)
        clean = counts(site, "clean", survey)
        dropped = [key for key in site.counts("contaminated") if key in expected]
        assert expected == clean + Counter(dropped)
        records = [
            streamfilter.read(each.value or b"") for each in read(site, "annotations", survey)
        ]
        assert {survey} == {record["survey"] for record in records}
    forms = {"ztf": (CONTAINER, CONTAINER), "lsst": (CONFLUENT, SINGLE_OBJECT)}
    for survey, (clean_form, enriched_form) in forms.items():
        assert {clean_form} == starts(read(site, "clean", survey), len(clean_form))
        assert {enriched_form} == starts(read(site, "enriched", survey), len(enriched_form))
    rejected = site.broker.read(site.topics["rejected"])
    assert {key for key in values if key.startswith(b"winter/")} == {m.key for m in rejected}
    assert {b"topic_missing"} == {dict(m.headers)["streamfilter-reason"] for m in rejected}
    assert len(values) == site.committed()


def test_what_had_no_topic_is_replayed_once_it_is_made(site: Site, samples: Path) -> None:
    """As the detail of the rejected message says."""
    values = of_surveys(samples, "winter")
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start()
    site.wait(set(values), answered)
    assert 0 == worker.stop()
    (said, *_) = site.broker.read(site.topics["rejected"])
    assert b"topics create --survey winter" in (dict(said.headers)["streamfilter-detail"] or b"")
    make_topics(site, "winter")
    settings = {
        "kafka.bootstrap": site.broker.bootstrap,
        "outputs.rejected": site.topics["rejected"],
    }
    given = [f"--set={key}={value}" for key, value in settings.items()]
    command = ["rejected", "replay", "--reason", "topic_missing", *given]
    done = CliRunner().invoke(root, command)
    assert 0 == done.exit_code, done.output
    site.start()
    site.wait(set(values), lambda site: set(counts(site, "annotations", "winter")))
    assert Counter(list(values)) == counts(site, "enriched", "winter")


def test_one_deserialiser_reads_all_of_a_survey_with_a_registry(
    site: Site, samples: Path, registry_url: str
) -> None:
    """A subject for each topic; LSST's enriched alerts have ids of the site's registry."""
    pytest.importorskip("lsst.alert", reason="needs the extra streamfilter[lsst]")
    values = of_surveys(samples, *READ)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start(schemas__publish__url=registry_url)
    site.wait(set(values), answered)
    assert 0 == worker.stop()
    assert Counter() == site.counts("rejected")
    with SchemaRegistryClient({"url": registry_url}) as client:
        deserialise = AvroDeserializer(client)
        for output, named in (("enriched", "diaSourceId"), ("annotations", "alert_id")):
            topic = site.topics[output].replace("{survey}", "lsst")
            context = SerializationContext(topic, MessageField.VALUE)
            found = [deserialise(each.value, context) for each in site.broker.read(topic)]
            assert len([key for key in values if key.startswith(b"lsst/")]) == len(found)
            assert all(isinstance(each, dict) and named in each for each in found)
        subjects = {each for each in client.get_subjects() if each.startswith(site.alerts)}
    expected = {f"{site.alerts}-{survey}-annotations-value" for survey in READ}
    assert expected | {f"{site.alerts}-lsst-enriched-value"} <= subjects
    assert {CONTAINER} == starts(read(site, "enriched", "ztf"), 4)
    assert f"{site.alerts}-ztf-enriched-value" not in subjects
