"""The sink tells of every output whether the broker has it, and waits rather than lose one."""

import time
from dataclasses import replace
from typing import cast

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import Message as RawMessage
from kafka_desk import Broker

from streamfilter.errors import ConfigurationInvalid, TransportFailed
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.statistics import Statistics
from streamfilter.records import Origin, Output


def output(topic: str, value: bytes | None = b"v", *, offset: int = 0) -> Output:
    key = str(offset).encode()
    return Output(Origin("in", 0, offset), topic, value, key, (("h", b"1"), ("h", None)))


def keep_sending(sink: KafkaSink, output: Output, said: "Acknowledged") -> None:
    """For 20 s at most."""
    for _ in range(200):
        sink.send(output, said)
        sink.poll(0.1)


class Acknowledged:
    """Collects what the sink says of outputs."""

    def __init__(self) -> None:
        self.fine: list[int] = []
        self.refused: list[tuple[int, str]] = []

    def __call__(self, output: Output, error: Undeliverable | None) -> None:
        if error is None:
            self.fine.append(output.origin.offset)
        else:
            self.refused.append((output.origin.offset, error.detail))


def test_an_output_arrives_with_its_key_headers_and_value(broker: Broker) -> None:
    """A repeated header, one without value, and a tombstone are kept."""
    topic, said = broker.topic(), Acknowledged()
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap})
    sink.send(output(topic), said)
    sink.send(output(topic, None, offset=1), said)
    assert 0 == sink.flush(30.0)
    sink.close()
    assert [0, 1] == said.fine
    found = [(message.value, message.key, message.headers) for message in broker.read(topic)]
    headers = (("h", b"1"), ("h", None))
    assert [(b"v", b"0", headers), (None, b"1", headers)] == found


def test_a_full_queue_holds_the_sender_back_and_loses_nothing(broker: Broker) -> None:
    """Ten times more messages than the queue has room for all arrive, in order."""
    topic, said = broker.topic(), Acknowledged()
    room = {"queue.buffering.max.messages": 20}
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap, **room})
    for offset in range(200):
        sink.send(output(topic, b"x" * 1000, offset=offset), said)
    assert 0 == sink.flush(30.0)
    sink.close()
    assert list(range(200)) == said.fine
    assert [str(offset).encode() for offset in range(200)] == [m.key for m in broker.read(topic)]


@pytest.mark.parametrize("size", [5_000, 30 * 2**20], ids=["by the topic", "by the client"])
def test_a_message_that_is_too_large_is_a_value_and_the_others_arrive(
    broker: Broker, size: int
) -> None:
    """Neither the broker's limit nor the client's stops the stream."""
    topic, said = broker.topic(max_message_bytes="2000"), Acknowledged()
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap, "compression.type": "none"})
    for offset, value in enumerate([b"a", b"x" * size, b"b"]):
        sink.send(output(topic, value, offset=offset), said)
        sink.flush(30.0)
    sink.close()
    assert ([0, 2], [1]) == (said.fine, [offset for offset, _ in said.refused])
    assert f"{topic} does not take {size + 1} bytes" in said.refused[0][1]
    assert [b"a", b"b"] == [message.value for message in broker.read(topic)]


def test_a_batch_that_is_too_large_is_sent_again_one_by_one(broker: Broker) -> None:
    """The broker refuses a batch as a whole: only what is too large by itself is a value."""
    topic, said = broker.topic(max_message_bytes="1000"), Acknowledged()
    settings: dict[str, str | int] = {"linger.ms": 100, "compression.type": "none"}
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap, **settings})
    for offset in range(20):
        sink.send(output(topic, b"x" * (2000 if offset == 7 else 200), offset=offset), said)
    assert 0 == sink.flush(30.0)
    sink.close()
    fine = sorted({*range(20)} - {7})
    assert (fine, [7]) == (sorted(said.fine), [offset for offset, _ in said.refused])
    assert fine == sorted(int(message.key or b"") for message in broker.read(topic))


def test_what_shares_a_batch_with_what_is_refused_arrives(broker: Broker) -> None:
    """A compacted topic takes nothing without a key, and refuses a batch as a whole."""
    topic, said = broker.topic(cleanup_policy="compact"), Acknowledged()
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap, "linger.ms": 100})
    for offset in range(5):
        one = output(topic, offset=offset)
        sink.send(replace(one, key=None) if offset == 3 else one, said)
    assert 0 == sink.flush(30.0)
    sink.close()
    assert ([0, 1, 2, 4], [3]) == (sorted(said.fine), [offset for offset, _ in said.refused])
    assert [b"0", b"1", b"2", b"4"] == sorted(message.key or b"" for message in broker.read(topic))


def test_an_output_whose_batch_failed_for_another_is_sent_alone(broker: Broker) -> None:
    """The client reports it by a code of its own, before or after the one that is to blame."""
    topic, said = broker.topic(), Acknowledged()
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap})
    of_another = KafkaError(KafkaError._INVALID_DIFFERENT_RECORD)
    one = output(topic)
    sink._delivered(sink._producer, one, said, False, of_another, cast("RawMessage", None))
    assert 0 == sink.flush(30.0)
    sink.close()
    assert ([0], []) == (said.fine, said.refused)
    assert [b"0"] == [message.key for message in broker.read(topic)]


def test_a_topic_that_is_not_there_stops_the_service(broker: Broker) -> None:
    """The failure names the topic and what creates it; no output is called delivered."""
    said = Acknowledged()
    settings = {"topic.metadata.propagation.max.ms": 500}
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap, **settings})
    with pytest.raises(TransportFailed, match=r"nowhere.*streamfilter topics create"):
        keep_sending(sink, output("nowhere"), said)
    sink.close()
    assert ([], []) == (said.fine, said.refused)


def test_a_time_that_the_broker_does_not_take_names_the_clock(broker: Broker) -> None:
    """Brokers refuse what is stamped an hour ahead; here what is not of this very millisecond."""
    topic = broker.topic(message_timestamp_before_max_ms="0")
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap})
    with pytest.raises(TransportFailed, match="set this machine's clock"):
        keep_sending(sink, output(topic), Acknowledged())
    sink.close()


def test_a_broker_that_stays_away_stops_the_service() -> None:
    """After delivery.timeout.ms the sink raises instead of calling the output delivered."""
    said = Acknowledged()
    sink = KafkaSink({"bootstrap.servers": "127.0.0.1:1", "delivery.timeout.ms": 300})
    sink.send(output("t"), said)
    with pytest.raises(TransportFailed, match="see that the broker is up"):
        sink.flush(10.0)
    sink.close()
    assert ([], []) == (said.fine, said.refused)


def test_no_room_within_the_time_given_is_a_failure() -> None:
    """A drain with a deadline does not wait for a broker that is away."""
    settings: dict[str, str | int] = {"bootstrap.servers": "127.0.0.1:1"}
    sink = KafkaSink({**settings, "queue.buffering.max.messages": 1})
    sink.send(output("t"), Acknowledged())
    with pytest.raises(TransportFailed, match=r"no room .* within 0\.2 s"):
        sink.send(output("t"), Acknowledged(), timeout_s=0.2)
    sink.close()


def test_outputs_of_an_outage_arrive_once_the_broker_is_back(private_broker: Broker) -> None:
    """A restart of the broker is waited for; each output stands there exactly once."""
    assert private_broker.node is not None
    topic, said = private_broker.topic(), Acknowledged()
    settings = {"reconnect.backoff.max.ms": 500}
    sink = KafkaSink({"bootstrap.servers": private_broker.bootstrap, **settings})
    for offset in range(100):
        if offset == 50:
            private_broker.node.kill()
        sink.send(output(topic, offset=offset), said)
        sink.poll(0.001)
    private_broker.node.start()
    assert 0 == sink.flush(60.0)
    sink.close()
    assert sorted(said.fine) == list(range(100))
    assert set(private_broker.counts(topic).values()) == {1}


def test_statistics_reach_the_service(broker: Broker) -> None:
    """The broker is up, and its round trip is known once something was sent."""
    topic, seen = broker.topic(), list[Statistics]()
    sink = KafkaSink(
        {"bootstrap.servers": broker.bootstrap, "statistics.interval.ms": 100},
        on_statistics=seen.append,
    )
    end = time.monotonic() + 20.0
    while time.monotonic() < end and not any(b.rtt_s for s in seen for b in s.brokers):
        sink.send(output(topic), Acknowledged())
        sink.poll(0.05)
    sink.close()
    assert [True] == [health.up for health in seen[-1].brokers]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"enable.idempotence": False}, "'enable.idempotence' is 'false'"),
        ({"acks": 1}, "'acks' is '1'"),
        ({"delivery.report.only.error": "True"}, "delivery.report.only.error"),
        ({"linger.millis": 5}, 'No such configuration property: "linger.millis"'),
        ({"compression.type": "rar"}, "Invalid value"),
        ({"error_cb": "x"}, "error_cb"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    settings: dict[str, str | int | float | bool], named: str
) -> None:
    """What would lose outputs, and what librdkafka does not know, does not start."""
    with pytest.raises(ConfigurationInvalid, match=named):
        KafkaSink({"bootstrap.servers": "127.0.0.1:1", **settings})


def test_a_sink_without_an_address_is_refused() -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationInvalid, match=r"bootstrap\.servers"):
        KafkaSink({})


def test_where_the_clock_is_refused_outputs_carry_their_inputs_times(broker: Broker) -> None:
    """A broker refuses times over an hour ahead; here it refuses all but those to come."""
    topic, said = broker.topic(message_timestamp_before_max_ms="1"), Acknowledged()
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap})
    own_ms = time.time_ns() // 1_000_000 + 600_000
    for offset in range(3):
        sink.send(replace(output(topic, offset=offset), message_ms=own_ms + offset), said)
        assert 0 == sink.flush(30.0)
    sink.close()
    assert [0, 1, 2] == said.fine
    assert [own_ms, own_ms + 1, own_ms + 2] == [m.timestamp_ms for m in broker.read(topic)]


def test_where_the_input_has_no_time_either_the_clock_is_to_be_set(broker: Broker) -> None:
    """The worker ends, and says so."""
    topic, said = broker.topic(message_timestamp_before_max_ms="1"), Acknowledged()
    sink = KafkaSink({"bootstrap.servers": broker.bootstrap})
    with pytest.raises(TransportFailed, match="set this machine's clock"):
        keep_sending(sink, output(topic), said)
    sink.close()
    assert [] == said.fine
