"""What the service keeps of one message from reading to settling."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from streamfilter.alerts.pipeline import Item, Pipeline, Prepared
from streamfilter.config import Outputs, has_survey, of_survey
from streamfilter.records import Alert, Headers, Message, StampEvidence, Times
from streamfilter.traces.spans import Trace, Tracer

log = structlog.get_logger(__name__)


class InForce:
    """What a message is judged by, and where it goes; it stays the same from reading to settling.

    An object never changes: a reload makes another one.
    """

    def __init__(self, pipeline: Pipeline, topics: Outputs, tracer: Tracer | None = None) -> None:
        self.pipeline = pipeline
        self.tracer = tracer
        self.topics = topics
        self._of_survey = {
            survey: topics.model_copy(update={key: of_survey(each, survey) for key, each in topics})
            for survey in pipeline.surveys
        }
        self._own_topics = {
            survey: tuple(of_survey(each, survey) for _, each in topics if has_survey(each))
            for survey in pipeline.surveys
        }
        self.names: Mapping[str, str] = {
            topic: name
            for each in self._of_survey.values()
            for name, topic in each.model_dump().items()
            if topic
        }
        """By topic, the output's name in the settings."""

    def topics_of(self, survey: str) -> Outputs:
        """Returns the topics of a survey's outputs."""
        return self._of_survey[survey]

    def own_topics(self, survey: str) -> tuple[str, ...]:
        """Returns the topics that a survey has for itself; empty where no name has ``{survey}``."""
        return self._own_topics[survey]

    @property
    def annotation_topics(self) -> tuple[str, ...]:
        """Returns the topics of annotations: one for all surveys, or one for each."""
        topics = dict.fromkeys(each.annotations for each in self._of_survey.values())
        return tuple(topic for topic in topics if topic)


@dataclass(slots=True)
class Reloadable:
    """Holds what the next message is judged by; a reload replaces it between two messages."""

    now: InForce


@dataclass(slots=True, eq=False)
class AlertTicket:
    """One message in flight; its counters are changed under its lock.

    Times are Unix seconds (``received``) and durations in seconds.
    """

    message: Message
    received_unix_s: float
    in_force: InForce
    generation: int = 0
    """Of its partition: another one after the partition was given up."""
    decode_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    also_s: dict[str, float] = field(default_factory=dict)
    prepared: Prepared | None = None
    evidence: list[StampEvidence | None] = field(default_factory=list)
    sent_s: float = 0.0
    """Monotonic time at which the outputs were handed over for delivery."""
    given_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    trace: Trace | None = None
    """Only alerts that are sampled have one, where traces are on."""

    def __post_init__(self) -> None:
        """Decide whether the alert is traced."""
        if self.in_force.tracer is None:
            return
        try:
            self.trace = self.in_force.tracer.begin(self.message, self.received_unix_s)
        except Exception:  # an alert is worth more than its trace
            log.error("internal error", origin=str(self.message.origin), exc_info=True)

    @property
    def ids(self) -> dict[str, str]:
        """Returns the ids of the alert's trace, for log lines; empty without a trace."""
        return {} if self.trace is None else self.trace.ids

    def passed_on(self, headers: Headers) -> Headers:
        """Returns headers of an output: they continue the trace, where there is one."""
        return headers if self.trace is None else self.trace.passed_on(headers)

    @property
    def size_bytes(self) -> int:
        """The bytes of the message."""
        return len(self.message.value or b"")

    @property
    def age_s(self) -> float | None:
        """The age by the message's Kafka timestamp when it was read; None without a timestamp."""
        sent_ms = self.message.timestamp_ms
        return None if sent_ms is None else self.received_unix_s - sent_ms / 1000

    def prepare(self, prepared: Prepared) -> tuple[Item, ...]:
        """Keep the prepared alert; returns its stamps for the network."""
        self.prepared = prepared
        self.evidence = list(prepared.evidence)
        return prepared.items

    def concluded(self) -> tuple[Alert, list[StampEvidence], Times]:
        """Returns what the annotation is made of, once every stamp has its evidence."""
        assert self.prepared is not None, "prepared before it is concluded"
        times = Times(self.received_unix_s, self.decode_s, self.queue_s, self.infer_s, self.also_s)
        return self.prepared.alert, [each for each in self.evidence if each is not None], times

    def judged(self, queue_s: float, infer_s: float) -> None:
        """Keep how long one stamp waited, and how long the first engine took for its batch."""
        with self.lock:
            self.queue_s = max(self.queue_s, queue_s)
            self.infer_s = max(self.infer_s, infer_s)

    def asked(self, engine: str, infer_s: float) -> None:
        """Keep how long a further engine took for one stamp's batch."""
        with self.lock:
            self.also_s[engine] = max(self.also_s.get(engine, 0.0), infer_s)

    def add(self, slot: int, evidence: StampEvidence) -> bool:
        """Keep the evidence of one stamp; True once every stamp has its own."""
        with self.lock:
            self.evidence[slot] = evidence
            return None not in self.evidence

    def give_up(self) -> bool:
        """Give the message up for rejection; True for the first caller, who rejects it."""
        with self.lock:
            first, self.given_up = not self.given_up, True
            return first
