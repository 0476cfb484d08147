"""Sends outputs in the order in which their messages were read, partition by partition."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable

from streamfilter.kafka.ledger import Partition, partition_of
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.ticket import AlertTicket
from streamfilter.service.delivery.parcel import Delivery, Parcel


class _Queue:
    """The messages of one partition in the order of reading, with the parcels that are ready."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[AlertTicket, Parcel | None] = OrderedDict()
        self.sending = False

    def first(self) -> tuple[AlertTicket, Parcel] | None:
        """The first message and its parcel, taken out; None while that has none."""
        if not self.waiting:
            return None
        ticket, parcel = next(iter(self.waiting.items()))
        if parcel is None:
            return None
        del self.waiting[ticket]
        return ticket, parcel


class PartitionOrder:
    """Holds a parcel back until those of earlier messages of its partition are sent.

    Judges finish in any order, and shed or rejected messages do not wait for them. Any thread may
    call. The thread that completes a run of messages sends it, one thread at a time for each
    partition.

    Parameters
    ----------
    delivery
        Takes the parcels.
    in_flight
        Told of messages whose partition was given up: their next owner publishes them.
    """

    def __init__(self, delivery: Delivery, in_flight: InFlight) -> None:
        self._delivery = delivery
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._queues: dict[Partition, _Queue] = {}

    def expect(self, ticket: AlertTicket) -> None:
        """Note that a message was read: later ones of its partition wait for its parcel."""
        with self._lock:
            partition = partition_of(ticket.message.origin)
            self._queues.setdefault(partition, _Queue()).waiting[ticket] = None

    def send(self, ticket: AlertTicket, parcel: Parcel) -> None:
        """Send a parcel once all before it are sent; drop it where its partition was revoked."""
        with self._lock:
            queue = self._queues.get(partition_of(ticket.message.origin))
            if queue is None or ticket not in queue.waiting:
                queue = None
            else:
                queue.waiting[ticket] = parcel
        if queue is None:
            self._in_flight.drop(ticket)
        else:
            self._send_ready(queue)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget messages of revoked partitions that have no parcel: nothing waits for them."""
        with self._lock:
            gone = [self._queues.pop(each) for each in partitions if each in self._queues]
            ready = [t for queue in gone for t, parcel in queue.waiting.items() if parcel]
            for queue in gone:
                queue.waiting.clear()
        for ticket in ready:
            self._in_flight.drop(ticket)

    def _send_ready(self, queue: _Queue) -> None:
        while True:
            with self._lock:
                if queue.sending or (first := queue.first()) is None:
                    return
                queue.sending = True
            ticket, parcel = first
            try:
                ticket.sent_s = time.monotonic()
                self._delivery.send(parcel)
            finally:
                with self._lock:
                    queue.sending = False
