"""How much is in flight: a bound by count and bytes that the reader waits on."""

import threading

# Of alerts none is much larger; room is for as many as fit, where each is as large as any before.
_USUAL_BYTES = 300_000


class InFlight:
    """Messages read and not yet settled."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages = 0
        self._bytes = 0
        self._largest = _USUAL_BYTES
        self._changed = threading.Condition()

    @property
    def messages(self) -> int:
        """How many there are."""
        return self._messages

    @property
    def bytes(self) -> int:
        """Their bytes."""
        return self._bytes

    def enter(self, size_bytes: int) -> None:
        """A message was read."""
        with self._changed:
            self._messages += 1
            self._bytes += size_bytes
            self._largest = max(self._largest, size_bytes)

    def leave(self, size_bytes: int) -> None:
        """A message is settled."""
        with self._changed:
            self._messages -= 1
            self._bytes -= size_bytes
            self._changed.notify_all()

    def room(self, timeout_s: float) -> int:
        """Messages that may be read now; waits for room, and is 0 if there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._free() > 0, timeout_s)
            return self._free()

    def _free(self) -> int:
        """A byte bound that is reached leaves no room; one large message may pass it."""
        if self._bytes >= self._max_bytes:
            return 0
        fit = max((self._max_bytes - self._bytes) // self._largest, 1)
        return max(min(self._max_messages - self._messages, fit), 0)
