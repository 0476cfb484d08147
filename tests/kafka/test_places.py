"""Single messages are read by their places."""

import time

import pytest
from kafka_desk import Broker

from streamfilter.kafka.places import PlaceReader
from streamfilter.records import Origin


def test_messages_of_several_partitions_are_read_at_once(broker: Broker) -> None:
    """Near each other or far apart; the reader can be used again."""
    topic = broker.topic(2)
    for partition in (0, 1):
        broker.produce(topic, [b"%d" % n for n in range(100)], partition=partition)
    reader = PlaceReader({"bootstrap.servers": broker.bootstrap})
    for offsets in ((0, 1, 99), (50,), (3, 4, 90)):
        places = [Origin(topic, partition, n) for partition in (0, 1) for n in offsets]
        found = reader.read(places, 20.0)
        assert {each: b"%d" % each.offset for each in places} == {
            place: message.value for place, message in found.items()
        }
    assert {} == reader.read([], 1.0)
    reader.close()


def test_places_far_apart_are_read_one_after_the_other_without_a_rest(broker: Broker) -> None:
    """Somebody waits for the stamps: ten of them take no second each."""
    topic = broker.topic()
    broker.produce(topic, [bytes(40_000)] * 400)
    reader = PlaceReader({"bootstrap.servers": broker.bootstrap})
    places = [Origin(topic, 0, offset) for offset in range(5, 400, 40)]
    began_s = time.monotonic()
    assert 10 == len(reader.read(places, 30.0))
    assert time.monotonic() - began_s < 9.0
    reader.close()


@pytest.mark.parametrize("offset", [1, 7])
def test_a_message_that_is_not_there_is_absent(broker: Broker, offset: int) -> None:
    """Deleted by retention, or never written; the others are read all the same."""
    topic = broker.topic()
    broker.produce(topic, [b"a", b"b", b"c", b"d"])
    broker.delete_before(topic, 0, 2)
    reader = PlaceReader({"bootstrap.servers": broker.bootstrap})
    assert {} == reader.read([Origin(topic, 0, offset)], 5.0)
    assert [Origin(topic, 0, 3)] == list(reader.read([Origin(topic, 0, 3)], 20.0))
    reader.close()


def test_a_topic_that_is_not_there_has_no_messages_and_ends_no_reader(broker: Broker) -> None:
    """Deleted by its operators, say; those of other topics are read with it and after it."""
    topic = broker.topic()
    broker.produce(topic, [b"a", b"b"])
    # A topic is new for so long (30 s by default), and its absence no error.
    soon = {"topic.metadata.propagation.max.ms": 0}
    reader = PlaceReader({"bootstrap.servers": broker.bootstrap, **soon})
    kept, gone = Origin(topic, 0, 1), Origin(f"{topic}-gone", 0, 1)
    assert [kept] == list(reader.read([gone, kept], 8.0))
    assert [kept] == list(reader.read([kept], 20.0))
    reader.close()
