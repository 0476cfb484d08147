"""Publishes verdicts and rejections, and settles messages whose outputs are delivered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog

from streamfilter.alerts.encode import Encoder, written_anew
from streamfilter.errors import Reason
from streamfilter.headers import rejected_message
from streamfilter.kafka.sink import Undeliverable
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.records import PRODUCER_TIMESTAMP, Action, Annotation, Headers, Output, Rejected
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.survey_topics import SurveyTopics
from streamfilter.service.alerts.ticket import AlertTicket
from streamfilter.service.delivery.parcel import Parcel
from streamfilter.service.live import Live
from streamfilter.service.rejecting import note_rejected, rejections, smaller_or_fail

log = structlog.get_logger(__name__)

_DIGITS = 16  # of milliseconds, to the year 300,000: anyone may write any header


class AlertPublisher:
    """Publishes the outputs of messages; any thread may call.

    Parameters
    ----------
    order
        Takes the outputs, and delivers them in the order of reading.
    in_flight
        Settles a message once all its outputs are delivered.
    survey_topics
        Knows whether a survey's own topics are there.
    """

    def __init__(
        self,
        *,
        order: PartitionOrder,
        in_flight: InFlight,
        encoder: Encoder,
        survey_topics: SurveyTopics,
        metrics: AlertMetrics,
    ) -> None:
        self._order = order
        self._in_flight = in_flight
        self._encoder = encoder
        self._survey_topics = survey_topics
        self._metrics = metrics
        self._live = Live()

    @contextmanager
    def rejecting(self, ticket: AlertTicket) -> Iterator[None]:
        """Turns an exception of the block into a rejected message.

        One bad alert stops no stream.

        Raises
        ------
        StreamfilterError
            An engine or a broker failed, which is no fault of the message.
        """
        try:
            yield
        except Exception as error:
            (rejected,) = rejections(error, ticket.message, ids=ticket.ids)
            if ticket.give_up():
                self.reject(ticket, rejected)

    def publish(self, ticket: AlertTicket, annotation: Annotation) -> None:
        """Publish a judged alert: annotation, enriched alert, and the alert itself by its action.

        Raises
        ------
        MessageRejected, SchemaUnavailable
            Nothing of it was published: it is enriched already, its survey lacks a topic, or a
            schema cannot be had.
        TransportFailed
            The broker cannot be used.
        """
        in_force, message, survey = ticket.in_force, ticket.message, annotation.alert.survey
        self._survey_topics.require(survey, in_force.own_topics(survey))
        topics = in_force.topics_of(survey)
        headers = ticket.passed_on(self._encoder.headers(annotation))
        if ticket.trace is not None:
            ticket.trace.judged(annotation)
        outputs, anew = [], written_anew(headers)
        if topics.annotations:
            outputs.append(self._encoder.output(annotation, topics.annotations, anew))
        if topics.enriched:
            value = self._encoder.enriched(annotation, topics.enriched)
            outputs.append(self._as_it_came(ticket, topics.enriched, anew, value))
        dropped = annotation.verdict.action is Action.DROP
        if route := topics.contaminated if dropped else topics.clean:
            outputs.append(self._as_it_came(ticket, route, headers, message.value))
        self._count(annotation)
        self._send(ticket, outputs)

    def reject(self, ticket: AlertTicket, rejected: Rejected) -> None:
        """Publish a message that could not be used, with its bytes unchanged."""
        note_rejected(rejected, self._metrics.rejected, ticket.ids)
        if ticket.trace is not None:
            ticket.trace.failure = str(rejected.reason)
        wanted = bool(ticket.in_force.topics.rejected)
        self._send(ticket, [self._rejection(ticket, rejected)] if wanted else [])

    def _rejection(self, ticket: AlertTicket, rejected: Rejected) -> Output:
        value, headers = rejected_message(rejected)
        return self._as_it_came(
            ticket, ticket.in_force.topics.rejected, ticket.passed_on(headers), value
        )

    def _as_it_came(
        self, ticket: AlertTicket, topic: str, headers: Headers, value: bytes | None
    ) -> Output:
        message = ticket.message
        return Output(message.origin, topic, value, message.key, headers, message.timestamp_ms)

    def _send(self, ticket: AlertTicket, outputs: list[Output]) -> None:
        origin = ticket.message.origin
        parcel = Parcel(
            outputs,
            {origin: ticket.generation},
            (origin,),
            instead=partial(self._instead, ticket),
            delivered=partial(self._delivered, ticket),
            dropped=lambda _: self._in_flight.drop(ticket),
        )
        self._order.send(ticket, parcel)

    def _delivered(self, ticket: AlertTicket, parcel: Parcel) -> None:
        for output in parcel.outputs:
            self._metrics.outputs.labels(ticket.in_force.names[output.topic]).inc()
        if parcel.outputs:
            self._time(ticket)
        self._in_flight.settle(ticket)

    def _instead(
        self, ticket: AlertTicket, output: Output, refusal: Undeliverable
    ) -> Output | None:
        """Returns what is published instead of a refused output; None where another output answers.

        Raises
        ------
        TransportFailed
            Nothing is left to try, and the alert would have no answer.
        """
        in_force = ticket.in_force
        name = in_force.names[output.topic]
        self._metrics.output_failures.labels(name).inc()
        log.error(
            "output refused",
            output=name,
            topic=output.topic,
            detail=refusal.detail,
            origin=str(output.origin),
            **ticket.ids,
        )
        if not in_force.topics.rejected:
            return None
        if output.topic == in_force.topics.rejected:
            return smaller_or_fail(output, refusal)
        if not ticket.give_up():
            return None  # another output of the alert was refused before: one answer is enough
        self._metrics.rejected.labels(Reason.OUTPUT_TOO_LARGE).inc()
        detail = f"{name}: {refusal.detail}"
        return self._rejection(ticket, Rejected(ticket.message, Reason.OUTPUT_TOO_LARGE, detail))

    def _count(self, annotation: Annotation) -> None:
        verdict, survey = annotation.verdict, annotation.alert.survey
        self._metrics.alerts.labels(
            survey, verdict.label, verdict.contaminant or "none", verdict.action
        ).inc()
        for stamp in annotation.stamps:
            if stamp.not_evaluated:
                self._metrics.not_evaluated.labels(survey, stamp.not_evaluated).inc()
        for opinion in annotation.also:
            self._metrics.asked.labels(survey, opinion.engine.name).inc()

    def _time(self, ticket: AlertTicket) -> None:
        """Measure latencies, when the last output is delivered."""
        now = time.time()
        since = {"received": ticket.received_unix_s}
        message = ticket.message
        if message.timestamp_ms is not None:
            since["message"] = message.timestamp_ms / 1000
        for name, value in message.headers:
            if name == PRODUCER_TIMESTAMP and value and len(value) <= _DIGITS and value.isdigit():
                since["producer"] = int(value) / 1000
        if ticket.prepared and ticket.prepared.alert.light_end_unix_s is not None:
            since["light"] = ticket.prepared.alert.light_end_unix_s
        why_not = self._live.why_not([(message, ticket.received_unix_s)], since.get("light"))
        self._metrics.times.latency.observe(since, now, why_not)
        self._metrics.times.stage["produce"].observe(time.monotonic() - ticket.sent_s)
