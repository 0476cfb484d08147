"""The worker for alerts: reads, has alerts judged, publishes, and commits what is delivered.

A message's way: ``Member.run`` > ``AlertWorker.turn`` > ``KafkaSource.poll`` > ``Intake.accept``
(decodes) > ``Judges.submit`` > a batch's queue > ``Judges.work`` (the network, the verdict) >
``AlertPublisher.publish`` (encodes) > ``PartitionOrder.send`` > ``AtLeastOnce.send`` or
``ExactlyOnce.send`` > the sink. Its acknowledgement comes back through the parcel:
``AlertPublisher`` > ``InFlight.settle`` > ``Ledger.settle``, and ``Member.commit`` commits.

Threads: the one that calls ``run`` reads, decodes and commits; a few judge batches; one delivers.
What crosses them is a ticket per message and one queue of batches; what is in flight is bounded by
count and bytes.
"""

import time
from collections.abc import Sequence
from functools import partial

import structlog

from streamfilter.config import Flow
from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.progress import Stall, Standstill
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.intake import Intake
from streamfilter.service.alerts.judges import Judges
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.ticket import InForce
from streamfilter.service.delivery.parcel import Delivery
from streamfilter.service.member import Member

log = structlog.get_logger(__name__)

_POLL_S = 0.1  # longest sleep of the reader, after which it sees a stop
_POLL_MESSAGES = 64  # alerts decoded between two looks at the deadlines
# Wait for room before pausing, which throws away what was fetched ahead: with half a second a
# network that takes 0.8 s a batch had nine times fetched what it read (measured).
_PATIENCE_S = 5.0
_EXPECTING_S = 0.01  # the same while a schema may come at any moment
_DRAIN_STEP_S = 0.005
_JOIN_S = 2.0  # for a judge's present batch; a thread that hangs ends with the process
_SILENCE_S = 60.0  # a healthy reader turns many times a second, a batch takes less than a second


class AlertWorker(Member):
    """One member of the alerts' consumer group; made in ``service/assembly/alerts``."""

    def __init__(
        self,
        *,
        source: KafkaSource,
        delivery: Delivery,
        ledger: Ledger,
        intake: Intake,
        judges: Judges,
        order: PartitionOrder,
        in_flight: InFlight,
        flow: Flow,
        stall_s: float,
        metrics: AlertMetrics,
    ) -> None:
        super().__init__(
            "",
            source=source,
            delivery=delivery,
            ledger=ledger,
            shown=metrics.clients,
            silence_s=_SILENCE_S,
            stall_s=stall_s,
            join_s=_JOIN_S,
        )
        self._intake = intake
        self._judges = judges
        self._order = order
        self._in_flight = in_flight
        self._flow = flow
        self._metrics = metrics
        self._paused = False
        self._unanswered = Standstill()
        for number in range(judges.number):
            self.add_thread(partial(judges.work, number), f"judge-{number}")

    def reload(self, in_force: InForce) -> None:
        """Judge and route later messages by this; any thread may call."""
        self._intake.reload(in_force)

    def wrong(self) -> str | None:
        """Why the worker is unhealthy; None while it is well."""
        stalled_s = self._judges.stalled_s
        stalled = f"a batch in the network for {stalled_s:.0f} s"
        return super().wrong() or (stalled if stalled_s > _SILENCE_S else None)

    def stalled(self, now_s: float, limit_s: float) -> tuple[Stall, ...]:
        """Returns stalled partitions, also those with a message that is not answered for long."""
        standing = self._unanswered.update(now_s, self._ledger.waiting())
        unanswered = (
            Stall(partition, offset, seconds, "read, and not answered")
            for partition, (offset, seconds) in standing.items()
            if seconds > limit_s
        )
        return (*super().stalled(now_s, limit_s), *unanswered)

    # ---- reading ------------------------------------------------------------------------------

    def turn(self) -> None:
        """Wait for room, read, decode, pass on what is due, commit."""
        room = self._room(0.0 if self._paused else _PATIENCE_S)
        if self.stopping:
            return
        if (room == 0) != self._paused:
            self._pause(paused=room == 0)
        most, longest_s = (1, _EXPECTING_S) if self._intake.expects else (_POLL_MESSAGES, _POLL_S)
        for message in self._source.poll(min(room, most) or 1, self._wait_s(longest_s)):
            if self.stopping:
                break  # not tracked, so not committed: the next worker reads it
            self._intake.accept(message)
            self._judges.pass_on_due(time.monotonic())
        if self.uncommitted_s >= self._flow.commit_interval_s:
            self.commit(wait=False)

    def _room(self, patience_s: float) -> int:
        """Returns how many messages may be read; waits for room, and passes on due batches."""
        until = time.monotonic() + patience_s
        while True:
            now = time.monotonic()
            self._judges.pass_on_due(now)
            self._intake.go_on(self._source)
            self._delivery.attend(self._source)
            room = self._in_flight.room(self._wait_s(min(max(until - now, 0.0), _POLL_S)))
            if room or now >= until or self.stopping:
                return room

    def _wait_s(self, longest_s: float) -> float:
        """Returns how long the reader may sleep: until the next batch is due."""
        deadline = self._judges.next_deadline()
        if deadline is None:
            return longest_s
        return min(max(deadline - time.monotonic(), 0.0), longest_s)

    def _pause(self, *, paused: bool) -> None:
        if paused:
            self._source.pause()
        else:
            self._source.resume()
        self._paused = paused
        self._metrics.flow.paused.set(paused)

    # ---- what a member of a group does ----------------------------------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Partitions were given to this worker."""
        super().assigned(partitions)
        self._metrics.rebalances.inc()

    def commit(self, *, wait: bool) -> bool:
        """Commit what is delivered; returns whether there was anything."""
        committed = super().commit(wait=wait)
        if committed:
            self._metrics.commits.inc()
        return committed

    def drain(self, partitions: Sequence[Partition]) -> None:
        """Finish the messages in flight of these partitions, for ``flow.drain_s`` at most."""
        self._judges.pass_on_all()
        started = time.monotonic()
        while (left := self._ledger.outstanding(partitions)) and not self.failed:
            # After a stop all that is waited for counts together.
            if time.monotonic() - min(started, self.stopped_s) > self._flow.drain_s:
                log.warning("not drained in time; they will be read again", messages=left)
                return
            self.beat()
            self._delivery.attend(self._source)
            time.sleep(_DRAIN_STEP_S)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop what is kept of partitions that were revoked."""
        self._order.forget(partitions)
        self._intake.forget(partitions)

    def end(self) -> None:
        """Let the judges end."""
        self._judges.leave()
