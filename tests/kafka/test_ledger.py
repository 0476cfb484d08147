"""The ledger lets nothing be committed before all that precedes it is settled."""

import random
from itertools import takewhile
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamfilter.kafka.ledger import Ledger
from streamfilter.records import Origin

P0, P1 = ("alerts", 0), ("alerts", 1)


def origin(offset: int, partition: int = 0) -> Origin:
    return Origin("alerts", partition, offset)


def tracked(*offsets: int) -> Ledger:
    ledger = Ledger()
    for offset in offsets:
        ledger.track(origin(offset))
    return ledger


def test_nothing_is_committable_before_the_first_message_is_settled() -> None:
    """A settled second message waits for the first."""
    ledger = tracked(10, 11)
    ledger.settle(origin(11))
    assert {} == ledger.committable()
    ledger.settle(origin(10))
    assert {P0: 12} == ledger.committable()


def test_gaps_between_offsets_are_no_obstacle() -> None:
    """Compaction and transaction markers leave offsets that nobody reads."""
    ledger = tracked(3, 7, 100)
    for offset in (7, 3):
        ledger.settle(origin(offset))
    assert {P0: 8} == ledger.committable()


def test_only_what_moved_since_the_last_mark_is_committable() -> None:
    """A quiet partition is not committed again."""
    ledger = tracked(0, 1)
    ledger.settle(origin(0))
    ledger.committed(ledger.committable())
    assert {} == ledger.committable()
    ledger.settle(origin(1))
    assert {P0: 2} == ledger.committable()


def test_outstanding_counts_what_is_not_settled_by_partition() -> None:
    """A drain waits for the partitions that are given up, not for the others."""
    ledger = tracked(0, 1, 2)
    ledger.track(origin(0, 1))
    ledger.settle(origin(1))
    assert (3, 2, 1) == (
        ledger.outstanding(), ledger.outstanding([P0]), ledger.outstanding([P1, ("other", 0)]),
    )  # fmt: skip


def test_a_late_settle_of_a_forgotten_partition_is_ignored() -> None:
    """A message that is settled after its partition was revoked changes nothing."""
    ledger = tracked(0, 1)
    ledger.settle(origin(0))
    ledger.forget([P0])
    ledger.settle(origin(1))
    ledger.committed({P0: 1})
    assert ({}, 0) == (ledger.committable(), ledger.outstanding())


def test_settling_twice_counts_once() -> None:
    """A message with a second, late acknowledgement leaves the count right."""
    ledger = tracked(0, 1)
    ledger.settle(origin(1))
    ledger.settle(origin(1))
    assert 1 == ledger.outstanding()


def test_a_message_read_again_while_outstanding_counts_once() -> None:
    """A rewind does not leave an entry that nobody settles."""
    ledger = tracked(0, 1, 0)
    ledger.settle(origin(0))
    ledger.settle(origin(1))
    assert ({P0: 2}, 0) == (ledger.committable(), ledger.outstanding())


def test_a_topic_that_starts_anew_is_committed_from_its_new_beginning() -> None:
    """Offsets go back when a topic was deleted and made again."""
    ledger = tracked(500)
    ledger.settle(origin(500))
    ledger.committed(ledger.committable())
    ledger.track(origin(0))
    ledger.settle(origin(0))
    assert {P0: 1} == ledger.committable()


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=60), st.randoms())
def test_the_committable_offset_is_never_beyond_an_unsettled_message(
    offsets: set[int], order: random.Random
) -> None:
    """In any order of settling, the slow rule (smallest unsettled offset) bounds the fast one."""
    ledger = tracked(*sorted(offsets))
    waiting = sorted(offsets)
    for offset in order.sample(waiting, len(waiting)):
        ledger.settle(origin(offset))
        waiting.remove(offset)
        done = [each for each in offsets if not waiting or each < waiting[0]]
        assert ({P0: max(done) + 1} if done else {}) == ledger.committable()
    assert 0 == ledger.outstanding()


@pytest.mark.parametrize("threads", [4])
def test_threads_settle_without_losing_a_message(threads: int) -> None:
    """Workers that settle at once leave the whole prefix committable."""
    ledger = tracked(*range(4000))

    def work(first: int) -> None:
        for offset in range(first, 4000, threads):
            ledger.settle(origin(offset))

    workers = [Thread(target=work, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert ({P0: 4000}, 0) == (ledger.committable(), ledger.outstanding())


class Books(RuleBasedStateMachine):
    """A ledger beside the plainest book there is: what was read, what is settled."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.read: dict[int, list[int]] = {0: [], 1: []}
        self.settled: dict[int, set[int]] = {0: set(), 1: set()}

    @rule(partition=st.integers(0, 1), gap=st.integers(1, 5))
    def track(self, partition: int, gap: int) -> None:
        """The next message of a partition."""
        offset = (self.read[partition] or [0])[-1] + gap
        self.read[partition].append(offset)
        self.ledger.track(Origin("t", partition, offset))

    @rule(partition=st.integers(0, 1), which=st.integers(0, 30), times=st.integers(1, 2))
    def settle(self, partition: int, which: int, times: int) -> None:
        """One that was read, perhaps twice."""
        if self.read[partition]:
            offset = self.read[partition][which % len(self.read[partition])]
            self.settled[partition].add(offset)
            for _ in range(times):
                self.ledger.settle(Origin("t", partition, offset))

    @rule(partition=st.integers(0, 1))
    def forget(self, partition: int) -> None:
        """The partition moves to another worker; this one may get it back."""
        self.ledger.forget([("t", partition)])
        self.read[partition], self.settled[partition] = [], set()

    @invariant()
    def what_may_be_committed_is_the_settled_prefix(self) -> None:
        """Never more: that would lose an alert. Never less: it would be read again for ever."""
        for partition, offsets in self.read.items():
            settled = self.settled[partition]
            prefix = list(takewhile(settled.__contains__, offsets))
            expected = prefix[-1] + 1 if prefix else None
            assert expected == self.ledger.committable().get(("t", partition))
            assert len(set(offsets) - settled) == self.ledger.outstanding([("t", partition)])


TestTheLedgerIsThePlainestBook = Books.TestCase


def test_where_reading_would_go_on_is_known_before_it_is_settled() -> None:
    """The offset counts messages that a transaction will finish; the ledger does not change."""
    ledger = tracked(5, 6, 9)
    ledger.settle(origin(6))
    assert {P0: 5} == ledger.after([P0, P1], {origin(9)})
    assert {P0: 9} == ledger.after([P0], {origin(5)})
    assert {P0: 10} == ledger.after([P0], {origin(5), origin(9)})
    assert {} == ledger.committable()


def test_where_reading_goes_on_with_nothing_outstanding() -> None:
    """Behind the last that was settled."""
    ledger = tracked(5)
    ledger.settle(origin(5))
    assert {P0: 6} == ledger.after([P0], set())


def test_a_message_is_held_until_its_partition_is_given_up() -> None:
    """This includes a partition that comes back, with the same message read again."""
    ledger = Ledger()
    first = ledger.track(origin(5))
    assert ledger.holds(origin(5), first)
    ledger.forget([P0])
    assert not ledger.holds(origin(5), first)
    second = ledger.track(origin(5))
    assert (False, True) == (ledger.holds(origin(5), first), ledger.holds(origin(5), second))


def test_the_span_is_from_the_first_outstanding_to_the_last_read() -> None:
    """The result is that of the partition with the longest span."""
    ledger = tracked(5, 6, 30)
    ledger.track(origin(100, partition=1))
    assert 25 == ledger.span()
    ledger.settle(origin(5))
    assert (24, 0) == (ledger.span(), Ledger().span())
