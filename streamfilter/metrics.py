"""Every Prometheus instrument, in one bundle made from an injected registry.

Labels are from closed sets: surveys of the loaded field maps, classes of the table, reasons and
verdicts of their enumerations. Seconds and bytes are base units, counters end in ``_total``.
"""

import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# From a twentieth of a decode to the longest queue that a person would wait for.
_STAGE_S = (
    *(1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    *(5, 10, 30, 120),
)
# Rubin's requirement is 60 s from readout for 98 % of alerts; our own part is milliseconds.
_LATENCY_S = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(120, 300, 900, 3600),
)
_STAMPS = (1, 2, 4, 8, 12, 16, 32, 64, 128, 256)

_MOST_INSTRUMENTS = 32  # a telescope has a few
_MOST_DETECTORS = 256  # of an instrument; LSST has 205
_MOST_FAILURES = 8  # of an instrument: more than fail between two scrapes
OTHER = "other"

_DEVICE_TEXT = "Memory of a GPU: an engine's buffers there, what is free, and all of it."
DEVICE_MEMORY = ("buffers", "free", "total")
STAGES = ("decode", "normalise", "queue", "infer", "conclude", "produce")
WEBHOOK_RESULTS = ("delivered", "failed", "dropped")
SCHEMA_RESULTS = ("found", "refused", "unavailable")
TRANSACTION_RESULTS = ("committed", "aborted")
SINCE = ("received", "message", "producer", "light")
SINCE_OF_EXPOSURES = ("received", "message", "mid_exposure")


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
        for client, messages in self.queued.items():
            queued.add_metric((client,), messages)
        for labels, state in self.brokers.items():
            up.add_metric(labels, state.up)
            errors.add_metric(labels, state.errors)
            if state.round_trip_s is not None:
                rtt.add_metric(labels, state.round_trip_s)
        return lag, up, rtt, errors, queued


@dataclass(frozen=True, slots=True)
class LastExposure:
    """What the last exposure of an instrument left to look at."""

    judged_unix_s: float
    detectors: Mapping[str, tuple[float | None, float | None]]
    """By detector, whether it has a tracking error (1, 0, None: cannot tell) and how probably."""
    failures: Mapping[str, float] = field(default_factory=dict)
    """By exposure, when it was judged a failure (Unix seconds), the latest last."""


@dataclass(slots=True, eq=False)
class LastExposures(Collector):
    """Gauges over the last exposure of each instrument, replaced as a whole.

    Their names come from messages: of each only so many are shown.
    """

    prefix: str
    """Of the families' names."""
    last: Mapping[str, LastExposure] = field(default_factory=dict)

    def judged(
        self,
        instrument: str,
        exposure_id: str,
        failed: bool,
        detectors: Mapping[str, tuple[float | None, float | None]],
        now_unix_s: float,
    ) -> None:
        """Remember an exposure; one that no longer fails, in a later revision, is taken back."""
        before = self.last.get(instrument)
        failures = {
            k: v for k, v in (before.failures if before else {}).items() if k != exposure_id
        }
        if failed:
            failures[exposure_id] = now_unix_s
        # Detectors of unlike cameras under one label would make no map.
        names = [] if instrument == OTHER else sorted(detectors)[:_MOST_DETECTORS]
        seen = LastExposure(
            now_unix_s,
            {name: detectors[name] for name in names},
            dict(list(failures.items())[-_MOST_FAILURES:]),
        )
        self.last = {**self.last, instrument: seen}

    def collect(self) -> Iterable[Metric]:
        """The families as of the last exposures."""
        prefix = self.prefix
        judged = GaugeMetricFamily(
            f"{prefix}_judged_timestamp_seconds",
            "When the last exposure was judged.",
            labels=("instrument",),
        )
        failure = GaugeMetricFamily(
            f"{prefix}_failure_timestamp_seconds",
            f"When exposures were judged to have a tracking error, the last {_MOST_FAILURES}.",
            labels=("instrument", "exposure"),
        )
        error = GaugeMetricFamily(
            f"{prefix}_detector_tracking_error",
            "1 where a detector of the last exposure has a tracking error, 0 where it has none, "
            "NaN where that cannot be told.",
            labels=("instrument", "detector"),
        )
        probability = GaugeMetricFamily(
            f"{prefix}_detector_tracking_error_probability",
            "Of the detectors of the last exposure; NaN where nothing could be judged.",
            labels=("instrument", "detector"),
        )
        for instrument, seen in self.last.items():
            judged.add_metric((instrument,), seen.judged_unix_s)
            for exposure_id, at_unix_s in seen.failures.items():
                failure.add_metric((instrument, exposure_id), at_unix_s)
            for detector, found in seen.detectors.items():
                for family, value in zip((error, probability), found, strict=True):
                    family.add_metric((instrument, detector), _or_nan(value))
        return judged, failure, error, probability


def _or_nan(value: float | None) -> float:
    """Prometheus has no other word for what is not known."""
    return float("nan") if value is None else value


def describe_process(registry: CollectorRegistry, version: str) -> None:
    """What is known of the process whatever it works at: version, memory, processor, files."""
    build = Info("streamfilter_build", "Version of streamfilter.", registry=registry)
    build.info({"version": version, "python": platform.python_version()})
    ProcessCollector(registry=registry)


def describe_masking(registry: CollectorRegistry, identity: Mapping[str, str]) -> None:
    """Which network searches exposures for contaminants, beside the one that judges tracking."""
    masking = Info(
        "streamfilter_contaminants_masking_engine",
        "The network that searches exposures for contaminants.",
        registry=registry,
    )
    masking.info(dict(identity))


@dataclass(frozen=True, slots=True)
class _Instruments:
    """Makes instruments of one prefix in one registry."""

    registry: CollectorRegistry
    prefix: str

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{self.prefix}_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{self.prefix}_{name}", text, labels, registry=self.registry)

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"{self.prefix}_{name}", text, labels, buckets=buckets, registry=self.registry
        )


class SchemaMetrics:
    """What becomes of writer schemas; for both halves of a worker."""

    def __init__(self, registry: CollectorRegistry, prefix: str = "streamfilter") -> None:
        self.fetches = Counter(
            f"{prefix}_schema_fetches_total",
            "Questions for writer schemas, by their end.",
            ("result",),
            registry=registry,
        )
        for result in SCHEMA_RESULTS:
            self.fetches.labels(result)


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
            buckets=_STAGE_S,
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


class TimeMetrics:
    """How long it takes: the stages of a worker for alerts, and an alert's whole way."""

    def __init__(self, made: _Instruments) -> None:
        self.age = made.histogram(
            "age_seconds", "Age of alerts when read, by their Kafka timestamp.", _LATENCY_S
        )
        self.stage = made.histogram(
            "stage_seconds",
            "Time in a stage: of an alert, infer of a batch. queue waits for the network, produce "
            "for the broker.",
            _STAGE_S,
            "stage",
        )
        self.latency = made.histogram(
            "latency_seconds",
            "To the last acknowledged output of an alert: since it was received, the message's "
            "timestamp, the producer's header, or the end of the exposure (light).",
            _LATENCY_S,
            "since",
        )
        for stage in STAGES:
            self.stage.labels(stage)
        for since in SINCE:
            self.latency.labels(since)


class FlowMetrics:
    """What is under way in a worker for alerts, and what waits."""

    def __init__(self, made: _Instruments) -> None:
        self.in_flight = made.gauge("in_flight_messages", "Messages read and not settled.")
        self.in_flight_bytes = made.gauge(
            "in_flight_bytes", "Bytes of messages read and not settled."
        )
        self.queue_depth = made.gauge("queue_depth_stamps", "Stamps that wait for the network.")
        self.held = made.gauge(
            "held_partitions", "Partitions that wait for a schema that is not here yet."
        )
        self.paused = made.gauge("paused", "1 while reading is paused because enough is in flight.")
        self.assigned = made.gauge("assigned_partitions", "Partitions of this worker.")


class Metrics:
    """All instruments of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        made = _Instruments(registry, "streamfilter")
        self.clients = ClientStatistics()
        registry.register(self.clients)
        self.engine = Info("streamfilter_engine", "The network in use.", registry=registry)
        self.messages = made.counter("messages_total", "Messages read.")
        self.message_bytes = made.counter(
            "message_bytes_total", "Bytes of the messages read, their values."
        )
        self.alerts = made.counter(
            "alerts_total",
            "Alerts published, by verdict, class that decided (none: no class) and action.",
            "survey",
            "verdict",
            "contaminant",
            "action",
        )
        self.not_evaluated = made.counter(
            "stamps_not_evaluated_total", "Stamps that the network did not see.", "survey", "reason"
        )
        self.rejected = made.counter(
            "rejected_total", "Messages that could not be used, by reason.", "reason"
        )
        self.outputs = made.counter(
            "outputs_total", "Messages that the brokers acknowledged, by output.", "output"
        )
        self.output_failures = made.counter(
            "output_failures_total", "Messages that the broker refused.", "output"
        )
        self.shed = made.counter(
            "shed_total", "Alerts published unjudged: too old to wait for the network.", "survey"
        )
        self.schema_changes = made.counter(
            "schema_changes_total",
            "Writer schemas and wire forms that were new in a topic, by what they change.",
            "survey",
            "change",
        )
        self.commits = made.counter("commits_total", "Offset commits outside transactions.")
        self.rebalances = made.counter(
            "rebalances_total", "Times that partitions were assigned to this worker."
        )
        self.batch_stamps = made.histogram(
            "batch_stamps", "Stamps in a batch, by the side in pixels.", _STAMPS, "side"
        )
        self.times, self.flow = TimeMetrics(made), FlowMetrics(made)
        self.schemas = SchemaMetrics(registry)
        self.transactions = TransactionMetrics(registry, "streamfilter")
        self.ready = made.gauge("ready", "1 once it is warm and has partitions, as /readyz.")
        self.device_memory = made.gauge("device_memory_bytes", _DEVICE_TEXT, "engine", "kind")
        self.healthy = made.gauge("healthy", "0 once it failed or makes no progress, as /healthz.")

    def begin(
        self,
        *,
        surveys: Collection[str],
        outputs: Collection[str],
        reasons: Collection[str],
        changes: Collection[str],
    ) -> None:
        """Show what may be counted at 0: Prometheus sees no increase where a series begins."""
        for survey in surveys:
            self.shed.labels(survey)
            for change in changes:
                self.schema_changes.labels(survey, change)
        for output in outputs:
            self.outputs.labels(output)
            self.output_failures.labels(output)
        for reason in reasons:
            self.rejected.labels(reason)


class WebhookMetrics:
    """What became of notices."""

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
            buckets=_LATENCY_S,
            registry=registry,
        )


class ExposureMetrics:
    """All instruments of the exposure half.

    Parameters
    ----------
    of
        ``exposure``, or ``contaminants`` for the worker that searches the same frames for those.
    """

    def __init__(self, registry: CollectorRegistry, of: str = "exposure") -> None:
        prefix = f"streamfilter_{of}"
        made = _Instruments(registry, prefix)
        self.clients = ClientStatistics(prefix=prefix)
        registry.register(self.clients)
        self.last = LastExposures(prefix=prefix)
        registry.register(self.last)
        self.engine = Info(f"{prefix}_engine", "The network in use.", registry=registry)
        self.messages = made.counter("messages_total", "Messages of exposures read.")
        self.rejected = made.counter("rejected_total", "Messages rejected.", "reason")
        self.not_evaluated = made.counter(
            "frames_not_evaluated_total", "Frames that the network did not see.", "reason"
        )
        self.decisions = made.counter(
            "decisions_total",
            "Decisions on detectors and exposures.",
            "kind",
            "instrument",
            "decision",
        )
        self.probability = made.gauge(
            "tracking_error_probability",
            "Of the last exposure judged; NaN where nothing could be.",
            "instrument",
        )
        self.latency = made.histogram(
            "latency_seconds",
            "To the acknowledged verdict on an exposure: since its last message was received, that "
            "message's timestamp, or the middle of the exposure.",
            _LATENCY_S,
            "since",
        )
        self.look = made.histogram(
            "look_seconds", "Time spent on a message: unpacking, stars, the network.", _LATENCY_S
        )
        self.transactions = TransactionMetrics(registry, prefix)
        self.output_failures = made.counter(
            "output_failures_total", "Messages that the broker refused."
        )
        self.area = made.gauge(
            "area_share",
            "Share of the last exposure's pixels that a class has, where those are searched.",
            "instrument",
            "contaminant",
        )
        self.schemas = SchemaMetrics(registry, prefix)
        self.open = made.gauge("open", "Exposures that wait for detectors.")
        self.ready = made.gauge("ready", "1 once it has partitions, as /readyz.")
        self.device_memory = made.gauge("device_memory_bytes", _DEVICE_TEXT, "engine", "kind")
        self.healthy = made.gauge("healthy", "0 once it failed or makes no progress, as /healthz.")
        for since in SINCE_OF_EXPOSURES:
            self.latency.labels(since)
        self._instruments: set[str] = set()

    def begin(self, *, reasons: Collection[str]) -> None:
        """Show what may be counted at 0: Prometheus sees no increase where a series begins."""
        for reason in reasons:
            self.rejected.labels(reason)

    def searched(self, instrument: str, shares: Mapping[str, float]) -> None:
        """Show the areas of an exposure's contaminants, by class."""
        for code, share in shares.items():
            self.area.labels(self.instrument(instrument), code).set(share)

    def instrument(self, name: str) -> str:
        """The label of an instrument: anyone may write a name, so only the first few have one."""
        if len(self._instruments) < _MOST_INSTRUMENTS:
            self._instruments.add(name)
        return name if name in self._instruments else OTHER
