"""Every Prometheus instrument, in one bundle made from an injected registry.

Labels are from closed sets: surveys of the loaded field maps, classes of the table, reasons and
verdicts of their enumerations. Seconds and bytes are base units, counters end in ``_total``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# From a twentieth of a decode to the longest queue that a person would wait for.
_STAGE_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
# Rubin's requirement is 60 s from readout for 98 % of alerts; our own part is milliseconds.
_LATENCY_S = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(120, 300, 900, 3600),
)
_STAMPS = (1, 2, 4, 8, 12, 16, 32, 64, 128, 256)

_MOST_INSTRUMENTS = 32  # a telescope has a few

STAGES = ("decode", "normalise", "queue", "infer", "conclude", "produce")
WEBHOOK_RESULTS = ("delivered", "failed", "dropped")
SINCE = ("received", "message", "producer", "light")


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What librdkafka last said of one broker."""

    up: bool
    round_trip_s: float | None


@dataclass(slots=True, eq=False)
class ClientStatistics(Collector):
    """Gauges over the last statistics of librdkafka, replaced as a whole."""

    lag: Mapping[tuple[str, int], int] = field(default_factory=dict)
    brokers: Mapping[tuple[str, str], BrokerState] = field(default_factory=dict)
    """By client (consumer, producer) and broker."""

    def collect(self) -> Iterable[Metric]:
        """The families as of the last statistics."""
        lag = GaugeMetricFamily(
            "streamfilter_consumer_lag",
            "Messages between the committed offset and the end of the partition.",
            labels=("topic", "partition"),
        )
        for (topic, partition), value in self.lag.items():
            lag.add_metric((topic, str(partition)), value)
        up = GaugeMetricFamily(
            "streamfilter_broker_up",
            "1 where the connection to the broker is up.",
            labels=("client", "broker"),
        )
        rtt = GaugeMetricFamily(
            "streamfilter_broker_round_trip_seconds",
            "Mean round trip to the broker over the last statistics interval.",
            labels=("client", "broker"),
        )
        for labels, state in self.brokers.items():
            up.add_metric(labels, state.up)
            if state.round_trip_s is not None:
                rtt.add_metric(labels, state.round_trip_s)
        return lag, up, rtt


class Metrics:
    """All instruments of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.clients = ClientStatistics()
        registry.register(self.clients)
        self.build = Info("streamfilter_build", "Version of streamfilter.", registry=registry)
        self.engine = Info("streamfilter_engine", "The network in use.", registry=registry)
        self.messages = self._counter("messages_total", "Messages read.")
        self.message_bytes = self._counter("message_bytes_total", "Bytes of messages read.")
        self.alerts = self._counter(
            "alerts_total", "Alerts judged.", "survey", "verdict", "contaminant", "action"
        )
        self.not_evaluated = self._counter(
            "stamps_not_evaluated_total", "Stamps that the network did not see.", "survey", "reason"
        )
        self.rejected = self._counter("rejected_total", "Messages rejected.", "reason")
        self.outputs = self._counter("outputs_total", "Messages acknowledged.", "output")
        self.output_failures = self._counter(
            "output_failures_total", "Messages that the broker refused.", "output"
        )
        self.shed = self._counter(
            "shed_total", "Alerts published unjudged: too old to wait for the network.", "survey"
        )
        self.age = self._histogram(
            "age_seconds", "Age of alerts when read, by their Kafka timestamp.", _LATENCY_S
        )
        self.commits = self._counter("commits_total", "Offset commits.")
        self.rebalances = self._counter("rebalances_total", "Assignments of partitions.")
        self.stage = self._histogram("stage_seconds", "Time in a stage.", _STAGE_S, "stage")
        self.latency = self._histogram(
            "latency_seconds", "From a start to the acknowledged output.", _LATENCY_S, "since"
        )
        self.batch_stamps = self._histogram("batch_stamps", "Stamps a batch.", _STAMPS, "side")
        self.in_flight = self._gauge("in_flight_messages", "Messages read and not settled.")
        self.in_flight_bytes = self._gauge("in_flight_bytes", "Their bytes.")
        self.queue_depth = self._gauge("queue_depth_stamps", "Stamps that wait for the network.")
        self.paused = self._gauge(
            "paused", "1 while reading is paused because enough is in flight."
        )
        self.assigned = self._gauge("assigned_partitions", "Partitions of this worker.")
        self.ready = self._gauge("ready", "1 after warm-up and assignment.")
        for stage in STAGES:
            self.stage.labels(stage)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"streamfilter_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"streamfilter_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"streamfilter_{name}", text, labels, buckets=buckets, registry=self.registry
        )


class ExposureMetrics:
    """All instruments of the exposure half."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def name(rest: str) -> str:
            return f"streamfilter_exposure_{rest}"

        instrument = ("instrument",)
        self.messages = Counter(
            name("messages_total"), "Messages of exposures read.", registry=registry
        )
        self.rejected = Counter(
            name("rejected_total"), "Messages rejected.", ("reason",), registry=registry
        )
        self.not_evaluated = Counter(
            name("frames_not_evaluated_total"),
            "Frames that the network did not see.",
            ("reason",),
            registry=registry,
        )
        self.decisions = Counter(
            name("decisions_total"),
            "Decisions on detectors and exposures.",
            ("kind", *instrument, "decision"),
            registry=registry,
        )
        self.probability = Gauge(
            name("tracking_error_probability"),
            "Of the last exposure judged; NaN where nothing could be.",
            instrument,
            registry=registry,
        )
        self.latency = Histogram(
            name("latency_seconds"),
            "From a start to the acknowledged verdict on an exposure.",
            ("since",),
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.look = Histogram(
            name("look_seconds"), "Time spent on a message.", buckets=_LATENCY_S, registry=registry
        )
        self.output_failures = Counter(
            name("output_failures_total"), "Messages that the broker refused.", registry=registry
        )
        self.webhook_notices = Counter(
            "streamfilter_webhook_notices_total",
            "Notices to the webhook, by what became of them.",
            ("result",),
            registry=registry,
        )
        for result in WEBHOOK_RESULTS:
            self.webhook_notices.labels(result)
        self.webhook_seconds = Histogram(
            "streamfilter_webhook_seconds",
            "From a verdict to the last answer of the webhook.",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.open = Gauge(name("open"), "Exposures that wait for detectors.", registry=registry)
        self.ready = Gauge(name("ready"), "1 after assignment.", registry=registry)
        self._instruments: set[str] = set()

    def instrument(self, name: str) -> str:
        """The label of an instrument: anyone may write a name, so only the first few have one."""
        if len(self._instruments) < _MOST_INSTRUMENTS:
            self._instruments.add(name)
        return name if name in self._instruments else "other"
