"""From a verdict to delivered outputs: what is published, and when a message is settled."""

import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from streamfilter.alerts.encode import Encoder
from streamfilter.config import Outputs
from streamfilter.errors import Reason
from streamfilter.headers import rejected_message, smaller
from streamfilter.kafka.sink import Undeliverable
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.records import PRODUCER_TIMESTAMP, Action, Annotation, Headers, Output, Rejected
from streamfilter.schemas.finder import SchemaKey
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.ticket import AlertTicket
from streamfilter.service.delivery.at_least_once import Delivery, Parcel
from streamfilter.service.sharing import note_rejected

log = structlog.get_logger(__name__)

_DIGITS = 16  # to the year 300,000; anyone may write a header, and this is read in a callback


class AlertPublisher:
    """Publishes for tickets.

    Parameters
    ----------
    settled
        Called once all outputs of a ticket are delivered.
    dropped
        Called where its partition went before: its next owner publishes it.
    """

    def __init__(
        self,
        *,
        delivery: Delivery,
        encoder: Encoder,
        metrics: AlertMetrics,
        settled: Callable[[AlertTicket], None],
        dropped: Callable[[AlertTicket], None],
    ) -> None:
        self._delivery = delivery
        self._encoder = encoder
        self._metrics = metrics
        self._settled, self._dropped = settled, dropped
        self._order = PartitionOrder(dropped)

    def expect(self, ticket: AlertTicket) -> None:
        """A message was read: what later ones of its partition become waits for its answer."""
        self._order.expect(ticket)

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Partitions were given up: nothing waits for what was not answered there."""
        self._order.forget(partitions)

    def prepare(self, key: SchemaKey, topics: Outputs) -> None:
        """Have in place what publishing alerts of a writer schema takes.

        Raises
        ------
        SchemaUnavailable
            A schema could be neither registered nor kept.
        """
        if topics.annotations:
            self._encoder.register(topics.annotations)
        if topics.enriched:
            self._encoder.prepare(key, topics.enriched)

    def publish(self, ticket: AlertTicket, annotation: Annotation) -> None:
        """Publish a judged alert: annotation, enriched alert, and the alert itself by its action.

        Raises
        ------
        MessageRejected, SchemaUnavailable
            Nothing of it was published: it is enriched already, or a schema cannot be had.
        TransportFailed
            The broker cannot be used.
        """
        topics, message = ticket.in_force.topics, ticket.message
        headers = ticket.passed_on(self._encoder.headers(annotation))
        if ticket.trace is not None:
            ticket.trace.judged(annotation)
        outputs = []
        if topics.annotations:
            key = message.key or annotation.alert.alert_id.encode()
            value = self._encoder.annotation(annotation, topics.annotations)
            outputs.append(Output(message.origin, topics.annotations, value, key, headers))
        if topics.enriched:
            value = self._encoder.enriched(annotation, topics.enriched)
            outputs.append(self._as_it_came(ticket, topics.enriched, headers, value))
        dropped = annotation.verdict.action is Action.DROP
        if route := topics.contaminated if dropped else topics.clean:
            outputs.append(self._as_it_came(ticket, route, headers, message.value))
        self._count(annotation)
        self._send(ticket, outputs)

    def reject(self, ticket: AlertTicket, rejected: Rejected) -> None:
        """Publish a message that could not be used, its bytes untouched."""
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
        return Output(ticket.message.origin, topic, value, ticket.message.key, headers)

    def _send(self, ticket: AlertTicket, outputs: list[Output]) -> None:
        self._order.send(ticket, partial(self._send_now, ticket, outputs))

    def _send_now(self, ticket: AlertTicket, outputs: list[Output]) -> None:
        ticket.sent_s = time.monotonic()
        origin = ticket.message.origin
        self._delivery.send(
            Parcel(
                outputs,
                {origin: ticket.generation},
                (origin,),
                instead=partial(self._instead, ticket),
                delivered=partial(self._delivered, ticket),
                dropped=lambda _: self._dropped(ticket),
            )
        )

    def _delivered(self, ticket: AlertTicket, parcel: Parcel) -> None:
        for output in parcel.outputs:
            self._metrics.outputs.labels(ticket.in_force.names[output.topic]).inc()
        if parcel.outputs:
            self._time(ticket)
        self._settled(ticket)

    def _instead(
        self, ticket: AlertTicket, output: Output, refusal: Undeliverable
    ) -> Output | None:
        """What is published instead of a refused output; None where nothing is left to try."""
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
            return smaller(output)
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

    def _time(self, ticket: AlertTicket) -> None:
        """Latencies end here, where the last output is delivered."""
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
        for name, start in since.items():
            self._metrics.times.latency.labels(name).observe(max(now - start, 0.0))
        self._metrics.times.stage.labels("produce").observe(time.monotonic() - ticket.sent_s)
