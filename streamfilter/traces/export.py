"""Spans to a collector, beside the stream: it never waits for them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from streamfilter.traces.spans import Span

log = structlog.get_logger(__name__)

Send = Callable[[Sequence[Span]], bool]
"""Sends spans to the collector; whether it has them. May take its time-out, does not raise."""
Count = Callable[[str, int], None]
"""Told ``exported``, ``failed`` or ``dropped``, and how many spans."""

_BATCH = 512
# Spans of one look of a person are sent together; a dead collector is asked this often.
_EVERY_S = 1.0


class Export:
    """Holds spans until a thread has sent them; beyond ``most`` they are dropped and counted."""

    def __init__(self, send: Send, count: Count, *, most: int) -> None:
        self._send = send
        self._count = count
        self._waiting: deque[Span] = deque()
        self._most = most
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._serve, name="traces", daemon=True)
        self._thread.start()

    def hand(self, spans: Sequence[Span]) -> None:
        """Take the spans of an alert; returns at once, from any thread."""
        with self._lock:
            room = len(self._waiting) + len(spans) <= self._most
            if room:
                self._waiting.extend(spans)
        if not room:
            self._count("dropped", len(spans))

    def close(self, timeout_s: float) -> None:
        """Send what waits, for at most so long."""
        self._closing.set()
        self._thread.join(timeout_s)
        with self._lock:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            self._count("dropped", left)

    def _serve(self) -> None:
        while True:
            closing = self._closing.wait(_EVERY_S)
            while batch := self._taken():
                self._sent(batch)
            if closing:
                return

    def _taken(self) -> list[Span]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]

    def _sent(self, batch: Sequence[Span]) -> None:
        started = time.monotonic()
        done = self._send(batch)
        self._count("exported" if done else "failed", len(batch))
        if done == self._failing:  # the first after a change is told
            self._failing = not done
            if done:
                log.info("traces exported again")
            else:
                took_s = round(time.monotonic() - started, 1)
                log.warning("traces not exported", spans=len(batch), took_s=took_s)
