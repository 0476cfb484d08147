"""Metrics of the live page."""

from prometheus_client import CollectorRegistry, Counter, Gauge

PICTURE_RESULTS = ("drawn", "unreadable", "busy")
REFUSALS = ("host", "login", "cross_site", "crowded", "too_large")


class ConsoleMetrics:
    """Counts what comes, what is drawn, what people say, and who looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.cards = Counter(
            "streamfilter_console_cards_total",
            "Annotations that the page has taken.",
            registry=registry,
        )
        self.packets = Counter(
            "streamfilter_console_packets_total",
            "Alerts that were read from their own topics.",
            registry=registry,
        )
        self.pictures = Counter(
            "streamfilter_console_pictures_total",
            "Pictures that were asked for, by what became of them.",
            ("result",),
            registry=registry,
        )
        for result in PICTURE_RESULTS:
            self.pictures.labels(result)
        self.labels = Counter(
            "streamfilter_console_labels_total",
            "Labels that were published, those that take one back included.",
            registry=registry,
        )
        self.refused = Counter(
            "streamfilter_console_refused_total",
            "Requests that were refused, by reason.",
            ("reason",),
            registry=registry,
        )
        for reason in REFUSALS:
            self.refused.labels(reason)
        self.onlookers = Gauge(
            "streamfilter_console_onlookers",
            "Pages that are open and follow what comes.",
            registry=registry,
        )
        self.behind = Gauge(
            "streamfilter_console_behind",
            "Messages of the outputs that the page has not read yet.",
            registry=registry,
        )
