"""Parcels in transactions, over a producer in memory that can fail where librdkafka does."""

import threading
from collections.abc import Mapping
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from streamfilter.config import Delivery as Rules
from streamfilter.errors import TransactionAborted, TransportFailed
from streamfilter.kafka.ledger import Ledger, Partition, Place
from streamfilter.kafka.sink import Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.transactions import TransactionalSink
from streamfilter.metrics.kafka import TransactionMetrics
from streamfilter.records import Origin, Output
from streamfilter.service.delivery.exactly_once import ExactlyOnce
from streamfilter.service.delivery.parcel import Parcel

P0, P1 = ("alerts", 0), ("alerts", 1)


class MemoryTransactions:
    """What is committed is kept; outputs over a size are refused, with their batch or alone."""

    def __init__(self, largest: int = 100, fail: dict[str, list[Exception]] | None = None) -> None:
        self.committed: list[Output] = []
        self.places: dict[Partition, Place] = {}
        self.aborts = 0
        self.refused: dict[Output, Undeliverable] = {}
        self._largest, self._fail = largest, fail or {}
        self._open: list[Output] = []
        self._places: Mapping[Partition, Place] = {}

    def open(self) -> bool:
        return True

    def poll(self) -> None: ...

    def close(self) -> None: ...

    def begin(self) -> None:
        self._open, self.refused = [], {}

    def send(self, output: Output) -> Undeliverable | None:
        self._open.append(output)
        return None

    def send_alone(self, output: Output) -> Undeliverable | None:
        if self._large(output):
            self.refused = {output: Undeliverable("too large")}
            raise TransactionAborted("too large")
        return self.send(output)

    def offsets(self, places: Mapping[Partition, Place], membership: object) -> None:
        assert membership == "member"
        self._step("offsets")
        self._places = places

    def commit(self) -> None:
        self._step("commit")
        if any(self._large(each) for each in self._open):
            self.refused = {each: Undeliverable("too large") for each in self._open}
            raise TransactionAborted("too large")
        self.committed += self._open
        self.places |= self._places

    def abort(self) -> None:
        self.aborts += 1

    def _large(self, output: Output) -> bool:
        return len(output.value or b"") > self._largest

    def _step(self, name: str) -> None:
        if errors := self._fail.get(name):
            raise errors.pop(0)


class Member:
    """A source that is a member of its group, until told otherwise."""

    def __init__(self) -> None:
        self.member: str | None = "member"
        self.offsets: dict[Partition, int] = {}

    def membership(self) -> str | None:
        return self.member

    def note_committed(self, offsets: dict[Partition, int]) -> None:
        self.offsets |= offsets


class Desk:
    """A delivery, its ledger, and what became of parcels."""

    def __init__(self, sink: MemoryTransactions, most: int = 500) -> None:
        self.sink, self.ledger, self.member = sink, Ledger(), Member()
        self.registry = CollectorRegistry()
        self.delivered: list[int] = []
        self.dropped: list[int] = []
        self.delivery = ExactlyOnce(
            cast("TransactionalSink", sink),
            self.ledger,
            Rules(max_gather_s=0.001, max_transaction_messages=most),
            TransactionMetrics(self.registry, "t"),
        )
        self.attend()

    def attend(self) -> None:
        self.delivery.attend(cast("KafkaSource", self.member))

    def parcel(self, offset: int, value: bytes = b"v", partition: Partition = P0) -> Parcel:
        """One message with one output, read now."""
        origin = Origin(*partition, offset)
        return Parcel(
            [Output(origin, "out", value)],
            {origin: self.ledger.track(origin)},
            (origin,),
            instead=lambda output, _: Output(output.origin, "rejected", None),
            delivered=lambda _: self._delivered(origin),
            dropped=lambda _: self.dropped.append(offset),
        )

    def _delivered(self, origin: Origin) -> None:
        self.ledger.settle(origin)
        self.delivered.append(origin.offset)

    def send(self, *parcels: Parcel) -> None:
        for each in parcels:
            self.delivery.send(each)

    def serve(self, times: int = 1) -> None:
        for _ in range(times):
            self.delivery.serve(0.01)

    def aborted(self) -> float:
        return self.registry.get_sample_value("t_transactions_total", {"result": "aborted"}) or 0.0


def test_a_transaction_has_all_that_is_queued_and_the_offsets_after_it() -> None:
    """Each partition goes on behind its last message; then they are delivered."""
    desk = Desk(MemoryTransactions())
    desk.send(desk.parcel(5), desk.parcel(6), desk.parcel(9, partition=P1))
    desk.serve()
    assert {P0: Place(7), P1: Place(10)} == desk.sink.places
    assert [5, 6, 9] == desk.delivered
    assert 0 == desk.delivery.flush(0)


def test_a_transaction_has_no_more_messages_than_allowed() -> None:
    """The rest is the next one's."""
    desk = Desk(MemoryTransactions(), most=2)
    desk.send(*(desk.parcel(n) for n in range(3)))
    desk.serve()
    assert ({P0: Place(2)}, 1) == (desk.sink.places, desk.delivery.flush(0))
    desk.serve()
    assert {P0: Place(3)} == desk.sink.places


@pytest.mark.parametrize("step", ["offsets", "commit"])
def test_what_is_aborted_goes_out_in_the_next_transaction(step: str) -> None:
    """Nothing is delivered before, and nothing is committed twice."""
    desk = Desk(MemoryTransactions(fail={step: [TransactionAborted("a rebalance")]}))
    desk.send(desk.parcel(5), desk.parcel(6))
    desk.serve()
    assert ([], 1, 1) == (desk.delivered, desk.sink.aborts, desk.aborted())
    desk.serve()
    assert [5, 6] == desk.delivered == [each.origin.offset for each in desk.sink.committed]


def test_a_partition_that_goes_takes_its_parcels_alone() -> None:
    """Between an abort and the next transaction: the next owner publishes them."""
    desk = Desk(MemoryTransactions(fail={"commit": [TransactionAborted("a rebalance")]}))
    desk.send(desk.parcel(5), desk.parcel(9, partition=P1))
    desk.serve()
    desk.ledger.forget([P0])
    desk.serve()
    assert ([9], [5], {P1: Place(10)}) == (desk.delivered, desk.dropped, desk.sink.places)


def test_a_partition_that_went_and_came_back_is_read_again() -> None:
    """What was read in its former life is dropped, though its offset is read again by now."""
    desk = Desk(MemoryTransactions())
    old = desk.parcel(5)
    desk.ledger.forget([P0])
    new = desk.parcel(5)
    desk.send(old, new)
    desk.serve()
    assert ([5], [5], 1) == (desk.dropped, desk.delivered, len(desk.sink.committed))


def test_out_of_the_group_nothing_is_committed() -> None:
    """A broker would take offsets from who names no generation."""
    desk = Desk(MemoryTransactions())
    desk.member.member = None
    desk.attend()
    desk.send(desk.parcel(5))
    desk.serve(3)
    assert ([], 1) == (desk.sink.committed, desk.delivery.flush(0))
    desk.member.member = "member"
    desk.attend()
    desk.serve()
    assert [5] == desk.delivered


def test_an_output_that_is_too_large_is_found_among_the_others() -> None:
    """A batch is refused as a whole: the others are published, it gives way to its answer."""
    desk = Desk(MemoryTransactions(largest=10))
    desk.send(desk.parcel(5), desk.parcel(6, b"x" * 20), desk.parcel(7))
    desk.serve(3)
    assert [("out", 5), ("rejected", 6), ("out", 7)] == [
        (each.topic, each.origin.offset) for each in desk.sink.committed
    ]
    assert ({P0: Place(8)}, 2) == (desk.sink.places, desk.aborted())


def test_the_only_output_of_a_topic_that_is_refused_was_alone() -> None:
    """It is answered without another abort."""
    desk = Desk(MemoryTransactions(largest=10))
    desk.send(desk.parcel(6, b"x" * 20))
    desk.serve(2)
    assert (["rejected"], 1) == ([each.topic for each in desk.sink.committed], desk.aborted())


def test_a_message_that_can_have_no_answer_ends_the_delivery() -> None:
    """Nothing of its transaction is visible, nor are the offsets of the others in it."""
    desk = Desk(MemoryTransactions())

    def none(output: Output, refusal: Undeliverable) -> Output | None:
        raise TransportFailed("no answer")

    good, bad = desk.parcel(0), desk.parcel(1, b"x" * 200)
    bad.instead = none
    desk.send(good, bad)
    with pytest.raises(TransportFailed, match="no answer"):
        desk.serve(5)
    assert ([], {}) == (desk.sink.committed, desk.sink.places)


def test_a_producer_that_is_fenced_ends_the_delivery() -> None:
    """Its transaction is thrown away, and nothing of it is delivered."""
    desk = Desk(MemoryTransactions(fail={"commit": [TransportFailed("fenced")]}))
    desk.send(desk.parcel(5))
    with pytest.raises(TransportFailed, match="fenced"):
        desk.serve()
    assert ([], {}, 1) == (desk.delivered, desk.sink.places, desk.sink.aborts)


def test_parcels_sent_by_many_threads_are_each_committed_once() -> None:
    """The queue is the only place where threads meet."""
    desk = Desk(MemoryTransactions())
    parcels = [[desk.parcel(n) for n in range(k, 200, 4)] for k in range(4)]
    threads = [threading.Thread(target=desk.send, args=each) for each in parcels]
    for thread in threads:
        thread.start()
    while len(desk.delivered) < 200:
        desk.serve()
    for thread in threads:
        thread.join()
    assert list(range(200)) == sorted(desk.delivered)
    assert {P0: Place(200)} == desk.sink.places
