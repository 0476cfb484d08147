"""Topics are created once, and what the broker refuses is said."""

import time
import uuid

import pytest
from kafka_desk import Broker

from streamfilter.errors import ConfigurationInvalid, TransportFailed
from streamfilter.kafka.topics import Topic, create, missing


def fresh() -> str:
    return f"made-{uuid.uuid4().hex[:12]}"


def test_a_new_topic_has_what_was_asked_for_and_a_second_time_changes_nothing(
    broker: Broker,
) -> None:
    """Creation is idempotent, and says which topics were there."""
    name, other, address = fresh(), fresh(), {"bootstrap.servers": broker.bootstrap}
    assert (Topic(name, True, 3),) == create(address, [name], 3, 1, {"retention.ms": "60000"})
    found = create(address, [name, other], 5, 1)
    assert (Topic(name, False, 3), Topic(other, True, 5)) == found
    assert () == missing(address, [name, other])


def test_the_broker_chooses_numbers_that_are_not_given(broker: Broker) -> None:
    """A topic without numbers gets the broker's defaults."""
    name = fresh()
    (topic,) = create({"bootstrap.servers": broker.bootstrap}, [name])
    assert topic.created
    assert topic.partitions >= 1


def test_a_topic_that_is_not_there_is_missing(broker: Broker) -> None:
    """Asking does not create it."""
    name, address = fresh(), {"bootstrap.servers": broker.bootstrap}
    assert (name,) == missing(address, [name])
    assert (name,) == missing(address, [name])


@pytest.mark.parametrize(
    ("name", "replication", "config", "words"),
    [
        ("no/slash", 1, {}, "no/slash"),
        ("fine", 7, {}, "(?i)replication factor"),
        ("fine", 1, {"retention.weeks": "1"}, r"retention\.weeks"),
    ],
)
def test_what_cannot_be_is_refused_in_the_brokers_words(
    broker: Broker, name: str, replication: int, config: dict[str, str], words: str
) -> None:
    """A wrong name, number or setting is the caller's to mend."""
    with pytest.raises(ConfigurationInvalid, match=words):
        create({"bootstrap.servers": broker.bootstrap}, [name], 1, replication, config)


def test_a_broker_that_is_not_there_is_a_transport_failure() -> None:
    """The failure comes within the time limit, and says what to check."""
    begin = time.monotonic()
    with pytest.raises(TransportFailed, match="the broker is up"):
        create({"bootstrap.servers": "127.0.0.1:1"}, ["t"], timeout_s=1.0)
    with pytest.raises(TransportFailed, match="the broker is up"):
        missing({"bootstrap.servers": "127.0.0.1:1"}, ["t"], timeout_s=1.0)
    assert time.monotonic() - begin < 10.0
