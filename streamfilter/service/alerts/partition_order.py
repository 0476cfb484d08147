"""Outputs leave in the order in which their messages were read, partition by partition."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from streamfilter.service.alerts.ticket import AlertTicket

Send = Callable[[], None]


class _Partition:
    """One partition: who is awaited in which order, and what waits for those before it."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[AlertTicket, Send | None] = OrderedDict()
        self.sending = False

    def first(self) -> Send | None:
        """What may be sent now."""
        if not self.waiting or (send := next(iter(self.waiting.values()))) is None:
            return None
        self.waiting.popitem(last=False)
        return send


class PartitionOrder:
    """Holds outputs until those of earlier messages of the partition were sent.

    Judges finish in any order, and what is shed or rejected takes no time at all. Any thread may
    call; whoever completes a run sends it, one thread at a time for each partition.

    Parameters
    ----------
    dropped
        Called for a message whose partition was given up before it was sent: its next owner
        publishes it.
    """

    def __init__(self, dropped: Callable[[AlertTicket], None]) -> None:
        self._dropped = dropped
        self._lock = threading.Lock()
        self._lanes: dict[tuple[str, int], _Partition] = {}

    def expect(self, ticket: AlertTicket) -> None:
        """A message was read."""
        with self._lock:
            self._lanes.setdefault(_partition(ticket), _Partition()).waiting[ticket] = None

    def send(self, ticket: AlertTicket, send: Send) -> None:
        """Send when all before it are sent; never where its partition was given up."""
        with self._lock:
            lane = self._lanes.get(_partition(ticket))
            if lane is None or ticket not in lane.waiting:
                lane = None
            else:
                lane.waiting[ticket] = send
        if lane is None:
            self._dropped(ticket)
        else:
            self._release(lane)

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Partitions were given up: nobody waits for what was not answered there."""
        with self._lock:
            gone = [self._lanes.pop(each) for each in partitions if each in self._lanes]
            ready = [t for lane in gone for t, send in lane.waiting.items() if send is not None]
            for lane in gone:
                lane.waiting.clear()
        for ticket in ready:
            self._dropped(ticket)

    def _release(self, lane: _Partition) -> None:
        while True:
            with self._lock:
                if lane.sending or (send := lane.first()) is None:
                    return
                lane.sending = True
            try:
                send()
            finally:
                with self._lock:
                    lane.sending = False


def _partition(ticket: AlertTicket) -> tuple[str, int]:
    origin = ticket.message.origin
    return origin.topic, origin.partition
