"""A topic is read as it stands, without a group."""

import time

import pytest
from kafka_desk import Broker

from streamfilter.errors import TransportFailed
from streamfilter.kafka import reader


def settings(broker: Broker) -> dict[str, str]:
    return {"bootstrap.servers": broker.bootstrap}


def test_every_message_of_every_partition_is_read_up_to_the_end(broker: Broker) -> None:
    """An empty partition is no reason to wait."""
    topic = broker.topic(3)
    broker.produce(topic, [b"a", b"b"], partition=0, headers=(("h", b"1"),))
    broker.produce(topic, [b"c"], partition=2)
    found = list(reader.read_topic(settings(broker), topic))
    assert [(0, 0, b"a"), (0, 1, b"b"), (2, 0, b"c")] == [
        (each.origin.partition, each.origin.offset, each.value) for each in found
    ]
    assert (("h", b"1"),) == found[0].headers


def test_only_what_is_young_enough_is_read(broker: Broker) -> None:
    """The timestamps of the messages decide."""
    topic, now_ms = broker.topic(), round(time.time() * 1000)
    broker.produce(topic, [b"old"], timestamp_ms=now_ms - 7_200_000)
    broker.produce(topic, [b"new"], timestamp_ms=now_ms)
    found = reader.read_topic(settings(broker), topic, since_ms=now_ms - 3_600_000)
    assert [b"new"] == [each.value for each in found]
    assert [] == list(reader.read_topic(settings(broker), topic, since_ms=now_ms + 3_600_000))


def test_one_message_is_found_by_its_place(broker: Broker) -> None:
    """None where none stands."""
    topic = broker.topic()
    broker.produce(topic, [b"a", b"b", b"c"])
    found = reader.read_one(settings(broker), topic, 0, 1)
    assert found is not None
    assert b"b" == found.value
    assert reader.read_one(settings(broker), topic, 0, 3) is None


def test_a_topic_that_is_not_there_is_named(broker: Broker) -> None:
    """It is not created."""
    with pytest.raises(TransportFailed, match="no-such-topic"):
        list(reader.read_topic(settings(broker), "no-such-topic"))
