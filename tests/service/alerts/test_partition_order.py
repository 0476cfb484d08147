"""Outputs in the order of reading."""

from collections.abc import Sequence
from random import Random
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from memory_worker import TOPICS, SimulatedPipeline

from streamfilter.records import Message, Origin
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.ticket import AlertTicket, InForce
from streamfilter.service.delivery.parcel import Delivery, Parcel

IN_FORCE = InForce(SimulatedPipeline(), TOPICS)


def ticket(partition: int, offset: int) -> AlertTicket:
    """A message that was read."""
    return AlertTicket(Message(Origin("alerts", partition, offset), b""), 0.0, IN_FORCE)


class Desk:
    """An order between a delivery and a bound that keep what they are given."""

    def __init__(self) -> None:
        self.sent: list[Parcel] = []
        self.dropped: list[AlertTicket] = []
        self.order = PartitionOrder(cast("Delivery", self), cast("InFlight", self))

    def send(self, parcel: Parcel) -> None:
        self.sent.append(parcel)

    def drop(self, ticket: AlertTicket) -> None:
        self.dropped.append(ticket)

    @property
    def origins(self) -> list[tuple[int, int]]:
        """Partition and offset of what was sent, in its order."""
        return [(o.partition, o.offset) for parcel in self.sent for o in parcel.origins]

    def answer(self, ticket: AlertTicket) -> None:
        """A message has its parcel."""
        origin = ticket.message.origin
        parcel = Parcel(
            [],
            {origin: 0},
            (origin,),
            instead=lambda output, refusal: None,
            delivered=lambda _: None,
            dropped=lambda _: None,
        )
        self.order.send(ticket, parcel)


def test_what_is_ready_waits_for_those_before_it() -> None:
    """A later answer of the partition leaves with the first."""
    desk = Desk()
    tickets = [ticket(0, n) for n in range(3)]
    for each in tickets:
        desk.order.expect(each)
    for n in (2, 1):
        desk.answer(tickets[n])
    assert [] == desk.sent
    desk.answer(tickets[0])
    assert [(0, 0), (0, 1), (0, 2)] == desk.origins


def test_partitions_do_not_wait_for_each_other() -> None:
    """An answer of one partition leaves while another's first is awaited."""
    desk = Desk()
    desk.order.expect(ticket(0, 0))
    second = ticket(1, 0)
    desk.order.expect(second)
    desk.answer(second)
    assert [(1, 0)] == desk.origins


def test_a_partition_that_was_given_up_is_not_waited_for() -> None:
    """After it comes back its messages begin anew."""
    desk = Desk()
    desk.order.expect(ticket(0, 0))
    desk.order.forget([("alerts", 0)])
    again = ticket(0, 0)
    desk.order.expect(again)
    desk.answer(again)
    assert [(0, 0)] == desk.origins


@given(st.lists(st.integers(0, 3), max_size=40), st.randoms(use_true_random=False))
def test_any_order_of_answers_leaves_in_the_order_of_reading(
    partitions: Sequence[int], chance: Random
) -> None:
    """Within each partition, each once; what nothing waits for leaves at once."""
    desk = Desk()
    read = [ticket(partition, n) for n, partition in enumerate(partitions)]
    for each in read:
        desk.order.expect(each)
    answered = chance.sample(read, len(read))
    for number, each in enumerate(answered, 1):
        desk.answer(each)
        for partition in set(partitions):
            of_partition = [each for each in read if each.message.origin.partition == partition]
            left = [origin for origin in desk.origins if origin[0] == partition]
            ready = [each in answered[:number] for each in of_partition]
            first_open = ready.index(False) if False in ready else len(ready)
            expected = [each.message.origin for each in of_partition[:first_open]]
            assert [(each.partition, each.offset) for each in expected] == left


def test_what_was_given_up_is_dropped_and_never_sent() -> None:
    """Neither what waited for an earlier one, nor what is ready only now, nor the earlier one."""
    desk = Desk()
    first, second, third = (ticket(0, n) for n in range(3))
    for each in (first, second, third):
        desk.order.expect(each)
    desk.answer(second)
    desk.order.forget([("alerts", 0)])
    assert [second] == desk.dropped
    for each in (third, first):
        desk.answer(each)
    assert ([second, third, first], []) == (desk.dropped, desk.sent)
