"""What a Kafka client shows: lag, brokers, queues, and transactions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamfilter.metrics.instruments import STAGE_S

TRANSACTION_RESULTS = ("committed", "aborted")


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What librdkafka last said of one broker."""

    up: bool
    round_trip_s: float | None
    errors: int
    """Since the client began."""


@dataclass(slots=True, eq=False)
class ClientStatistics(Collector):
    """Gauges over the last statistics of librdkafka, replaced as a whole."""

    lag: Mapping[tuple[str, int], int] = field(default_factory=dict)
    brokers: Mapping[tuple[str, str], BrokerState] = field(default_factory=dict)
    """By client (consumer, producer) and broker."""
    queued: Mapping[str, int] = field(default_factory=dict)
    """Messages by client."""
    rebalances: int = 0
    configurations: int = 1
    """Of what decides verdicts, among the members of the group; 1 where all have the same."""
    prefix: str = "streamfilter"
    """Of the families: workers of one process have each their own."""

    def collect(self) -> Iterable[Metric]:
        """The families as of the last statistics."""
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
        return lag, up, rtt, errors, queued, configurations


class TransactionMetrics:
    """Transactions of one worker, where outputs are published in them."""

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
        """One was committed, so long after its begin."""
        self._total.labels("committed").inc()
        self._seconds.observe(seconds)

    def aborted(self) -> None:
        """One was aborted."""
        self._total.labels("aborted").inc()
