"""Makes instruments: names, buckets, and the metrics that several owners share."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a twentieth of a decode to the longest wait that makes sense.
STAGE_S = (
    *(1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    *(5, 10, 30, 120),
)
# Rubin's requirement is 60 s from readout for 98 % of alerts; our own part is milliseconds.
LATENCY_S = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(120, 300, 900, 3600),
)

NOT_LIVE = ("replayed", "archived", "backlog")
SCHEMA_RESULTS = ("found", "refused", "unavailable")
DEVICE_MEMORY = ("buffers", "free", "total")
DEVICE_MEMORY_TEXT = "Memory of a GPU: an engine's buffers there, what is free, and all of it."


@dataclass(frozen=True, slots=True)
class Instruments:
    """Makes instruments with one prefix in one registry."""

    registry: CollectorRegistry
    prefix: str

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Make a counter; its name ends in ``_total``."""
        return Counter(f"{self.prefix}_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Make a gauge."""
        return Gauge(f"{self.prefix}_{name}", text, labels, registry=self.registry)

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        """Make a histogram; ``buckets`` are upper bounds, in the unit that the name ends in."""
        return Histogram(
            f"{self.prefix}_{name}", text, labels, buckets=buckets, registry=self.registry
        )


class LatencyMetrics:
    """How long outputs took since several starts: of all messages, and of those of the night.

    Parameters
    ----------
    made
        Makes instruments of a worker's prefix.
    text
        What is timed, for the metrics page.
    since
        Names of the starts.
    """

    def __init__(self, made: Instruments, text: str, since: tuple[str, ...]) -> None:
        every = made.histogram("latency_seconds", text, LATENCY_S, "since")
        live = made.histogram(
            "live_latency_seconds",
            "The same without what is not of the night: replayed, archived, or waiting before a "
            "worker began. Rules look at these.",
            LATENCY_S,
            "since",
        )
        self._not_live = made.counter(
            "not_live_total", "Verdicts that are left out of live_latency_seconds.", "why"
        )
        self._all = {name: every.labels(name) for name in since}
        self._live = {name: live.labels(name) for name in since}
        for why in NOT_LIVE:
            self._not_live.labels(why)

    def observe(
        self, starts_unix_s: Mapping[str, float], now_unix_s: float, why_not: str | None
    ) -> None:
        """Take what was delivered now; ``why_not`` says why it is not of the night, if so."""
        if why_not is not None:
            self._not_live.labels(why_not).inc()
        for name, start in starts_unix_s.items():
            took_s = max(now_unix_s - start, 0.0)
            self._all[name].observe(took_s)
            if why_not is None:
                self._live[name].observe(took_s)


class SchemaMetrics:
    """Results of fetching writer schemas, for both kinds of workers."""

    def __init__(self, registry: CollectorRegistry, prefix: str = "streamfilter") -> None:
        self.fetches = Counter(
            f"{prefix}_schema_fetches_total",
            "Questions for writer schemas, by their end.",
            ("result",),
            registry=registry,
        )
        for result in SCHEMA_RESULTS:
            self.fetches.labels(result)
