"""The W3C trace context in Kafka headers: what producers say, and what is passed on.

Anyone may write headers, so what is not exactly a context is no context.
"""

import re
from dataclasses import dataclass

from streamfilter.records import Headers

TRACEPARENT, _TRACESTATE = "traceparent", "tracestate"
_LENGTH = 55
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Context:
    """A span, as its successors know it."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def header(self) -> bytes:
        """As a ``traceparent``."""
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.sampled)


def of_headers(headers: Headers) -> Context | None:
    """The context that a producer gave; None where there is none, several, or another thing."""
    given = [value for name, value in headers if name == TRACEPARENT]
    # A later version may be longer; nobody sends one yet, and unknown things are not parsed.
    if len(given) != 1 or given[0] is None or len(given[0]) != _LENGTH:
        return None
    found = _FORM.fullmatch(given[0])
    if found is None or found[1] == b"ff":
        return None
    trace_id, span_id, flags = (int(found[n], 16) for n in (2, 3, 4))
    if not (trace_id and span_id):
        return None
    return Context(trace_id, span_id, bool(flags & _SAMPLED))


def passed_on(headers: Headers, context: Context, *, continued: bool) -> Headers:
    """The headers with this context instead of any before it.

    What vendors keep beside it stays where the trace is ``continued``, and belongs to no other.
    """
    gone = {TRACEPARENT} if continued else {TRACEPARENT, _TRACESTATE}
    kept = tuple(each for each in headers if each[0] not in gone)
    return (*kept, (TRACEPARENT, context.header))
