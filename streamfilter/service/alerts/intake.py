"""Turns messages into stamps for the network; all of it runs in the reader's thread.

A message whose schema is not known yet waits, and with it those after it in its partition; the
other partitions go on. What waits is not in the ledger: when its partition is revoked or the worker
stops it is dropped, and read again from the last commit.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from streamfilter.alerts.drift import Drift
from streamfilter.alerts.field_plan import Gaps
from streamfilter.config import Flow
from streamfilter.kafka.ledger import Partition, partition_of
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.records import Message, Plane, Rejected, Times
from streamfilter.schemas.finder import schema_key
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.judges import Judges
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.publisher import AlertPublisher
from streamfilter.service.alerts.ticket import AlertTicket, InForce, Reloadable
from streamfilter.service.schemas_awaited import SchemasAwaited

log = structlog.get_logger(__name__)

# Holding a partition discards what was prefetched, and it takes up to 1 s to fetch again;
# a healthy registry answers sooner than this.
_HOLD_AFTER_S = 0.25
# Of one partition, and bytes of all as a share of those that may be in flight; then no more of a
# waiting partition are fetched. What waits takes no room from the other partitions.
_MOST_WAITING, _MOST_WAITING_SHARE = 64, 0.25


@dataclass(slots=True)
class _WaitingPartition:
    """A partition that waits for a schema: its messages in order, of which the first needs it."""

    since_s: float
    tickets: deque[AlertTicket] = field(default_factory=deque)
    held: bool = False


class Intake:
    """Decodes messages and passes their stamps on to the judges.

    Parameters
    ----------
    in_force
        What the next message is judged by and where it goes.
    judges
        Take an alert's stamps.
    publisher
        Publishes what needs no network: rejected and shed messages.
    order
        Told of every message, so that later ones of its partition wait for it.
    """

    def __init__(
        self,
        *,
        in_force: Reloadable,
        judges: Judges,
        publisher: AlertPublisher,
        order: PartitionOrder,
        awaited: SchemasAwaited,
        in_flight: InFlight,
        flow: Flow,
        metrics: AlertMetrics,
    ) -> None:
        self._in_force = in_force
        self._judges = judges
        self._publisher = publisher
        self._order = order
        self._awaited = awaited
        self._in_flight = in_flight
        self._flow = flow
        self._metrics = metrics
        self._waiting: dict[Partition, _WaitingPartition] = {}
        self._waiting_bytes = 0
        metrics.flow.held.set_function(lambda: len(self._waiting))

    @property
    def expects(self) -> bool:
        """Whether a schema may arrive at any moment: the reader then polls in short steps."""
        return any(not waiting.held for waiting in self._waiting.values())

    def accept(self, message: Message) -> None:
        """Decode one message and queue its stamps; keep it where it must wait for its schema."""
        ticket = AlertTicket(message, time.time(), self._in_force.now)
        self._metrics.messages.inc()
        self._metrics.message_bytes.inc(ticket.size_bytes)
        partition = partition_of(message.origin)
        waiting = self._waiting.get(partition)
        if waiting is None:
            if self._admit(ticket):
                return
            waiting = self._waiting[partition] = _WaitingPartition(time.monotonic())
        waiting.tickets.append(ticket)
        self._waiting_bytes += ticket.size_bytes

    def go_on(self, source: KafkaSource) -> None:
        """Admit what need not wait any more, and hold the partitions of what must."""
        for partition, waiting in list(self._waiting.items()):
            while waiting.tickets and self._in_flight.room(0.0) and self._admit(waiting.tickets[0]):
                self._waiting_bytes -= waiting.tickets.popleft().size_bytes
                waiting.since_s = time.monotonic()
            if not waiting.tickets:
                del self._waiting[partition]
                if waiting.held:
                    source.release(partition)
            elif not waiting.held and self._must_be_held(waiting):
                waiting.held = True
                source.hold(partition)

    def reload(self, in_force: InForce) -> None:
        """Judge and route later messages by this; any thread may call."""
        self._in_force.now = in_force
        self._awaited.forget()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop what waits of partitions that were revoked: their next owners read it again."""
        for partition in partitions:
            if waiting := self._waiting.pop(partition, None):
                self._waiting_bytes -= sum(ticket.size_bytes for ticket in waiting.tickets)

    def _must_be_held(self, waiting: _WaitingPartition) -> bool:
        return (
            time.monotonic() - waiting.since_s > _HOLD_AFTER_S
            or len(waiting.tickets) > _MOST_WAITING
            or self._waiting_bytes > _MOST_WAITING_SHARE * self._flow.max_in_flight_bytes
        )

    def _admit(self, ticket: AlertTicket) -> bool:
        """Reject a message or send it on its way; False where it must wait for its schema."""
        message, refusal = ticket.message, None
        try:
            key = None if message.unread else schema_key(message.value, message.headers)
            if not message.unread and not self._awaited.ready(key):
                return False
        except Exception as error:  # it is answered once the message is in the books
            refusal = error
        self._in_flight.enter(ticket)
        self._order.expect(ticket)
        with self._publisher.rejecting(ticket):
            if refusal is not None:
                raise refusal
            self._prepare(ticket)
        return True

    def _prepare(self, ticket: AlertTicket) -> None:
        started, pipeline = time.monotonic(), ticket.in_force.pipeline
        alert = pipeline.decode(ticket.message)
        for report in pipeline.take_reports():
            if isinstance(report, Drift):
                self._note(report)
            else:
                _warn(report, pipeline.planes)
        ticket.decode_s = time.monotonic() - started
        self._metrics.times.stage["decode"].observe(ticket.decode_s)
        if ticket.trace is not None:
            ticket.trace.add("decode", started, started + ticket.decode_s)
        if isinstance(alert, Rejected):
            self._publisher.reject(ticket, alert)
            return
        if self._late(ticket):
            self._metrics.shed.labels(alert.survey).inc()
            times = Times(ticket.received_unix_s, ticket.decode_s, 0.0, 0.0)
            self._publisher.publish(ticket, pipeline.shed(alert, times))
            return
        items = ticket.prepare(pipeline.prepare(alert))
        normalised_s = time.monotonic() - started - ticket.decode_s
        self._metrics.times.stage["normalise"].observe(normalised_s)
        self._judges.submit(ticket, items)

    def _note(self, drift: Drift) -> None:
        """Log a schema or wire form that is new in its topic, and count what it changes."""
        for change in drift.changes:
            self._metrics.schema_changes.labels(drift.survey, change).inc()
        fields = [f"{each.change}: {each.detail}" for each in drift.fields]
        say = log.warning if fields else log.info
        say(
            "schema changed",
            topic=drift.topic,
            survey=drift.survey,
            before=drift.before,
            now=drift.now,
            fields=fields,
        )

    def _late(self, ticket: AlertTicket) -> bool:
        """Whether a message is too old for the network, where overload is shed."""
        if ticket.age_s is None:
            return False
        self._metrics.times.age.observe(max(ticket.age_s, 0.0))
        return self._flow.overload == "shed" and ticket.age_s > self._flow.shed_after_s


def _warn(gaps: Gaps, planes: Sequence[Plane]) -> None:
    """Log once the fields that a survey's map names and a writer schema does not have."""
    say = log.error if gaps.concern(planes) else log.warning
    say("fields not given", survey=gaps.survey, detail=str(gaps))
