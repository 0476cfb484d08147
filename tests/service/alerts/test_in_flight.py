"""The bound on what is in flight."""

import threading

from memory_worker import TOPICS, SimulatedPipeline

from streamfilter.kafka.ledger import Ledger
from streamfilter.records import Message, Origin
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.ticket import AlertTicket, InForce

IN_FORCE = InForce(SimulatedPipeline(), TOPICS)


def ticket(size_bytes: int, offset: int = 0) -> AlertTicket:
    return AlertTicket(Message(Origin("alerts", 0, offset), b"x" * size_bytes), 0.0, IN_FORCE)


def test_room_is_what_is_left_of_the_messages() -> None:
    """The reader asks for no more than it may hold."""
    flow = InFlight(Ledger(), 3, 10_000_000)
    flow.enter(ticket(10))
    assert flow.room(0) == 2


def test_bytes_bound_as_well() -> None:
    """Large packets fill the memory before they fill the count."""
    flow = InFlight(Ledger(), 100, 1000)
    flow.enter(ticket(1000))
    assert flow.room(0) == 0


def test_one_message_above_the_bytes_may_pass() -> None:
    """A packet larger than the bound is still read, alone."""
    flow, large = InFlight(Ledger(), 100, 1000), ticket(5000)
    assert flow.room(0) == 1
    flow.enter(large)
    assert flow.room(0) == 0
    flow.settle(large)
    assert flow.room(0) == 1


def test_room_is_waited_for() -> None:
    """A settled message wakes the reader."""
    flow, only = InFlight(Ledger(), 1, 1000), ticket(1)
    flow.enter(only)
    threading.Timer(0.05, flow.settle, (only,)).start()
    assert flow.room(10) == 1


def test_a_little_room_is_not_worth_reading() -> None:
    """The reader is woken once for several settled messages; it does not wait without time."""
    flow, tickets = InFlight(Ledger(), 16, 10_000_000), [ticket(1, n) for n in range(16)]
    for each in tickets:
        flow.enter(each)
    flow.settle(tickets[0])
    assert 1 == flow.room(0)
    threading.Timer(0.05, flow.settle, (tickets[1],)).start()
    assert 2 == flow.room(10)


def test_room_is_for_messages_as_large_as_any_before() -> None:
    """Several that are read at once do not pass the bound by more than one of them."""
    flow, large = InFlight(Ledger(), 100, 10_000_000), ticket(2_000_000)
    flow.enter(large)
    assert 4 == flow.room(0)
    flow.settle(large)
    assert 5 == flow.room(0)


def test_a_settled_message_may_be_committed_and_a_dropped_one_not() -> None:
    """Both make room; the offset of a dropped one is the next owner's."""
    ledger = Ledger()
    flow, tickets = InFlight(ledger, 10, 1000), [ticket(1, n) for n in range(2)]
    for each in tickets:
        flow.enter(each)
    flow.settle(tickets[0])
    flow.drop(tickets[1])
    assert (0, 0) == (flow.messages, flow.bytes)
    assert {("alerts", 0): 1} == ledger.committable()
