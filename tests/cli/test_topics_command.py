"""``streamfilter topics create`` says what it did."""

import uuid

from click.testing import CliRunner
from kafka_desk import Broker

from streamfilter.cli.topics import topics


def test_topics_are_created_and_a_second_call_says_that_they_are_there(broker: Broker) -> None:
    """The number of partitions that differs is pointed out."""
    name = f"made-{uuid.uuid4().hex[:12]}"
    arguments = ["create", name, "--bootstrap", broker.bootstrap, "--retention-hours", "0.5"]
    first = CliRunner().invoke(topics, [*arguments, "--partitions", "2"])
    second = CliRunner().invoke(topics, [*arguments, "--partitions", "4"])
    assert (f"{name}: created, 2 partitions\n", 0) == (first.output, first.exit_code)
    assert f"{name}: was there already, 2 partitions, not 4: it is left as it is\n" == second.output


def test_a_setting_without_a_value_is_a_wrong_argument() -> None:
    """The error repeats the text."""
    result = CliRunner().invoke(topics, ["create", "t", "--setting", "sasl.username"])
    assert 2 == result.exit_code
    assert "'sasl.username' is not KEY=VALUE" in result.output
