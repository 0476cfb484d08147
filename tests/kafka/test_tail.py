"""The end of topics is read, and what comes, over outages."""

import time
from collections.abc import Callable

from kafka_desk import ANSWER_S, Broker

from streamfilter.kafka.tail import Tail
from streamfilter.records import Message


def until(tail: Tail, done: Callable[[list[Message]], bool]) -> list[Message]:
    """Read until it is enough."""
    found: list[Message] = []
    end_s = time.monotonic() + ANSWER_S
    while not done(found):
        assert time.monotonic() < end_s, f"{len(found)} messages"
        found += tail.poll(0.05)
    return found


def test_reading_begins_so_many_messages_before_the_end(broker: Broker) -> None:
    """A page that is opened shows something at once; what is older is not read."""
    topic, whole = broker.topic(), broker.topic()
    broker.produce(topic, [b"1", b"2", b"3"])
    broker.produce(whole, [b"a", b"b", b"c"])
    tail = Tail({"bootstrap.servers": broker.bootstrap}, {topic: 2, whole: None})
    found = until(tail, lambda found: len(found) >= 5)
    assert {b"2", b"3", b"a", b"b", b"c"} == {each.value for each in found}
    assert (0, True, ()) == (tail.behind(), tail.connected, tail.missing)
    broker.produce(topic, [b"4"])
    assert [b"4"] == [each.value for each in until(tail, bool)]
    tail.close()


def test_a_topic_may_come_later(broker: Broker) -> None:
    """It is named until it is there; then all of it is read."""
    name = f"{broker.topic()}-later"
    tail = Tail({"bootstrap.servers": broker.bootstrap}, {name: 10})
    assert [] == tail.poll(0.05)
    assert (name,) == tail.missing
    broker.topic(name=name)
    broker.produce(name, [b"first"])
    assert [b"first"] == [each.value for each in until(tail, bool)]
    tail.close()


def test_what_came_during_an_outage_is_read_after_it(private_broker: Broker) -> None:
    """The tail says that the broker is away, and goes on by itself."""
    topic = private_broker.topic()
    private_broker.produce(topic, [b"before"])
    tail = Tail({"bootstrap.servers": private_broker.bootstrap}, {topic: 10})
    until(tail, bool)
    assert private_broker.node is not None
    private_broker.node.stop()
    until(tail, lambda _: not tail.connected)
    private_broker.node.start()
    private_broker.produce(topic, [b"after"])
    assert [b"after"] == [each.value for each in until(tail, bool)]
    assert tail.connected
    tail.close()
