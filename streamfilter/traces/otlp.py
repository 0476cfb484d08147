"""Makes spans with OpenTelemetry's SDK and sends them as OTLP over HTTP; loaded where traces are
on.
"""

import logging
import threading
from collections.abc import Mapping
from functools import partial

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streamfilter import __version__
from streamfilter.records import Headers, Message
from streamfilter.redaction import clean, clean_values
from streamfilter.traces.export import Count, CountedExporter
from streamfilter.traces.sampling import sampler
from streamfilter.traces.spans import PRODUCE, TRACEPARENT, Trace

_PROPAGATOR = TraceContextTextMapPropagator()
_LENGTH = 55  # of a traceparent; the propagator accepts longer ones, which anyone may write
_BATCH = 512
# Interval at which spans are sent together, and at which a dead collector is tried again.
_EVERY_MS = 1000


class OtlpTracer:
    """Traces alerts.

    Parameters
    ----------
    exporter
        Sends the spans; called in a thread of its own.
    count
        Called with what became of them.
    sample_ratio
        Share of the alerts whose producer says nothing.
    max_per_s
        Traces a second: also a producer that wants all of its alerts traced does not get more.
    max_waiting
        Spans that wait for the exporter; where an alert's find no room they are dropped.
    attributes
        Of the resource: who this worker is.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        count: Count,
        *,
        sample_ratio: float,
        max_per_s: float,
        max_waiting: int,
        attributes: Mapping[str, str],
    ) -> None:
        self._export = CountedExporter(exporter, count, max_waiting=max_waiting)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=sampler(ratio=sample_ratio, max_per_s=max_per_s),
            resource=Resource.create(
                {"service.version": __version__, **clean_values(dict(attributes))}
            ),
            shutdown_on_exit=False,  # it waits for 30 s
            id_generator=self._ids,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._export,
                max_queue_size=max_waiting,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=min(_BATCH, max_waiting),
            )
        )
        self._tracer = self._provider.get_tracer("streamfilter", __version__)

    def begin(self, message: Message, received_unix_s: float) -> Trace | None:
        """Returns a message's trace; None where it is not sampled. For one thread."""
        parent, start = extracted(message.headers), _ns(received_unix_s)
        consume = self._tracer.start_span("consume", parent, SpanKind.CONSUMER, start_time=start)
        if not consume.is_recording():
            return None
        origin = message.origin
        consume.set_attributes(
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": clean(origin.topic),
                "messaging.destination.partition.id": str(origin.partition),
                "messaging.kafka.offset": origin.offset,
                "messaging.message.body.size": len(message.value or b""),
            }
        )
        own = consume.get_span_context()
        produce_id = self._ids.generate_span_id()
        return Trace(
            ids={
                "trace_id": format_trace_id(own.trace_id),
                "span_id": format_span_id(own.span_id),
            },
            traceparent=_header(SpanContext(own.trace_id, produce_id, False, own.trace_flags)),
            continued=consume.parent is not None,
            hand=partial(self._end, consume, produce_id),
        )

    def close(self, timeout_s: float) -> None:
        """Send the waiting spans; it takes about the time-out at most."""
        # The SDK's own bound is 30 s; up to version 1.35 it has none.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(timeout_s)
        self._export.give_up()

    def _end(self, consume: Span, produce_id: int, trace: Trace, end_unix_s: float) -> None:
        """Make spans of an alert's parts and hand all of them to the batch processor."""
        if not self._export.take_room(1 + len(trace.parts)):
            return
        within = set_span_in_context(consume, Context())
        for name, start_unix_s, part_end_unix_s in trace.parts:
            kind = SpanKind.INTERNAL
            if name == PRODUCE:
                kind = SpanKind.PRODUCER
                self._ids.choose(produce_id)
            part = self._tracer.start_span(name, within, kind, start_time=_ns(start_unix_s))
            part.end(_ns(part_end_unix_s))
        consume.set_attributes(clean_values(trace.attributes))
        if trace.failure:
            consume.set_status(Status(StatusCode.ERROR, clean(trace.failure)))
        consume.end(max(_ns(end_unix_s), consume.start_time))  # the clock may have been set


class _Ids(RandomIdGenerator):  # type: ignore[misc]
    """Random ids, except for the span that outputs name before it begins."""

    def __init__(self) -> None:
        self._chosen = threading.local()

    def choose(self, span_id: int) -> None:
        """Set the id of this thread's next span."""
        self._chosen.span_id = span_id

    def generate_span_id(self) -> int:
        """Returns the id that was set, once; else a random one."""
        span_id: int = self._chosen.__dict__.pop("span_id", 0) or super().generate_span_id()
        return span_id


def exporter(endpoint: str, *, headers: Mapping[str, str], timeout_s: float) -> SpanExporter:
    """Returns what sends spans to a collector at a URL such as ``http://127.0.0.1:4318/v1/traces``."""
    # Its lines on every failure are no JSON, and ``export`` logs the first failure.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=timeout_s)


def extracted(headers: Headers) -> Context:
    """Returns the context from a producer; empty where there is none, several, or a bad one."""
    given = [value for name, value in headers if name == TRACEPARENT]
    if len(given) != 1 or given[0] is None or len(given[0]) != _LENGTH:
        return Context()
    return _PROPAGATOR.extract({TRACEPARENT: given[0].decode("latin-1")}, Context())


def _header(context: SpanContext) -> bytes:
    """Returns the ``traceparent`` of a context."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(NonRecordingSpan(context), Context()))
    return carrier[TRACEPARENT].encode()


def _ns(time_s: float) -> int:
    return round(time_s * 1e9)
