"""``streamfilter rejected`` on the topic that a real encoder filled."""

import json

import pytest
from click.testing import CliRunner, Result
from kafka_desk import Broker

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.cli.rejected import rejected
from streamfilter.headers import rejected_message
from streamfilter.limits import Limits
from streamfilter.records import Message, Origin, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource


class Desk:
    """A topic of alerts, one of rejected messages, and the command on them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.alerts, self.topic = broker.topic(), broker.topic()
        self._decoder = Decoder(SchemaFinder([PackageSource()], Limits()), Surveys.load(), Limits())

    def reject(self, message: Message) -> None:
        """Store a message as a worker does that cannot use it."""
        found = self._decoder.decode(message)
        assert isinstance(found, Rejected)
        value, headers = rejected_message(found)
        self.broker.produce(self.topic, [value], keys=[message.key], headers=headers)

    def run(self, *arguments: str) -> Result:
        sets = (f"kafka.bootstrap={self.broker.bootstrap}", f"outputs.rejected={self.topic}")
        options = [word for each in sets for word in ("--set", each)]
        return CliRunner().invoke(rejected, [*arguments, *options])


@pytest.fixture
def desk(broker: Broker) -> Desk:
    """Two rejected messages: one of an unknown form, one container cut short."""
    made = Desk(broker)
    made.reject(Message(Origin(made.alerts, 0, 0), b"rubbish", b"r", 1, (("own", b"1"),)))
    made.reject(Message(Origin(made.alerts, 0, 1), b"Obj\x01\x04", b"c", 1))
    return made


def test_what_was_rejected_is_listed_with_reason_and_origin(desk: Desk) -> None:
    """The list is JSON lines, or text with a summary."""
    lines = [json.loads(line) for line in desk.run("list", "--json").output.splitlines()]
    assert ["wire_form_unknown", "avro_malformed"] == [each["reason"] for each in lines]
    assert [f"{desk.alerts}:0:0", f"{desk.alerts}:0:1"] == [each["origin"] for each in lines]
    assert ["0:0", "0:1"] == [each["position"] for each in lines]
    text = desk.run("list", "--reason", "avro_malformed").output
    assert f"1 rejected in {desk.topic}: 1 avro_malformed" in text
    head, row, _ = text.splitlines()
    assert [
        "position",
        "rejected",
        "reason",
        "origin",
        "schema_id",
        "bytes",
        "replayed",
        "detail",
    ] == (head.split())
    assert head.index("reason") == row.index("avro_malformed")
    assert "position" not in desk.run("list", "--reason", "internal").output


def test_the_place_of_failure_is_marked_in_the_bytes(desk: Desk) -> None:
    """The row with the byte at which decoding failed begins with ``>``."""
    result = desk.run("show", "0:1")
    assert (0, True) == (result.exit_code, "avro_malformed" in result.output)
    assert [">"] == [line[0] for line in result.output.splitlines() if line.startswith(">")]
    assert "4f 62 6a 01 04" in result.output


def test_what_is_replayed_comes_as_it_was_and_marked(desk: Desk) -> None:
    """It is sent to the topic that it came from."""
    result = desk.run("replay", "0:0")
    assert (f"{desk.alerts}: 1 sent in again\n", 0) == (result.output, result.exit_code)
    (found,) = desk.broker.read(desk.alerts)
    assert (b"rubbish", b"r") == (found.value, found.key)
    assert (("own", b"1"), ("streamfilter-replayed", b"1")) == found.headers


def test_what_is_rejected_again_and_again_is_left(desk: Desk) -> None:
    """After three rounds only --force sends it."""
    for position in ("0:0", "0:2", "0:3"):
        assert 0 == desk.run("replay", position).exit_code
        desk.reject(desk.broker.read(desk.alerts)[-1])
    left = desk.run("replay", "0:4")
    assert (1, True) == (left.exit_code, "replayed 3 times" in left.output)
    assert 0 == desk.run("replay", "0:4", "--force").exit_code
    assert 4 == len(desk.broker.read(desk.alerts))


def test_a_dry_run_sends_nothing(desk: Desk) -> None:
    """It says what it would do."""
    result = desk.run("replay", "--all", "--dry-run")
    assert f"{desk.alerts}: 2 would be sent in again\n" == result.output
    assert [] == desk.broker.read(desk.alerts)


def test_a_choice_is_asked_for(desk: Desk) -> None:
    """Nothing is replayed by mistake."""
    assert 2 == desk.run("replay").exit_code
    assert 2 == desk.run("replay", "0:0", "--all").exit_code
    assert 1 == desk.run("replay", "--reason", "internal").exit_code
    assert 1 == desk.run("show", "0:99").exit_code
