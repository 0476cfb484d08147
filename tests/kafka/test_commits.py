"""What is committed behind the marks of transactions: a position, once nothing is left."""

import time

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Position
from joined_source import joined
from kafka_desk import Broker

from streamfilter.kafka.commits import Commits
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.statistics import Statistics

P = ("alerts", 0)
PATIENCE_S = 60.0


def at(offset: int) -> list[Position]:
    return [Position(*P, offset)]


def test_a_position_behind_a_mark_is_committed_once() -> None:
    """All that was taken is settled, and the client stands one further."""
    commits = Commits()
    commits.taken(at(-1001))
    commits.read(P, 2)
    assert {P: 4} == commits.behind_marks({P: 3}, at(4))
    assert {} == commits.behind_marks({P: 3}, at(4))


@pytest.mark.parametrize("settled", [{}, {P: 2}])
def test_what_was_taken_and_is_not_settled_is_not_passed(
    settled: dict[tuple[str, int], int],
) -> None:
    """It may not even be in the books yet."""
    commits = Commits()
    commits.taken(at(-1001))
    commits.read(P, 2)
    assert {} == commits.behind_marks(settled, at(4))


def test_where_the_client_stood_before_the_partition_came_back_says_nothing() -> None:
    """Another worker has read further meanwhile."""
    commits = Commits()
    commits.taken(at(4))
    assert {} == commits.behind_marks({}, at(4))
    assert {P: 11} == commits.behind_marks({}, at(11))


def test_a_partition_that_is_read_anew_begins_where_it_was_placed() -> None:
    """Retention took all that was left: the group would be told of it at every start."""
    commits = Commits()
    commits.read(P, 2)
    commits.taken(at(3))
    commits.begun(P, 150, commit=False)
    assert {P: 150} == commits.behind_marks({P: 3}, at(3))


@pytest.mark.parametrize("read_before", [True, False])
def test_lag_is_0_behind_a_transactional_producer(broker: Broker, read_before: bool) -> None:
    """Also of the worker that comes when only a mark is left, and where a transaction aborted."""
    topic = broker.topic(2)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for partition, good in ((0, True), (1, True), (1, False)):
        producer.begin_transaction()
        producer.produce(topic, b"v", partition=partition)
        producer.flush(30)
        (producer.commit_transaction if good else producer.abort_transaction)(30)
    seen: list[Statistics] = []
    settings: dict[str, str | int] = {
        "bootstrap.servers": broker.bootstrap, "group.id": topic, "statistics.interval.ms": 200,
    }  # fmt: skip
    source, ledger = joined(settings, [topic], on_statistics=seen.append), Ledger()
    read = 0
    if not read_before:  # by a worker that knew nothing of marks
        while read < 2:
            read += len(source.poll(10, 0.1))
        source.commit({(topic, 0): 1, (topic, 1): 1}, wait=True)
        source.close()
        source = joined(settings, [topic], on_statistics=seen.append)
    end = time.monotonic() + PATIENCE_S
    none = {(topic, 0): 0, (topic, 1): 0}
    while not seen or none != seen[-1].lag:
        assert time.monotonic() < end, seen[-1:]
        for message in source.poll(10, 0.1):
            ledger.track(message.origin)
            ledger.settle(message.origin)
        offsets = ledger.committable()
        source.commit(offsets | source.behind_marks(ledger.settled()), wait=True)
        ledger.committed(offsets)
    source.close()
    assert {0: 2, 1: 4} == broker.committed(topic, topic)
