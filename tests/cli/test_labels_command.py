"""``streamfilter labels`` over a real topic, as the live page fills it."""

import json
from dataclasses import replace
from pathlib import Path

from card_factories import NOON, card
from click.testing import CliRunner
from kafka_desk import Broker

from streamfilter.cli.labels import labels
from streamfilter.console.labels import Answer, encode, label_of
from streamfilter.errors import ConfigurationInvalid
from streamfilter.records import Origin
from streamfilter.schemas.published import label_schema, single_object_header
from streamfilter.simulate.visits import alerts


def test_labels_become_a_table_and_a_folder_for_training(broker: Broker, tmp_path: Path) -> None:
    """With the packets of the alerts; what is no label is passed over."""
    topic, said = broker.topic(), broker.topic()
    sent = list(alerts(1, 2, surveys=("ztf",), mix={}))
    broker.produce(topic, [each.value for each in sent])
    shown = [
        replace(card(n), alert_id=each.alert_id, origin=Origin(topic, 0, n))
        for n, each in enumerate(sent)
    ]
    given = [label_of(each, person="ana", answer=Answer.REAL, contaminant=None, said=NOON)
             for each in shown]  # fmt: skip
    values = [single_object_header(label_schema()) + encode(each) for each in given]
    broker.produce(said, [*values, values[0]])
    options = ["--set", f"kafka.bootstrap={broker.bootstrap}", "--set", f"outputs.labels={said}"]

    table = CliRunner().invoke(labels, [str(tmp_path / "a.jsonl"), *options])
    assert f"2 labels of 1 person: {tmp_path / 'a.jsonl'}\n" == table.output
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {each.alert_id for each in sent} == {row["alert_id"] for row in rows}

    folder = CliRunner().invoke(labels, [str(tmp_path / "made"), *options])
    assert 0 == folder.exit_code, folder.output
    assert 2 == len(list((tmp_path / "made" / "packets").glob("*.avro")))
    assert 3 == len((tmp_path / "made" / "known.csv").read_text().splitlines())


def test_without_a_topic_there_are_no_labels(tmp_path: Path) -> None:
    """The setting is named."""
    result = CliRunner().invoke(labels, [str(tmp_path / "a.jsonl"), "--set", "outputs.labels="])
    assert isinstance(result.exception, ConfigurationInvalid)
    assert "outputs.labels is empty" in str(result.exception)
