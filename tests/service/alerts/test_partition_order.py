"""Outputs in the order of reading."""

from collections.abc import Sequence
from functools import partial
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from memory_worker import TOPICS, SimulatedPipeline

from streamfilter.records import Message, Origin
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.ticket import AlertTicket, InForce

IN_FORCE = InForce(SimulatedPipeline(), TOPICS)


def ticket(partition: int, offset: int) -> AlertTicket:
    """A message that was read."""
    return AlertTicket(Message(Origin("alerts", partition, offset), b""), 0.0, IN_FORCE)


def never(ticket: AlertTicket) -> None:
    """No message is dropped."""
    raise AssertionError(f"{ticket.message.origin} was dropped")


def test_what_is_ready_waits_for_those_before_it() -> None:
    """A later answer of the partition leaves with the first."""
    order, sent = PartitionOrder(never), list[int]()
    tickets = [ticket(0, n) for n in range(3)]
    for each in tickets:
        order.expect(each)
    for n in (2, 1):
        order.send(tickets[n], partial(sent.append, n))
    assert [] == sent
    order.send(tickets[0], partial(sent.append, 0))
    assert [0, 1, 2] == sent


def test_partitions_do_not_wait_for_each_other() -> None:
    """An answer of one partition leaves while another's first is awaited."""
    order, sent = PartitionOrder(never), list[int]()
    order.expect(ticket(0, 0))
    second = ticket(1, 0)
    order.expect(second)
    order.send(second, partial(sent.append, 1))
    assert [1] == sent


def test_a_partition_that_was_given_up_is_not_waited_for() -> None:
    """After it comes back its messages begin anew."""
    order, sent = PartitionOrder(never), list[int]()
    order.expect(ticket(0, 0))
    order.forget([("alerts", 0)])
    again = ticket(0, 0)
    order.expect(again)
    order.send(again, partial(sent.append, 0))
    assert [0] == sent


@given(st.lists(st.integers(0, 3), max_size=40), st.randoms(use_true_random=False))
def test_any_order_of_answers_leaves_in_the_order_of_reading(
    partitions: Sequence[int], chance: Random
) -> None:
    """Within each partition, each once; what nothing waits for leaves at once."""
    order, sent = PartitionOrder(never), list[AlertTicket]()
    read = [ticket(partition, n) for n, partition in enumerate(partitions)]
    for each in read:
        order.expect(each)
    answered = chance.sample(read, len(read))
    for number, each in enumerate(answered, 1):
        order.send(each, partial(sent.append, each))
        for partition in set(partitions):
            of_partition = [each for each in read if each.message.origin.partition == partition]
            left = [each for each in sent if each.message.origin.partition == partition]
            ready = [each in answered[:number] for each in of_partition]
            first_open = ready.index(False) if False in ready else len(ready)
            assert of_partition[:first_open] == left


def test_what_was_given_up_is_dropped_and_never_sent() -> None:
    """Neither what waited for an earlier one, nor what is ready only now, nor the earlier one."""
    dropped, sent = list[AlertTicket](), list[int]()
    order = PartitionOrder(dropped.append)
    first, second, third = (ticket(0, n) for n in range(3))
    for each in (first, second, third):
        order.expect(each)
    order.send(second, partial(sent.append, 1))
    order.forget([("alerts", 0)])
    assert [second] == dropped
    for each in (third, first):
        order.send(each, partial(sent.append, 2))
    assert ([second, third, first], []) == (dropped, sent)
