"""From settings to who traces alerts."""

import importlib
import socket
from dataclasses import dataclass

from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.process_metrics import TraceMetrics
from streamfilter.traces.export import Export
from streamfilter.traces.spans import Tracer


@dataclass(frozen=True, slots=True)
class Tracing:
    """A tracer, and what sends its spans."""

    tracer: Tracer
    export: Export


def open_traces(settings: Settings, metrics: TraceMetrics) -> Tracing:
    """Trace alerts to ``traces.endpoint``.

    Raises
    ------
    ConfigurationInvalid
        OpenTelemetry is not installed, or does not take the endpoint.
    """
    chosen = settings.traces
    try:
        otlp = importlib.import_module("streamfilter.traces.otlp")
    except ImportError as error:
        raise ConfigurationInvalid(
            f"traces.endpoint: OpenTelemetry is not installed ({error}): "
            f"{how_to_install('traces')}; or leave traces.endpoint empty"
        ) from error
    send = otlp.sender(
        chosen.endpoint,
        headers=chosen.headers,
        timeout_s=chosen.timeout_s,
        attributes={
            "service.name": "streamfilter",
            "service.namespace": settings.kafka.group,
            "service.instance.id": socket.gethostname(),
        },
    )
    export = Export(
        send, lambda result, n: metrics.spans.labels(result).inc(n), most=chosen.max_waiting
    )
    tracer = Tracer(sample_ratio=chosen.sample_ratio, most_per_s=chosen.max_per_s, hand=export.hand)
    return Tracing(tracer, export)
