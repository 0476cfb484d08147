"""Metrics of notices to the webhook."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from streamfilter.metrics.instruments import LATENCY_S

WEBHOOK_RESULTS = ("delivered", "failed", "dropped")


class WebhookMetrics:
    """Notices by result, and their delay."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.notices = Counter(
            "streamfilter_webhook_notices_total",
            "Notices to the webhook, by what became of them.",
            ("result",),
            registry=registry,
        )
        for result in WEBHOOK_RESULTS:
            self.notices.labels(result)
        self.seconds = Histogram(
            "streamfilter_webhook_seconds",
            "From a verdict to the last answer of the webhook.",
            buckets=LATENCY_S,
            registry=registry,
        )
