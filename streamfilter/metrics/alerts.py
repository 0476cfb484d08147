"""Metrics of a worker for alerts."""

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Info

from streamfilter.metrics.instruments import (
    DEVICE_MEMORY_TEXT,
    LATENCY_S,
    STAGE_S,
    Instruments,
    LatencyMetrics,
    SchemaMetrics,
)
from streamfilter.metrics.kafka import ClientStatistics, TransactionMetrics

_STAMPS = (1, 2, 4, 8, 12, 16, 32, 64, 128, 256)
STAGES = ("decode", "normalise", "queue", "infer", "conclude", "produce")
SINCE = ("received", "message", "producer", "light")


class TimeMetrics:
    """Durations: of the stages in a worker for alerts, and from exposure to output."""

    def __init__(self, made: Instruments) -> None:
        self.age = made.histogram(
            "age_seconds", "Age of alerts when read, by their Kafka timestamp.", LATENCY_S
        )
        stages = made.histogram(
            "stage_seconds",
            "Time in a stage: of an alert, infer of a batch. queue waits for the network, produce "
            "for the broker.",
            STAGE_S,
            "stage",
        )
        self.latency = LatencyMetrics(
            made,
            "To the last acknowledged output of an alert: since it was received, the message's "
            "timestamp, the producer's header, or the end of the exposure (light).",
            SINCE,
        )
        self.also = made.histogram(
            "also_seconds", "Time of a batch in a further engine (engine.also).", STAGE_S, "engine"
        )
        self.stage = {stage: stages.labels(stage) for stage in STAGES}


class FlowMetrics:
    """Messages in progress in a worker for alerts, and messages that wait."""

    def __init__(self, made: Instruments) -> None:
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


class AlertMetrics:
    """All instruments of one worker for alerts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        made = Instruments(registry, "streamfilter")
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
        self.also = Info(
            "streamfilter_also", "A further engine (engine.also).", ["name"], registry=registry
        )
        self.asked = made.counter(
            "also_asked_total",
            "Alerts about which a further engine was asked (engine.also).",
            "survey",
            "engine",
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
        self.device_memory = made.gauge("device_memory_bytes", DEVICE_MEMORY_TEXT, "engine", "kind")
        self.healthy = made.gauge("healthy", "0 once it failed or makes no progress, as /healthz.")

    def begin(
        self,
        *,
        surveys: Collection[str],
        outputs: Collection[str],
        reasons: Collection[str],
        changes: Collection[str],
        also: Collection[str] = (),
    ) -> None:
        """Start all counters at 0: Prometheus sees no increase in the first value of a series."""
        for survey in surveys:
            self.shed.labels(survey)
            for change in changes:
                self.schema_changes.labels(survey, change)
            for engine in also:
                self.asked.labels(survey, engine)
        for engine in also:
            self.times.also.labels(engine)
        for output in outputs:
            self.outputs.labels(output)
            self.output_failures.labels(output)
        for reason in reasons:
            self.rejected.labels(reason)
