"""Metrics of every process: version, memory, configuration, traces."""

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector


def describe_process(registry: CollectorRegistry, version: str) -> None:
    """Show the version of the process, and its memory, processor time and files."""
    build = Info("streamfilter_build", "Version of streamfilter.", registry=registry)
    build.info({"version": version, "python": platform.python_version()})
    ProcessCollector(registry=registry)


class ConfigMetrics:
    """The configuration in force, and the results of reloads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def name(rest: str) -> str:
            return f"streamfilter_config_{rest}"

        self._config = Info(
            "streamfilter_config", "The configuration in force, without secrets.", registry=registry
        )
        self._reloads = Counter(
            name("reloads_total"), "Reloads, by what became of them.", ("result",),
            registry=registry,
        )  # fmt: skip
        self._successful = Gauge(
            name("last_reload_successful"), "0 after a reload was refused.", registry=registry
        )
        self._since = Gauge(
            name("last_reload_success_timestamp_seconds"),
            "When the configuration came in force: at the start, or by a reload.",
            registry=registry,
        )
        for result in ("taken", "refused"):
            self._reloads.labels(result)

    def in_force(self, sha256: str, now_unix_s: float) -> None:
        """Show which configuration is in force."""
        self._config.info({"sha256": sha256})
        self._successful.set(1)
        self._since.set(now_unix_s)

    def taken(self, sha256: str, now_unix_s: float) -> None:
        """Count a successful reload, and show its configuration."""
        self._reloads.labels("taken").inc()
        self.in_force(sha256, now_unix_s)

    def refused(self) -> None:
        """Count a refused reload, which changed nothing."""
        self._reloads.labels("refused").inc()
        self._successful.set(0)


class TraceMetrics:
    """Spans by result; only where traces are switched on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spans = Counter(
            "streamfilter_trace_spans_total",
            "Spans, by what became of them.",
            ("result",),
            registry=registry,
        )
        for result in ("exported", "failed", "dropped"):
            self.spans.labels(result)


class HttpMetrics:
    """Counts who is refused by the worker's HTTP server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.logins_refused = Counter(
            "streamfilter_http_logins_refused_total",
            "Wrong passwords for the metrics, and those that came too often to be looked at.",
            registry=registry,
        )
        self.connections_closed = Counter(
            "streamfilter_http_connections_closed_total",
            "Connections closed before their answer: late, or crowded by newer ones.",
            ("reason",),
            registry=registry,
        )
        for reason in ("late", "crowded"):
            self.connections_closed.labels(reason)
