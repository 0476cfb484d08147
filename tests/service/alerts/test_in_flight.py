"""The bound on what is in flight."""

import threading

from streamfilter.service.alerts.in_flight import InFlight


def test_room_is_what_is_left_of_the_messages() -> None:
    """The reader asks for no more than it may hold."""
    flow = InFlight(3, 10_000_000)
    flow.enter(10)
    assert flow.room(0) == 2


def test_bytes_bound_as_well() -> None:
    """Large packets fill the memory before they fill the count."""
    flow = InFlight(100, 1000)
    flow.enter(1000)
    assert flow.room(0) == 0


def test_one_message_above_the_bytes_may_pass() -> None:
    """A packet larger than the bound is still read, alone."""
    flow = InFlight(100, 1000)
    assert flow.room(0) == 1
    flow.enter(5000)
    assert flow.room(0) == 0
    flow.leave(5000)
    assert flow.room(0) == 1


def test_room_is_waited_for() -> None:
    """A settled message wakes the reader."""
    flow = InFlight(1, 1000)
    flow.enter(1)
    threading.Timer(0.05, flow.leave, (1,)).start()
    assert flow.room(10) == 1


def test_room_is_for_messages_as_large_as_any_before() -> None:
    """Several that are read at once do not pass the bound by more than one of them."""
    flow = InFlight(100, 10_000_000)
    flow.enter(2_000_000)
    assert 4 == flow.room(0)
    flow.leave(2_000_000)
    assert 5 == flow.room(0)
