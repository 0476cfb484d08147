"""Makes the tracer of alerts from the settings."""

import importlib
import socket

from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.metrics.process import TraceMetrics
from streamfilter.traces.spans import Tracer


def open_traces(settings: Settings, metrics: TraceMetrics) -> Tracer:
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
    tracer: Tracer = otlp.OtlpTracer(
        otlp.exporter(chosen.endpoint, headers=chosen.headers, timeout_s=chosen.timeout_s),
        lambda result, n: metrics.spans.labels(result).inc(n),
        sample_ratio=chosen.sample_ratio,
        max_per_s=chosen.max_per_s,
        max_waiting=chosen.max_waiting,
        attributes={
            "service.name": "streamfilter",
            "service.namespace": settings.kafka.group,
            "service.instance.id": socket.gethostname(),
        },
    )
    return tracer
