"""Metrics of the Kafka clients: lag, brokers, queues, and transactions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamfilter.metrics.instruments import STAGE_S

TRANSACTION_RESULTS = ("committed", "aborted")


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The state of one broker in librdkafka's last statistics."""

    up: bool
    round_trip_s: float | None
    errors: int
    """Errors since the client was started."""


@dataclass(slots=True, eq=False)
class ClientStatistics(Collector):
    """Gauges of librdkafka's last statistics; new statistics replace all of them."""

    lag: Mapping[tuple[str, int], int] = field(default_factory=dict)
    brokers: Mapping[tuple[str, str], BrokerState] = field(default_factory=dict)
    """Brokers by client (consumer, producer) and name."""
    queued: Mapping[str, int] = field(default_factory=dict)
    """Queued messages by client."""
    stalled: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """Seconds, of the partitions that stand still."""
    stalls: int = 0
    """How often one came to stand still."""
    skipped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Offsets, by topic and reason."""
    rebalances: int = 0
    configurations: int = 1
    """Different settings of verdicts among the members of the group; 1 where all have the same."""
    prefix: str = "streamfilter"
    """Prefix of the metrics' names; each worker of a process has its own."""

    def collect(self) -> Iterable[Metric]:
        """Returns the gauges of the last statistics."""
        lag = GaugeMetricFamily(
            f"{self.prefix}_consumer_lag",
            "Messages between the committed offset and the end of the partition.",
            labels=("topic", "partition"),
        )
        for (topic, partition), value in self.lag.items():
            lag.add_metric((topic, str(partition)), value)
        up = GaugeMetricFamily(
            f"{self.prefix}_broker_up",
            "1 where the connection to the broker is up.",
            labels=("client", "broker"),
        )
        rtt = GaugeMetricFamily(
            f"{self.prefix}_broker_round_trip_seconds",
            "Mean round trip to the broker over the last statistics interval.",
            labels=("client", "broker"),
        )
        errors = CounterMetricFamily(
            f"{self.prefix}_broker_errors",
            "Requests to the broker and answers of it that failed.",
            labels=("client", "broker"),
        )
        queued = GaugeMetricFamily(
            f"{self.prefix}_client_queued_messages",
            "Messages in the client: fetched and not read (consumer), sent and not acknowledged "
            "(producer).",
            labels=("client",),
        )
        configurations = GaugeMetricFamily(
            f"{self.prefix}_group_configurations",
            "Different settings of verdicts and outputs among the members of the consumer group; "
            "1 is well.",
            value=self.configurations,
        )
        for client, messages in self.queued.items():
            queued.add_metric((client,), messages)
        for labels, state in self.brokers.items():
            up.add_metric(labels, state.up)
            errors.add_metric(labels, state.errors)
            if state.round_trip_s is not None:
                rtt.add_metric(labels, state.round_trip_s)
        return lag, up, rtt, errors, queued, configurations, *self._standstill()

    def _standstill(self) -> Iterable[Metric]:
        stalled = GaugeMetricFamily(
            f"{self.prefix}_stalled_seconds",
            "For how long a partition has given nothing though it goes on, or what was read of it "
            "has no answer; shown past kafka.stall_s.",
            labels=("topic", "partition"),
        )
        for (topic, partition), seconds in self.stalled.items():
            stalled.add_metric((topic, str(partition)), seconds)
        stalls = CounterMetricFamily(
            f"{self.prefix}_stalls", "Times that a partition came to stand still."
        )
        stalls.add_metric((), self.stalls)
        skipped = CounterMetricFamily(
            f"{self.prefix}_skipped",
            "Offsets that were stepped over unread: the topic no longer held them (retention), or "
            "reading begins behind them (latest).",
            labels=("topic", "reason"),
        )
        for labels, offsets in self.skipped.items():
            skipped.add_metric(labels, offsets)
        return stalled, stalls, skipped


class TransactionMetrics:
    """Transactions of one worker that publishes its outputs in transactions."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._total = Counter(
            f"{prefix}_transactions_total", "Transactions, by their end.", ("result",),
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            f"{prefix}_transaction_seconds",
            "From the begin of a transaction to its commit.",
            buckets=STAGE_S,
            registry=registry,
        )
        for result in TRANSACTION_RESULTS:
            self._total.labels(result)

    def committed(self, seconds: float) -> None:
        """Count a committed transaction, and how long it took."""
        self._total.labels("committed").inc()
        self._seconds.observe(seconds)

    def aborted(self) -> None:
        """Count an aborted transaction."""
        self._total.labels("aborted").inc()
