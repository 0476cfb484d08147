"""What a producer may write on the wire becomes a message."""

from joined_source import joined
from kafka_desk import Broker
from raw_record import produce_raw

from streamfilter.kafka import reader
from streamfilter.kafka.inspection import Inspector
from streamfilter.records import Message

BAD = [(b"good", b"1"), (b"bad\xff\xfename", b"v")]


def described(message: Message) -> tuple[bytes | None, bytes | None, int, bool]:
    return message.value, message.key, len(message.headers), bool(message.unread)


def test_a_header_s_name_that_is_not_utf8_stops_no_reader(broker: Broker) -> None:
    """The message comes with its bytes and says what it lost; the next one is whole."""
    topic = broker.topic()
    settings = {"bootstrap.servers": broker.bootstrap}
    produce_raw(broker.bootstrap, topic, BAD, value=b"v", key=b"k")
    broker.produce(topic, [b"w"], keys=[b"l"], headers=(("h", b"1"),))
    expected = [(b"v", b"k", 0, True), (b"w", b"l", 1, False)]
    source = joined(settings | {"group.id": f"g-{topic}"}, [topic])
    found: list[Message] = []
    while len(found) < 2:
        found += source.poll(10, 1.0)
    source.close()
    assert expected == [described(each) for each in found]
    assert "bad\\xff\\xfename" in found[0].unread
    assert expected == [described(each) for each in reader.read_topic(settings, topic)]
    one = reader.read_one(settings, topic, 0, 0)
    assert one is not None
    assert expected[0] == described(one)


def test_a_header_s_name_that_is_not_utf8_stops_no_warm_reader(broker: Broker) -> None:
    """Python calls what it has called often in another way, in which errors may come out late."""
    topic = broker.topic()
    broker.produce(topic, [b"w"] * 300, headers=(("h", b"1"),))
    produce_raw(broker.bootstrap, topic, BAD, value=b"v", key=b"k")
    source = joined({"bootstrap.servers": broker.bootstrap, "group.id": f"g-{topic}"}, [topic])
    found: list[Message] = []
    while len(found) < 301:
        found += source.poll(10, 1.0)
    source.close()
    assert [False] * 300 + [True] == [bool(each.unread) for each in found]


def test_the_doctor_s_sample_may_have_unreadable_headers(broker: Broker) -> None:
    """It is looked at as any other."""
    topic = broker.topic()
    produce_raw(broker.bootstrap, topic, BAD, value=b"v", key=b"k")
    inspector = Inspector({"bootstrap.servers": broker.bootstrap}, timeout_s=20.0)
    found = inspector.last(topic, 1, "g")
    assert found is not None
    assert (b"v", b"k", 0, True) == described(found)


def test_odd_names_that_are_text_are_kept(broker: Broker) -> None:
    """An empty one, and bytes of any kind as a value."""
    topic = broker.topic()
    produce_raw(
        broker.bootstrap, topic, [(b"", b"\xff\x00"), (b"\xc3\xa9", b"")], value=b"v", key=b"k"
    )
    (found,) = reader.read_topic({"bootstrap.servers": broker.bootstrap}, topic)
    assert (("", b"\xff\x00"), ("é", b"")) == found.headers
