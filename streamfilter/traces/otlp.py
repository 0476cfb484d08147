"""OTLP over HTTP: the one module that imports OpenTelemetry, loaded where traces are on."""

import logging
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from streamfilter import __version__
from streamfilter.traces.context import Context
from streamfilter.traces.spans import Span

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
}
_SCOPE = InstrumentationScope("streamfilter", __version__)
_FLAGS = TraceFlags(TraceFlags.SAMPLED)


def sender(
    endpoint: str, *, headers: Mapping[str, str], timeout_s: float, attributes: Mapping[str, str]
) -> Callable[[Sequence[Span]], bool]:
    """What sends spans to a collector.

    Parameters
    ----------
    endpoint
        The whole URL, such as ``http://127.0.0.1:4318/v1/traces``.
    attributes
        Of the resource: who this worker is.
    """
    # Its lines on every failure are no JSON, and the first failure is told elsewhere.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=timeout_s)
    resource = Resource.create({"service.version": __version__, **attributes})

    def send(spans: Sequence[Span]) -> bool:
        try:
            result = exporter.export([_readable(span, resource) for span in spans])
        except Exception:  # the transport's own, which differ between versions
            return False
        return result is SpanExportResult.SUCCESS

    return send


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    # Of the first span alone the parent is another process's.
    remote = span.kind == "consumer"
    return ReadableSpan(
        name=span.name,
        context=_context(span.context, remote=False),
        parent=None if span.parent is None else _context(span.parent, remote=remote),
        resource=resource,
        attributes=dict(span.attributes),
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.failure) if span.failure else Status(),
        start_time=round(span.start_unix_s * 1e9),
        end_time=round(max(span.end_unix_s, span.start_unix_s) * 1e9),
        instrumentation_scope=_SCOPE,
    )


def _context(context: Context, *, remote: bool) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, is_remote=remote, trace_flags=_FLAGS)
