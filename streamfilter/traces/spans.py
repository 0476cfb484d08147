"""Keeps the times of an alert's stages; ``otlp`` makes spans of them when the alert is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streamfilter.records import Annotation, Headers, Message

TRACEPARENT, _TRACESTATE = "traceparent", "tracestate"
PRODUCE = "produce"


class Part(NamedTuple):
    """A stage of an alert, in Unix seconds."""

    name: str
    start_unix_s: float
    end_unix_s: float


@dataclass(slots=True, eq=False)
class Trace:
    """One alert's way: ``consume`` from reading to settling, and its parts below it.

    Its methods take monotonic times, because stages are measured in them.
    """

    ids: dict[str, str]
    """Of ``consume``, for log lines, as OpenTelemetry names them."""
    traceparent: bytes
    """Of outputs; it names ``produce`` as their parent."""
    continued: bool
    """Whether a producer began the trace."""
    hand: Callable[["Trace", float], None]
    """Takes the trace of an alert that is settled, and when that was (Unix); does not wait."""
    attributes: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    failure: str = ""
    """Why the message was rejected; empty where it was not."""
    offset_s: float = field(default_factory=lambda: time.time() - time.monotonic())

    def add(self, name: str, start_s: float, end_s: float) -> None:
        """Add a part of the way, from any thread."""
        self.parts.append(Part(name, start_s + self.offset_s, end_s + self.offset_s))

    def judged(self, annotation: Annotation) -> None:
        """Note what became of the alert."""
        verdict, alert = annotation.verdict, annotation.alert
        self.attributes = {
            "streamfilter.survey": alert.survey,
            "streamfilter.alert_id": alert.alert_id,
            "streamfilter.verdict": verdict.label,
            "streamfilter.action": verdict.action,
            "streamfilter.rule": verdict.rule or "",
        }

    def passed_on(self, headers: Headers) -> Headers:
        """Headers of an output, with this trace's context instead of any before it.

        What vendors keep beside it stays where the trace is continued, and belongs to no other.
        """
        gone = {TRACEPARENT} if self.continued else {TRACEPARENT, _TRACESTATE}
        kept = tuple(each for each in headers if each[0] not in gone)
        return (*kept, (TRACEPARENT, self.traceparent))

    def finish(self, sent_s: float) -> None:
        """All outputs, handed over at ``sent_s``, are acknowledged."""
        now_s = time.monotonic()
        if sent_s:
            self.add(PRODUCE, sent_s, now_s)
        self.hand(self, now_s + self.offset_s)


class Tracer(Protocol):
    """Decides which alerts are traced, and has their spans sent."""

    def begin(self, message: Message, received_unix_s: float) -> Trace | None:
        """A trace for a message that was read; None where it is not sampled. In one thread."""

    def close(self, timeout_s: float) -> None:
        """Send what waits, for at most so long."""
