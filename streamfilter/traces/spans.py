"""Spans of one alert, collected while it is under way, and who is sampled."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from streamfilter.records import Annotation, Headers, Message
from streamfilter.traces import context
from streamfilter.traces.context import Context

Attribute = str | int | float | bool
Kind = Literal["internal", "consumer", "producer"]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an alert's way; times are Unix seconds."""

    name: str
    context: Context
    parent: Context | None
    kind: Kind
    start_unix_s: float
    end_unix_s: float
    attributes: Mapping[str, Attribute]
    failure: str = ""
    """Why the message was rejected; empty where it was not."""


Hand = Callable[[Sequence[Span]], None]
"""Takes the spans of an alert that is done; returns at once."""


@dataclass(slots=True, eq=False)
class Trace:
    """One alert's spans: ``consume`` from reading to settling, and its parts below it.

    Monotonic times come in, because stages are measured in them.
    """

    root: Context
    parent: Context | None
    start_unix_s: float
    hand: Hand
    attributes: dict[str, Attribute]
    produce: Context
    """Of the span that outputs name as their parent."""
    failure: str = ""
    offset_s: float = field(default_factory=lambda: time.time() - time.monotonic())
    parts: list[Span] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ids(self) -> dict[str, str]:
        """For log lines, as OpenTelemetry names them."""
        return {"trace_id": f"{self.root.trace_id:032x}", "span_id": f"{self.root.span_id:016x}"}

    def add(self, name: str, start_s: float, end_s: float) -> None:
        """A part of the way, by monotonic times."""
        self._add(name, _child(self.root), "internal", start_s, end_s)

    def judged(self, annotation: Annotation) -> None:
        """What became of the alert."""
        verdict, alert = annotation.verdict, annotation.alert
        self.attributes |= {
            "streamfilter.survey": alert.survey,
            "streamfilter.alert_id": alert.alert_id,
            "streamfilter.verdict": verdict.label,
            "streamfilter.action": verdict.action,
            "streamfilter.rule": verdict.rule or "",
        }

    def passed_on(self, headers: Headers) -> Headers:
        """Headers of an output, which continues the trace."""
        return context.passed_on(headers, self.produce, continued=self.parent is not None)

    def finish(self, sent_s: float) -> None:
        """All outputs, handed over at ``sent_s`` (monotonic), are acknowledged."""
        now_s = time.monotonic()
        if sent_s:
            self._add("produce", self.produce, "producer", sent_s, now_s)
        whole = Span(
            "consume", self.root, self.parent, "consumer", self.start_unix_s,
            now_s + self.offset_s, self.attributes, self.failure,
        )  # fmt: skip
        self.hand((whole, *self.parts))

    def _add(self, name: str, own: Context, kind: Kind, start_s: float, end_s: float) -> None:
        start, end = start_s + self.offset_s, end_s + self.offset_s
        # Planes of an alert are judged by several threads.
        with self.lock:
            self.parts.append(Span(name, own, self.root, kind, start, end, {}))


class Tracer:
    """Decides which alerts are traced.

    Parameters
    ----------
    sample_ratio
        Share of the alerts whose producer says nothing.
    most_per_s
        Traces a second: also a producer that wants all of its alerts traced does not get more.
    hand
        Takes what was found.
    """

    def __init__(self, *, sample_ratio: float, most_per_s: float, hand: Hand) -> None:
        self._ratio = sample_ratio
        self._most_per_s = most_per_s
        self._hand = hand
        self._allowance = most_per_s
        self._topped_up_s = time.monotonic()

    def begin(self, message: Message, received_unix_s: float) -> Trace | None:
        """A trace for a message that was read; None where it is not sampled. In one thread."""
        parent = context.of_headers(message.headers)
        wanted = random.random() < self._ratio if parent is None else parent.sampled
        if not (wanted and self._allowed()):
            return None
        trace_id = random.getrandbits(128) or 1 if parent is None else parent.trace_id
        root = Context(trace_id, random.getrandbits(64) or 1, sampled=True)
        origin = message.origin
        attributes: dict[str, Attribute] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": origin.topic,
            "messaging.destination.partition.id": str(origin.partition),
            "messaging.kafka.offset": origin.offset,
            "messaging.message.body.size": len(message.value or b""),
        }
        return Trace(root, parent, received_unix_s, self._hand, attributes, _child(root))

    def _allowed(self) -> bool:
        now = time.monotonic()
        more = (now - self._topped_up_s) * self._most_per_s
        self._allowance = min(self._allowance + more, max(self._most_per_s, 1.0))
        self._topped_up_s = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def _child(parent: Context) -> Context:
    return Context(parent.trace_id, random.getrandbits(64) or 1, sampled=True)
