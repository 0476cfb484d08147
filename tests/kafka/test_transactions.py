"""Outputs and offsets of a transaction become visible together on a real Kafka, or never."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from joined_source import joined
from kafka_desk import Broker

from streamfilter.errors import ConfigurationInvalid, TransactionAborted, TransportFailed
from streamfilter.kafka import reader
from streamfilter.kafka.ledger import Place
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.transactions import TransactionalSink
from streamfilter.records import Origin, Output


def output(topic: str, value: bytes = b"v", offset: int = 0) -> Output:
    return Output(Origin("in", 0, offset), topic, value, b"%d" % offset)


def sink(broker: Broker, name: str, **settings: str | int) -> TransactionalSink:
    given = {key.replace("_", "."): value for key, value in settings.items()}
    made = TransactionalSink(
        {"bootstrap.servers": broker.bootstrap, **given}, transactional_id=name, timeout_s=10
    )
    until(made.open)
    return made


def until(condition: Callable[[], object]) -> None:
    """For 30 s at most."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end


@contextmanager
def member(broker: Broker, topic: str, group: str) -> Iterator[KafkaSource]:
    """A worker's consumer that has its partitions."""
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": group}
    made = joined(settings, [topic])
    until(lambda: made.poll(1, 0.1) or made.assigned)
    yield made
    made.close()


def shown(broker: Broker, topic: str) -> list[bytes | None]:
    """Values that our own reader shows; it does not wait for an open transaction."""
    found = reader.read_topic({"bootstrap.servers": broker.bootstrap}, topic)
    return [message.value for message in found]


def committed(made: TransactionalSink, outputs: list[Output]) -> bool:
    """Whether a transaction with these was committed; it is aborted otherwise."""
    made.begin()
    try:
        for each in outputs:
            made.send(each)
        made.commit()
    except TransactionAborted:
        made.abort()
        return False
    return True


def test_outputs_and_offsets_are_there_once_it_is_committed(broker: Broker) -> None:
    """Not before; what is kept beside the offset comes back with it."""
    alerts, out = broker.topic(), broker.topic()
    broker.produce(alerts, [b"a", b"b"])
    made = sink(broker, f"id-{out}")
    with member(broker, alerts, f"g-{out}") as source:
        made.begin()
        assert made.send(output(out)) is None
        made.offsets({(alerts, 0): Place(2, "1:note")}, source.membership())
        assert ([], {}) == (shown(broker, out), broker.committed(f"g-{out}", alerts))
        made.commit()
        assert {(alerts, 0): Place(2, "1:note")} == source.committed([(alerts, 0)])
    assert ([b"v"], {0: 2}) == (shown(broker, out), broker.committed(f"g-{out}", alerts))


def test_what_is_aborted_was_never_said(broker: Broker) -> None:
    """A later transaction of the same producer is seen alone."""
    out = broker.topic()
    made = sink(broker, f"id-{out}")
    for value, end in ((b"thrown away", made.abort), (b"kept", made.commit)):
        made.begin()
        made.send(output(out, value))
        end()
    assert [b"kept"] == shown(broker, out)


class KnownToNoBroker:
    """A producer whose transaction was lost with its broker, which then has none to abort."""

    def __init__(self, real: Producer) -> None:
        self.real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def abort_transaction(self, timeout: float) -> None:
        raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE, fatal=True))


def test_a_transaction_that_no_broker_knows_is_over(broker: Broker) -> None:
    """Brokers that are killed and come back answer so; a new producer goes on under the name."""
    out = broker.topic()
    made = sink(broker, f"id-{out}")
    made.begin()
    made.send(output(out, b"thrown away"))
    made._producer = cast("Producer", KnownToNoBroker(made._producer))
    made.abort()
    assert committed(made, [output(out, b"kept")])
    assert [b"kept"] == shown(broker, out)


def test_a_commit_that_may_be_done_is_not_sent_again(broker: Broker) -> None:
    """The same answer after a commit ends the worker: the next reads on from what is committed."""
    out = broker.topic()
    made = sink(broker, f"id-{out}")
    assert committed(made, [output(out)])
    made._producer = cast("Producer", KnownToNoBroker(made._producer))
    with pytest.raises(TransportFailed, match="aborting"):
        made.abort()


def test_offsets_of_who_left_the_group_are_refused(broker: Broker) -> None:
    """The membership that a worker had is over: its transaction takes its outputs with it."""
    alerts, out = broker.topic(), broker.topic()
    made = sink(broker, f"id-{out}")
    with member(broker, alerts, f"g-{out}") as source:
        before = source.membership()
        assert before is not None
    assert source.membership() is None
    made.begin()
    made.send(output(out))
    with pytest.raises(TransactionAborted, match="sending offsets"):
        made.offsets({(alerts, 0): Place(2)}, before)
    made.abort()
    assert [] == shown(broker, out)


def test_the_next_of_a_name_fences_the_one_before(broker: Broker) -> None:
    """What that one left open is thrown away at once, and its failure says what to do."""
    out = broker.topic()
    first = sink(broker, f"id-{out}")
    first.begin()
    first.send(output(out, b"left open"))
    second = sink(broker, f"id-{out}")
    second.begin()
    second.send(output(out, b"next"))
    second.commit()
    with pytest.raises(TransportFailed, match=r"delivery\.transactional_id"):
        first.commit()
    assert [b"next"] == shown(broker, out)


def test_a_fenced_producer_that_only_sends_says_why(broker: Broker) -> None:
    """librdkafka then calls it a fatal error, and names it when it is polled."""
    out = broker.topic()
    first = sink(broker, f"id-{out}")
    first.begin()
    sink(broker, f"id-{out}").begin()

    def go_on() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            first.send(output(out, b"of before"))
            time.sleep(0.01)

    with pytest.raises(TransportFailed, match=r"delivery\.transactional_id"):
        go_on()
    assert [] == shown(broker, out)


def test_an_output_that_is_too_large_is_named_and_the_rest_goes_in_the_next(broker: Broker) -> None:
    """The broker refuses its whole batch; sent alone, only the output itself is refused."""
    out = broker.topic(max_message_bytes="1000")
    made = sink(broker, f"id-{out}", linger_ms=50, compression_type="none")
    outputs = [output(out, b"x" * (2000 if n == 3 else 100), n) for n in range(6)]
    made.begin()
    for each in outputs:
        made.send(each)
    with pytest.raises(TransactionAborted):
        made.commit()
    assert outputs[3] in made.refused
    made.abort()
    made.begin()
    with pytest.raises(TransactionAborted):
        made.send_alone(outputs[3])
    assert [outputs[3]] == list(made.refused)
    made.abort()
    # librdkafka needs one more to number its messages anew.
    rest = outputs[:3] + outputs[4:]
    assert committed(made, rest) or committed(made, rest)
    assert 5 == len(shown(broker, out))


def test_what_the_client_refuses_does_not_hurt_the_transaction(broker: Broker) -> None:
    """The refusal is returned at once, and the other outputs are committed."""
    out = broker.topic()
    made = sink(broker, f"id-{out}", message_max_bytes=2000)
    made.begin()
    refusal = made.send(output(out, b"x" * 3000))
    assert refusal is not None
    assert "does not take 3001 bytes" in refusal.detail
    made.send(output(out, b"small"))
    made.commit()
    assert [b"small"] == shown(broker, out)


def test_an_output_topic_that_is_not_there_stops_the_service(broker: Broker) -> None:
    """The failure says how to create the topic: sending again would not help."""
    made = sink(broker, f"id-{broker.topic()}", topic_metadata_propagation_max_ms=500)
    made.begin()
    made.send(output("nowhere"))
    with pytest.raises(TransportFailed, match="streamfilter topics create"):
        made.commit()


def test_a_time_out_that_brokers_do_not_allow_is_a_failure_that_names_it(broker: Broker) -> None:
    """Brokers allow at most a quarter of an hour."""
    made = TransactionalSink(
        {"bootstrap.servers": broker.bootstrap}, transactional_id="long", timeout_s=3600
    )
    with pytest.raises(TransportFailed, match=r"delivery\.transaction_timeout_s"):
        until(made.open)


def test_a_producer_that_could_lose_outputs_is_refused() -> None:
    """The same settings are refused as without transactions."""
    settings: dict[str, str | int] = {"bootstrap.servers": "127.0.0.1:1", "acks": 1}
    with pytest.raises(ConfigurationInvalid, match="'acks' is '1'"):
        TransactionalSink(settings, transactional_id="x", timeout_s=10)


@pytest.mark.parametrize("count", [1, 2])
def test_where_the_clock_is_refused_the_next_transaction_has_the_inputs_times(
    broker: Broker, count: int
) -> None:
    """A broker refuses times over an hour ahead; here it refuses all but those to come."""
    topic = broker.topic(message_timestamp_before_max_ms="1")
    made = sink(broker, topic)
    own_ms = time.time_ns() // 1_000_000 + 600_000
    outputs = [replace(output(topic, b"%d" % n), message_ms=own_ms + n) for n in range(2)]
    assert [False, True] == [committed(made, outputs[:count]) for _ in range(2)]
    made.close()
    found = reader.read_topic({"bootstrap.servers": broker.bootstrap}, topic)
    assert [own_ms + n for n in range(count)] == [message.timestamp_ms for message in found]
