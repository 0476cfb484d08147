"""Messages that are read and not settled: they bound the reader, and their offsets are kept."""

import threading

from streamfilter.kafka.ledger import Ledger
from streamfilter.service.alerts.ticket import AlertTicket

# Alerts are of similar size: each that is read next is taken to be as large as the largest before.
_USUAL_BYTES = 300_000
# Room that is worth waking the reader for, as a share of the bounds: one alert at a time would wake
# it for each that is settled, in the middle of the judges' work.
_WORTH_READING = 0.125


class InFlight:
    """Counts messages and bytes from reading to settling; any thread may call.

    Parameters
    ----------
    ledger
        Holds their offsets, and says which may be committed.
    max_messages, max_bytes
        What may be in flight; one message larger than ``max_bytes`` may pass alone.
    """

    def __init__(self, ledger: Ledger, max_messages: int, max_bytes: int) -> None:
        self._ledger = ledger
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages = 0
        self._bytes = 0
        self._largest = _USUAL_BYTES
        self._changed = threading.Condition()

    @property
    def messages(self) -> int:
        """The number of messages in flight."""
        return self._messages

    @property
    def bytes(self) -> int:
        """The bytes of the messages in flight."""
        return self._bytes

    def enter(self, ticket: AlertTicket) -> None:
        """Count a message that was read, and track its offset."""
        ticket.generation = self._ledger.track(ticket.message.origin)
        with self._changed:
            self._messages += 1
            self._bytes += ticket.size_bytes
            self._largest = max(self._largest, ticket.size_bytes)

    def settle(self, ticket: AlertTicket) -> None:
        """Settle a message whose outputs are all delivered: its offset may be committed."""
        if ticket.trace is not None:
            ticket.trace.finish(ticket.sent_s)
        self._ledger.settle(ticket.message.origin)
        self._leave(ticket)

    def drop(self, ticket: AlertTicket) -> None:
        """Drop a message whose partition was revoked: the next owner reads it again."""
        self._leave(ticket)

    def room(self, timeout_s: float) -> int:
        """Returns how many messages may be read now; waits for an eighth of the bounds to be free.

        What is free after that time may be less, and is 0 if nothing is.
        """
        with self._changed:
            self._changed.wait_for(self._eased, timeout_s)
            return self._free()

    def _leave(self, ticket: AlertTicket) -> None:
        with self._changed:
            self._messages -= 1
            self._bytes -= ticket.size_bytes
            if self._eased():
                self._changed.notify_all()

    def _eased(self) -> bool:
        most = 1.0 - _WORTH_READING
        return self._messages <= most * self._max_messages and self._bytes <= most * self._max_bytes

    def _free(self) -> int:
        """Returns the free places; none once the bytes reach their bound."""
        if self._bytes >= self._max_bytes:
            return 0
        fit = max((self._max_bytes - self._bytes) // self._largest, 1)
        return max(min(self._max_messages - self._messages, fit), 0)
