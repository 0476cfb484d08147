"""Sends spans to a collector, bounds how many wait, and counts what happens to each."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = structlog.get_logger(__name__)

Count = Callable[[str, int], None]
"""Called with ``exported``, ``failed`` or ``dropped``, and a number of spans."""


class CountedExporter(SpanExporter):  # type: ignore[misc]
    """Exports by another exporter, counts what became of spans, and bounds how many wait.

    A full batch processor forgets its oldest spans and does not say so. Room is therefore taken
    here before spans are handed to it, and given back when it exports them.
    """

    def __init__(self, exporter: SpanExporter, count: Count, *, max_waiting: int) -> None:
        self._exporter = exporter
        self._count = count
        self._room = self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._failing = self._closed = False

    def take_room(self, spans: int) -> bool:
        """Take room for the spans of an alert; False where there is none: then they are dropped."""
        with self._lock:
            room = spans <= self._room
            if room:
                self._room -= spans
        if not room:
            self._count("dropped", spans)
        return room

    def give_up(self) -> None:
        """Count the waiting spans as dropped, and send no more."""
        with self._lock:
            self._closed = True
            left = self._max_waiting - self._room
        if left:
            self._count("dropped", left)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; it may take its time-out, and does not raise."""
        with self._lock:
            if self._closed:
                return SpanExportResult.FAILURE
            self._room += len(spans)
        started = time.monotonic()
        try:
            result = self._exporter.export(spans)
        except Exception:  # the transport's own, which differ between versions
            result = SpanExportResult.FAILURE
        done = result is SpanExportResult.SUCCESS
        self._count("exported" if done else "failed", len(spans))
        if done == self._failing:  # the first after a change is logged
            self._failing = not done
            if done:
                log.info("traces exported again")
            else:
                took_s = round(time.monotonic() - started, 1)
                log.warning("traces not exported", spans=len(spans), took_s=took_s)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()
