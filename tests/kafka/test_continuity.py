"""A gap that comes after a pause or an outage is looked at once."""

import time

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Position
from joined_source import joined
from kafka_desk import Broker

from streamfilter.kafka.continuity import Continuity
from streamfilter.kafka.source import KafkaSource
from streamfilter.records import Message, Origin

P = ("t", 0)


def at(*offsets: int) -> list[Message]:
    return [Message(Origin("t", 0, offset), b"") for offset in offsets]


def test_what_follows_goes_on_and_gaps_are_the_topic_s_own_while_all_is_calm() -> None:
    """Compaction and marks of transactions leave gaps: nothing is sent back for them."""
    assert (at(0, 1, 4, 9), {}) == Continuity().checked(at(0, 1, 4, 9))


def test_a_gap_after_a_disturbance_is_sent_back_and_what_was_stepped_over_is_read() -> None:
    """With all that came behind it; then it goes on without a look."""
    continuity = Continuity()
    continuity.checked(at(0, 1))
    assert ([], {P: 2}) == continuity.checked(at(4, 5), [P])
    assert (at(2, 3, 4, 5), {}) == continuity.checked(at(2, 3, 4, 5))
    assert (at(8), {}) == continuity.checked(at(8))


def test_a_gap_that_is_still_there_is_the_topic_s_own() -> None:
    """It is looked at once, however often the partition is disturbed meanwhile."""
    continuity = Continuity()
    continuity.checked(at(0, 1))
    assert ([], {P: 2}) == continuity.checked(at(4, 5), [P])
    assert (at(4, 5), {}) == continuity.checked(at(4, 5), [P])


@pytest.mark.parametrize("first", [0, 7])
def test_reading_that_begins_elsewhere_is_no_gap(first: int) -> None:
    """After a rebalance, or where the group's offset was moved."""
    continuity = Continuity()
    continuity.checked(at(0, 1, 2))
    continuity.disturb([P])
    continuity.forget(P)
    assert (at(first), {}) == continuity.checked(at(first), [P])


def paused_after(broker: Broker, topic: str, count: int) -> tuple[KafkaSource, list[Message]]:
    """A source that has read so many messages and paused."""
    address = {"bootstrap.servers": broker.bootstrap, "group.id": f"group-{topic}"}
    reader = joined(address, [topic])
    found = read(reader, count)
    reader.pause()
    return reader, found


def read(reader: KafkaSource, count: int) -> list[Message]:
    """Poll until so many messages have come, for a minute at most."""
    found: list[Message] = []
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        found += reader.poll(count - len(found), 1.0)
    return found


@pytest.mark.kafka
def test_messages_that_the_client_stepped_over_are_read(broker: Broker) -> None:
    """None is missing and none comes twice, although the client went on elsewhere."""
    topic = broker.topic()
    broker.produce(topic, [b"%d" % n for n in range(20)])
    reader, found = paused_after(broker, topic, 5)
    reader._consumer.seek(Position(topic, 0, 12))
    reader.resume()
    found += read(reader, 15)
    reader.close()
    assert list(range(20)) == [each.origin.offset for each in found]


@pytest.mark.kafka
def test_marks_of_transactions_are_no_messages(broker: Broker) -> None:
    """Each message comes once where a mark comes first after a pause."""
    topic = broker.topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"of-{topic}"})
    producer.init_transactions(30)
    for number in range(4):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % number)
        producer.commit_transaction(30)
    reader, found = paused_after(broker, topic, 1)
    reader.resume()
    found += read(reader, 3)
    reader.close()
    assert [0, 2, 4, 6] == [each.origin.offset for each in found]
