"""What was given works, or the message names what was given: every pair that librdkafka checks."""

from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka import consumer_settings, properties, reader, sink, transactions
from streamfilter.kafka.client import merged
from streamfilter.kafka.properties import CONSUMER, PRODUCER, TRANSACTIONS, Kind, fitted
from streamfilter.kafka.sink import KafkaSink
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.transactions import TransactionalSink

QUIET: dict[str, str | int] = {"bootstrap.servers": "", "log_level": 0}
OF_CONSUMERS = {
    "message.max.bytes": (41_943_040, 16_777_217, 16_777_216, 1_000_000_000, 1000),
    "fetch.max.bytes": (1000, 60_000_000, 2_000_000_000),
    "receive.message.max.bytes": (10_000, 10_000_000, 1_000_000_000),
    "max.partition.fetch.bytes": (41_943_040, 1_000_000_000),
    "fetch.message.max.bytes": (41_943_040,),
    "session.timeout.ms": (600_000, 6_000, 2_000),
    "heartbeat.interval.ms": (1_000, 60_000),
    "max.poll.interval.ms": (10_000, 3_600_000),
    "reconnect.backoff.ms": (20_000,),
    "reconnect.backoff.max.ms": (50,),
    "queued.max.messages.kbytes": (1, 2_097_151),
    "fetch.queue.backoff.ms": (5_000,),
    "group.protocol": ("consumer", "classic"),
    "partition.assignment.strategy": ("range", "cooperative-sticky"),
}
OF_PRODUCERS = {
    "message.max.bytes": (100_000_000, 1_000_000_000, 1000),
    "queue.buffering.max.kbytes": (100, 2_000, 1_000_000),
    "linger.ms": (0, 1_000),
    "queue.buffering.max.ms": (10,),
    "delivery.timeout.ms": (1, 10_000),
    "message.timeout.ms": (1, 10_000),
    "reconnect.backoff.ms": (20_000,),
    "retry.backoff.ms": (1, 5_000),
    "retry.backoff.max.ms": (2,),
    "socket.timeout.ms": (10_000,),
    "max.in.flight": (1, 5),
    "retries": (1,),
    "batch.size": (10_000_000,),
    "compression.codec": ("zstd",),
}


def pairs(table: Mapping[str, tuple[Any, ...]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, values in table.items() for value in values]


@pytest.mark.parametrize(("key", "value"), pairs(OF_CONSUMERS))
def test_a_consumer_takes_what_is_right_for_kafka(key: str, value: Any) -> None:
    """Our defaults give way: nobody has to know of a property that they never set."""
    KafkaSource({**QUIET, "group.id": "g", key: value}, ["a"]).close()
    ready = merged(consumer_settings.DEFAULTS, {**QUIET, "group.id": "g", key: value}, (), CONSUMER)
    assert str(value) == ready[key]


@pytest.mark.parametrize(("key", "value"), pairs(OF_PRODUCERS))
def test_a_producer_takes_what_is_right_for_kafka(key: str, value: Any) -> None:
    """At least once and in transactions."""
    KafkaSink({**QUIET, key: value}).close()
    TransactionalSink({**QUIET, key: value}, transactional_id="t", timeout_s=30).close()
    assert str(value) == merged(sink.DEFAULTS, {**QUIET, key: value}, (), PRODUCER)[key]


@pytest.mark.parametrize("seconds", [1.0, 30.0, 900.0])
def test_a_transaction_may_be_short_or_long(seconds: float) -> None:
    """Its outputs are not tried for longer than it lives."""
    TransactionalSink(QUIET, transactional_id="t", timeout_s=seconds).close()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"message.max.bytes": 41_943_040}, {"fetch.max.bytes": 41_943_040}),
        ({"message.max.bytes": 1000}, {"fetch.max.bytes": 4 * 2**20}),
        ({"fetch.max.bytes": 1000}, {"message.max.bytes": 1000}),
        (
            {"message.max.bytes": 200_000_000},
            {"fetch.max.bytes": 200_000_000, "receive.message.max.bytes": 200_000_512},
        ),
        (
            {"receive.message.max.bytes": 500_512},
            {"fetch.max.bytes": 500_000, "message.max.bytes": 500_000},
        ),
        ({"session.timeout.ms": 600_000}, {"max.poll.interval.ms": 600_000}),
        ({"max.poll.interval.ms": 10_000}, {"session.timeout.ms": 10_000}),
        (
            {"max.poll.interval.ms": 3_000},
            {"session.timeout.ms": 3_000, "heartbeat.interval.ms": 999},
        ),
    ],
)
def test_a_default_gives_way_and_no_further_than_it_must(
    given: dict[str, int], used: dict[str, int]
) -> None:
    """What was given stays; what follows from it is derived, also from librdkafka's own."""
    found = {**fitted(consumer_settings.DEFAULTS, given, CONSUMER), **given}
    assert {**used, **given} == {key: found[key] for key in {**used, **given}}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"message.max.bytes": 100_000_000}, {"queue.buffering.max.kbytes": 97_657}),
        ({"queue.buffering.max.kbytes": 2_000}, {"message.max.bytes": 2_048_000}),
        ({"delivery.timeout.ms": 3}, {"linger.ms": 2}),
        ({"message.timeout.ms": "3"}, {"linger.ms": 2}),
        ({"linger.ms": 400_000}, {"delivery.timeout.ms": 400_001}),
        ({"delivery.timeout.ms": 0}, {"linger.ms": 5}),
        ({"retry.backoff.ms": 5_000}, {"retry.backoff.max.ms": 5_000}),
    ],
)
def test_a_producer_s_default_gives_way(given: dict[str, Any], used: dict[str, int]) -> None:
    """An output larger than the queue would wait for room for ever; 0 is no time-out at all."""
    found = {**fitted(sink.DEFAULTS, given, PRODUCER), **given}
    assert used == {key: found[key] for key in used}


def test_an_alias_takes_the_place_of_our_default() -> None:
    """librdkafka would take whichever came last."""
    found = fitted(sink.DEFAULTS, {"message.timeout.ms": 1_000}, PRODUCER)
    assert "delivery.timeout.ms" not in found


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (CONSUMER, {"message.max.bytes": 2_000, "fetch.max.bytes": 1_000},
         "'fetch.max.bytes' and 'message.max.bytes' exclude each other: fetch.max.bytes is 1000, "
         "but must be at least 2000"),
        (CONSUMER, {"message.max.bytes": 40_000_000, "receive.message.max.bytes": 30_000_000},
         "'receive.message.max.bytes' and 'message.max.bytes' "),
        (CONSUMER, {"session.timeout.ms": 90_000, "max.poll.interval.ms": 60_000},
         "raise max.poll.interval.ms, or lower or remove session.timeout.ms"),
        (CONSUMER, {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 6_000},
         "'session.timeout.ms' and 'heartbeat.interval.ms' exclude"),
        (CONSUMER, {"group.protocol": "consumer", "session.timeout.ms": 30_000},
         "'session.timeout.ms' is 30000, but 'group.protocol' is 'consumer'"),
        (CONSUMER, {"group.protocol": "consumer", "heartbeat.interval.ms": 3_000},
         "group.consumer.heartbeat.interval.ms of the brokers"),
        (CONSUMER, {"group.protocol": "consumer", "partition.assignment.strategy": "range"},
         "'group.remote.assignor'"),
        (PRODUCER, {"linger.ms": 10, "message.timeout.ms": 10},
         "'message.timeout.ms' (that is 'delivery.timeout.ms' 10) and 'linger.ms'"),
        (PRODUCER, {"queue.buffering.max.kbytes": 1, "message.max.bytes": 2_000},
         "raise queue.buffering.max.kbytes"),
        (PRODUCER, {"max.in.flight": 10}, "'max.in.flight' is 10, but must be from 1 to 5"),
        (PRODUCER, {"retries": 0}, "'retries' is 0, but must be from 1"),
        (TRANSACTIONS, {"delivery.timeout.ms": 40_000},
         "raise delivery.transaction_timeout_s, or lower or remove delivery.timeout.ms"),
        (TRANSACTIONS, {"linger.ms": 60_000},
         "raise delivery.transaction_timeout_s, or lower or remove linger.ms"),
        (TRANSACTIONS, {"socket.timeout.ms": 60_000},
         "raise delivery.transaction_timeout_s, or lower or remove socket.timeout.ms"),
    ],
)  # fmt: skip
def test_values_that_exclude_each_other_are_named_as_they_were_given(
    kind: Kind, given: dict[str, Any], said: str
) -> None:
    """Both, with what to do; never a property that nobody set alone."""
    limits = {"transaction.timeout.ms": 30_000, "delivery.timeout.ms": 30_000}
    defaults = {
        "consumer": consumer_settings.DEFAULTS,
        "producer": {**transactions.DEFAULTS, **(limits if kind is TRANSACTIONS else {})},
    }[kind.name]
    with pytest.raises(ConfigurationInvalid) as refused:
        fitted(defaults, given, kind)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"Kafka {kind.name} settings: ")


def test_what_is_known_of_librdkafka_s_defaults_is_what_it_checks_against() -> None:
    """Each default stands beside the others of a table that librdkafka takes."""
    table = {k: str(round(v)) for k, v in properties._LIBRDKAFKA.items()}
    of_consumers = {o.larger for o in CONSUMER.orders} | {o.smaller for o in CONSUMER.orders}
    Consumer({**QUIET, "group.id": "g", **{k: table[k] for k in of_consumers}}).close()
    of_producers = {k: table[k] for k in set(table) - of_consumers}
    Producer({**QUIET, **of_producers}).flush(0)


@pytest.mark.parametrize("key", ["session.timeout.ms", "message.max.bytes", "fetch.max.bytes"])
def test_a_reader_takes_what_a_worker_takes(key: str) -> None:
    """`rejected` and `inspect` read with the settings of the worker."""
    consumer, _ = reader._consumer({**QUIET, key: 400_000_000 if "bytes" in key else 600_000})
    consumer.close()
