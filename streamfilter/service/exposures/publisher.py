"""Publishes records of detectors, verdicts, masks and rejections, and settles their messages."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from streamfilter.errors import Reason
from streamfilter.exposures.encode import ReceivedExposure, TrackingEncoder, key_of, mask_headers
from streamfilter.exposures.focal_plane import Closed
from streamfilter.exposures.records import Announced, ExposureVerdict
from streamfilter.headers import rejected_message
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.sink import Undeliverable
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.records import Headers, Output, Rejected
from streamfilter.service.delivery.parcel import Delivery, Parcel
from streamfilter.service.exposures.alarm import Alarm
from streamfilter.service.exposures.gauges import count_decision, show_verdict
from streamfilter.service.exposures.looker import MessageOutcome
from streamfilter.service.exposures.ticket import ExposureTicket
from streamfilter.service.live import Live
from streamfilter.service.rejecting import note_rejected, smaller_or_fail

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Draft:
    """Everything that one event publishes; it is published together."""

    outputs: list[Output] = field(default_factory=list)
    tickets: dict[ExposureTicket, None] = field(default_factory=dict)
    """The messages for which something is published, in order."""
    finished: dict[ExposureTicket, None] = field(default_factory=dict)
    """Those of them for which nothing more will be published."""
    timed: list[Callable[[], None]] = field(default_factory=list)
    """Called once the draft is delivered."""

    def add(self, tickets: Sequence[ExposureTicket], output: Output | None) -> None:
        """Add an output for messages."""
        self.tickets |= dict.fromkeys(tickets)
        if output is not None:
            self.outputs.append(output)

    def finish(self, ticket: ExposureTicket) -> None:
        """Note that nothing more will be published for a message."""
        self.tickets[ticket] = self.finished[ticket] = None


class ExposurePublisher:
    """Publishes the outputs of messages about exposures.

    Parameters
    ----------
    topic, rejected_topic, masks_topic
        Where records, rejected messages and masks go; an empty name publishes nothing there.
    ledger
        Told once all that a message led to is delivered.
    """

    def __init__(
        self,
        *,
        delivery: Delivery,
        tracking: TrackingEncoder,
        topic: str,
        rejected_topic: str,
        masks_topic: str,
        metrics: ExposureMetrics,
        alarm: Alarm | None,
        ledger: Ledger,
    ) -> None:
        self._delivery = delivery
        self._tracking = tracking
        self._topic, self._rejected_topic = topic, rejected_topic
        self._masks_topic = masks_topic
        self._metrics = metrics
        self._alarm = alarm
        self._ledger = ledger
        self._live = Live()

    def announce(self, topic: str) -> None:
        """Register the schema of a topic's records; raises SchemaUnavailable."""
        if topic:
            self._tracking.register(topic)

    def route(self, topic: str, rejected_topic: str) -> None:
        """Publish to these topics from now on."""
        self._topic, self._rejected_topic = topic, rejected_topic

    def records(
        self,
        draft: Draft,
        ticket: ExposureTicket,
        announced: Announced,
        outcome: MessageOutcome,
        *,
        out: bool,
    ) -> None:
        """Add a message's records; ``out``: an earlier worker has published them."""
        for evidence in outcome.detectors:
            if evidence.not_evaluated is not None:
                self._metrics.not_evaluated.labels(evidence.not_evaluated).inc()
            decision = evidence.judgement.decision
            count_decision(
                self._metrics, "detector", announced.instrument, decision, evidence.not_judged
            )
            if out or outcome.rejected is not None or not self._topic:
                continue
            value, headers = self._tracking.detector(
                ticket.received(), evidence, outcome.look_s, self._topic
            )
            key = key_of(announced)
            draft.add((ticket,), self._output(ticket, self._topic, value, key, headers))
        if not out:
            self._masks(draft, ticket, announced, outcome.masks)

    def _masks(
        self,
        draft: Draft,
        ticket: ExposureTicket,
        announced: Announced,
        masks: Iterable[tuple[str, bytes]],
    ) -> None:
        for detector, content in masks if self._masks_topic else ():
            headers = mask_headers(announced, detector)
            key = key_of(announced)
            draft.add((ticket,), self._output(ticket, self._masks_topic, content, key, headers))

    def verdict(self, draft: Draft, closed: Closed, tickets: tuple[ExposureTicket, ...]) -> None:
        """Add the verdict on an exposure, for all its messages."""
        verdict = closed.verdict
        show_verdict(self._metrics, verdict)
        log.info(
            "exposure judged",
            exposure=verdict.exposure_id,
            instrument=verdict.instrument,
            decision=str(verdict.judgement.decision),
            probability=verdict.judgement.probability,
            voice=str(verdict.judgement.voice),
            not_judged=verdict.not_judged and str(verdict.not_judged),
            detectors=len(verdict.detectors),
            closing=str(verdict.closing),
            revision=verdict.revision,
        )
        received = [ticket.received() for ticket in tickets]
        if self._alarm is not None and received:
            self._alarm.judged(verdict, received[0].announced)
        if not self._topic or not received:
            return
        value, headers = self._tracking.exposure(received, verdict, self._topic)
        # Of the last message, which closed it.
        latest = max(tickets, key=lambda each: each.message.timestamp_ms or 0)
        output = self._output(latest, self._topic, value, key_of(received[0].announced), headers)
        draft.add(tickets, replace(output, origin=tickets[0].origin))
        draft.timed.append(partial(self._time, received, verdict))

    def reject(self, draft: Draft, ticket: ExposureTicket, rejected: Rejected) -> None:
        """Add a message that could not be used, with its bytes unchanged."""
        note_rejected(rejected, self._metrics.rejected)
        wanted = bool(self._rejected_topic)
        draft.add((ticket,), self._rejection(ticket, rejected) if wanted else None)

    def send(self, draft: Draft) -> None:
        """Publish a draft, if it has any output, and settle the messages that it finishes."""
        if not (draft.outputs or draft.finished):
            return
        for ticket in draft.tickets:
            ticket.more()
        self._delivery.send(
            Parcel(
                draft.outputs,
                {ticket.origin: ticket.generation for ticket in draft.tickets},
                tuple(ticket.origin for ticket in draft.finished),
                instead=partial(self._instead, next(iter(draft.tickets))),
                delivered=lambda _: self._delivered(draft),
                dropped=lambda _: None,
            )
        )

    def _delivered(self, draft: Draft) -> None:
        for timed in draft.timed:
            timed()
        for ticket in (*draft.tickets, *draft.finished):
            if ticket.done():
                self._ledger.settle(ticket.origin)

    def _rejection(self, ticket: ExposureTicket, rejected: Rejected) -> Output:
        value, headers = rejected_message(rejected)
        return self._output(ticket, self._rejected_topic, value, ticket.message.key, headers)

    def _output(
        self,
        ticket: ExposureTicket,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
    ) -> Output:
        message = ticket.message
        return Output(message.origin, topic, value, key, headers, message.timestamp_ms)

    def _instead(
        self, ticket: ExposureTicket, output: Output, refusal: Undeliverable
    ) -> Output | None:
        """Returns what is published instead of a refused output; None where nothing is.

        Raises
        ------
        TransportFailed
            Nothing is left to try, and the message would have no answer.
        """
        self._metrics.output_failures.inc()
        log.error("output refused", topic=output.topic, detail=refusal.detail)
        if output.topic == self._rejected_topic:
            return smaller_or_fail(output, refusal)
        if not self._rejected_topic:
            return None
        message = replace(ticket.message, value=None)
        rejected = Rejected(message, Reason.OUTPUT_TOO_LARGE, f"tracking: {refusal.detail}")
        return self._rejection(ticket, rejected)

    def _time(self, received: Sequence[ReceivedExposure], verdict: ExposureVerdict) -> None:
        """Measure latencies, when the first verdict on an exposure is delivered."""
        if verdict.revision > 1:
            return
        now = time.time()
        since = {"received": max(each.received_unix_s for each in received)}
        if stamps := [each.message.timestamp_ms for each in received if each.message.timestamp_ms]:
            since["message"] = max(stamps) / 1000
        mids = [each.announced.mid_exposure_unix_s for each in received]
        if known := [mid for mid in mids if mid is not None]:
            since["mid_exposure"] = known[0]
        arrivals = [(each.message, each.received_unix_s) for each in received]
        why_not = self._live.why_not(arrivals, since.get("mid_exposure"))
        self._metrics.latency.observe(since, now, why_not)
