"""Names and passwords pass through to librdkafka, and a wrong one is a clear failure."""

import time

import pytest
from joined_source import joined
from kafka_desk import Broker

from streamfilter.errors import TransportFailed
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.topics import missing
from streamfilter.records import Message, Origin, Output

WRONG = r"password|credentials|sasl\.password"


def settings(broker: Broker, password: str) -> dict[str, str | int]:
    if not broker.sasl_bootstrap:
        pytest.skip("STREAMFILTER_TEST_BOOTSTRAP names a broker of which no password is known")
    return {
        "bootstrap.servers": broker.sasl_bootstrap,
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "sasl.username": "filter", "sasl.password": password, "group.id": "with-credentials",
    }  # fmt: skip


def read_one(source: KafkaSource) -> Message:
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        for message in source.poll(1, 0.2):
            return message
    raise TimeoutError("no message came")


def send_one(sink: KafkaSink, topic: str) -> list[Undeliverable | None]:
    said: list[Undeliverable | None] = []
    output = Output(Origin("in", 0, 0), topic, b"v")
    sink.send(output, lambda _, error: said.append(error))
    end = time.monotonic() + 30.0
    while not said and time.monotonic() < end:
        sink.poll(0.2)
    return said


def test_the_right_password_opens_the_broker(broker: Broker) -> None:
    """Sink and source work over SASL."""
    topic, client = broker.topic(), settings(broker, "right")
    sink, source = KafkaSink(client), joined(client, [topic])
    assert [None] == send_one(sink, topic)
    assert b"v" == read_one(source).value
    source.close()
    sink.close()


def test_a_wrong_password_stops_the_source(broker: Broker) -> None:
    """librdkafka would try for ever; the service says what to check."""
    source = joined(settings(broker, "wrong"), [broker.topic()])
    with pytest.raises(TransportFailed, match=WRONG):
        read_one(source)
    with pytest.raises(TransportFailed):
        source.close()


def test_a_wrong_password_stops_the_sink(broker: Broker) -> None:
    """No output is called delivered."""
    sink = KafkaSink(settings(broker, "wrong"))
    with pytest.raises(TransportFailed, match=WRONG):
        send_one(sink, broker.topic())
    sink.close()


def test_a_wrong_password_is_told_before_the_time_is_up(broker: Broker) -> None:
    """Asking for topics does not wait for the whole time-out."""
    begin = time.monotonic()
    with pytest.raises(TransportFailed, match=WRONG):
        missing(settings(broker, "wrong"), ["t"], timeout_s=25.0)
    assert time.monotonic() - begin < 15.0
