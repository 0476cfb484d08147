"""A worker: reads alerts, has them judged, publishes, and commits what is delivered.

Threads: the one that calls ``run`` reads, decodes and commits; a few judge batches (the network
releases the interpreter); one delivers. What crosses them is a ``AlertTicket`` per
message and one queue of batches; what is in flight is bounded by count and bytes.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from streamfilter.alerts.batch import Batch, Batcher
from streamfilter.alerts.pipeline import Item
from streamfilter.config import Flow
from streamfilter.errors import StreamfilterError, TransportFailed
from streamfilter.inference.engine import Engine
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.schemas.finder import SchemaKey
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.intake import Intake
from streamfilter.service.alerts.publisher import AlertPublisher
from streamfilter.service.alerts.ticket import AlertTicket, InForce
from streamfilter.service.delivery.at_least_once import Delivery
from streamfilter.service.rejecting import answered
from streamfilter.service.schemas_awaited import SchemasAwaited
from streamfilter.service.sharing import guarded_thread

log = structlog.get_logger(__name__)

_POLL_S = 0.1  # longest sleep of the reader: how soon it sees a stop
_POLL_MESSAGES = 64  # alerts decoded between two looks at the deadlines
# Wait for room before pausing, which throws away what was fetched ahead: with half a second a
# network that takes 0.8 s a batch had nine times fetched what it read (measured).
_PATIENCE_S = 5.0
_EXPECTING_S = 0.01  # the same while a schema may come at any moment
_DRAIN_STEP_S = 0.005
_FLUSH_S = 1.0
_JOIN_S = 2.0  # for the batch that a judge has in hand; what hangs ends with the process
_SILENCE_S = 60.0  # a healthy reader turns many times a second, a batch takes less than a second

Settled = Callable[[AlertTicket], None]
"""Takes a ticket that is delivered, or dropped with its partition."""

Waiting = tuple[AlertTicket, Item, float]
"""A stamp that waits for the network, its ticket, and since when (monotonic seconds)."""


class AlertWorker:
    """One member of the consumer group."""

    def __init__(
        self,
        *,
        in_force: InForce,
        engine: Engine,
        delivery: Callable[[Ledger], Delivery],
        publisher: Callable[[Delivery, Settled, Settled], AlertPublisher],
        source: Callable[["AlertWorker"], KafkaSource],
        batcher: Batcher[int, Waiting],
        flow: Flow,
        schema_wait_s: float,
        judges: int,
        metrics: AlertMetrics,
    ) -> None:
        self._in_force = in_force
        self._engine = engine
        self._open_source = source
        self._batcher = batcher
        self._flow = flow
        self._metrics = metrics
        self._ledger = Ledger()
        self._delivery = delivery(self._ledger)
        self._publisher = publisher(self._delivery, self._settle, self._drop)
        self._in_flight = InFlight(flow.max_in_flight, flow.max_in_flight_bytes)
        self._awaited = SchemasAwaited(self._fetch, schema_wait_s, metrics.schemas)
        self._intake = Intake(
            in_force=lambda: self._in_force,
            publisher=self._publisher,
            awaited=self._awaited,
            ledger=self._ledger,
            in_flight=self._in_flight,
            flow=flow,
            metrics=metrics,
            queue=self._queue,
        )
        self._batches: queue.SimpleQueue[Batch[int, Waiting] | None] = queue.SimpleQueue()
        self._handed_on = 0
        self._judged = [0] * judges  # each entry is written by its own judge alone
        self._judged_s = time.monotonic()
        self._judges = [
            guarded_thread(partial(self._judge, i), f"judge-{i}", self._fail) for i in range(judges)
        ]
        self._deliverer = guarded_thread(self._deliver, "delivery", self._fail)
        self._stopping = threading.Event()
        self._stopped_s = math.inf
        self._leaving = threading.Event()
        self._flushed = threading.Event()
        self._failure: BaseException | None = None
        self._source: KafkaSource | None = None
        self._paused = False
        self._committed_s = 0.0
        self._beat_s = time.monotonic()
        metrics.flow.in_flight.set_function(lambda: self._in_flight.messages)
        metrics.flow.in_flight_bytes.set_function(lambda: self._in_flight.bytes)
        metrics.flow.assigned.set_function(
            lambda: len(self._source.assigned) if self._source else 0
        )
        metrics.ready.set_function(lambda: self.unready() is None)
        metrics.healthy.set_function(lambda: self.wrong() is None)

    # ---- the life of a worker -----------------------------------------------------------------

    def run(self) -> None:
        """Work until ``stop``; then finish what is under way, commit and leave the group.

        Raises
        ------
        TransportFailed, EngineUnavailable
            The broker or the engine cannot be used; nothing unfinished was committed.
        """
        try:
            while not (self._stopping.is_set() or self._delivery.open()):
                self._beat_s = time.monotonic()
            for thread in (*self._judges, self._deliverer):
                thread.start()
            self._source = self._open_source(self)
            while not self._stopping.is_set():
                self._read(self._source)
        except Exception as error:  # what is under way is not waited for: it is read again
            self._fail(error)
        self._close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask the worker to finish; safe in a signal handler and from any thread."""
        self._stopped_s = min(self._stopped_s, time.monotonic())
        self._stopping.set()

    def reload(self, in_force: InForce) -> None:
        """Judge and route what is read from now on otherwise; from any thread."""
        self._in_force = in_force
        self._awaited.forget()

    def _fail(self, error: BaseException) -> None:
        """Keep the first failure, and stop."""
        self._failure = self._failure or error
        self.stop()

    def wrong(self) -> str | None:
        """Why the worker is unhealthy; None while it is well."""
        if self._failure is not None:
            return f"failed: {self._failure}"
        now = time.monotonic()
        if now - self._beat_s > _SILENCE_S:
            return f"nothing read for {now - self._beat_s:.0f} s"
        if self._in_network and now - self._judged_s > _SILENCE_S:
            return f"a batch in the network for {now - self._judged_s:.0f} s"
        return None

    def unready(self) -> str | None:
        """Why the worker is not ready; None once the engine is warm and partitions are assigned."""
        if self._stopping.is_set():
            return "stopping"
        if self._source is None:
            return "warming up"
        return None if self._source.assigned else "no partitions assigned"

    # ---- reading ------------------------------------------------------------------------------

    def _read(self, source: KafkaSource) -> None:
        """One turn of the reader: wait for room, read, decode, hand on what is due, commit."""
        self._beat_s = time.monotonic()
        room = self._room(source, 0.0 if self._paused else _PATIENCE_S)
        if self._stopping.is_set():
            return
        if (room == 0) != self._paused:
            self._pause(source, paused=room == 0)
        most, longest_s = (1, _EXPECTING_S) if self._intake.expects else (_POLL_MESSAGES, _POLL_S)
        for message in source.poll(min(room, most) or 1, self._wait_s(longest_s)):
            if self._stopping.is_set():
                break  # not tracked, so not committed: the next worker reads it
            self._intake.accept(message)
            self._hand_on(self._batcher.due(time.monotonic()))
        if time.monotonic() - self._committed_s >= self._flow.commit_interval_s:
            self._commit(wait=False)

    def _room(self, source: KafkaSource, patience_s: float) -> int:
        """Messages that may be read now; waits for room, and hands on what becomes due."""
        until = time.monotonic() + patience_s
        while True:
            now = time.monotonic()
            self._hand_on(self._batcher.due(now))
            self._intake.go_on(source)
            self._delivery.attend(source)
            room = self._in_flight.room(self._wait_s(min(max(until - now, 0.0), _POLL_S)))
            if room or now >= until or self._stopping.is_set():
                return room

    def _wait_s(self, longest_s: float) -> float:
        """How long the reader may sleep: a batch that becomes due wakes it."""
        deadline = self._batcher.next_deadline()
        if deadline is None:
            return longest_s
        return min(max(deadline - time.monotonic(), 0.0), longest_s)

    def _pause(self, source: KafkaSource, *, paused: bool) -> None:
        if paused:
            source.pause()
        else:
            source.resume()
        self._paused = paused
        self._metrics.flow.paused.set(paused)

    def _queue(self, ticket: AlertTicket, items: Sequence[Item]) -> None:
        """Let stamps wait for company; an alert without any is concluded at once."""
        if not items:
            self._conclude(ticket)
        now = time.monotonic()
        for item in items:
            batch = self._batcher.add(item.side, (ticket, item, now), now)
            self._metrics.flow.queue_depth.inc()
            self._hand_on([batch] if batch else [])
        # Company is worth waiting for only while every judge is busy.
        if self._in_network < len(self._judges):
            self._hand_on(self._batcher.flush())

    @property
    def _in_network(self) -> int:
        """Batches that were handed on and are not judged."""
        return self._handed_on - sum(self._judged)

    def _hand_on(self, batches: Sequence[Batch[int, Waiting]]) -> None:
        for batch in batches:
            if not self._in_network:
                self._judged_s = time.monotonic()
            self._handed_on += 1
            self._batches.put(batch)

    def _fetch(self, key: SchemaKey) -> None:
        """All that messages of a writer schema take, to read them and to publish them."""
        in_force = self._in_force
        in_force.pipeline.fetch(key)
        self._publisher.prepare(key, in_force.topics)

    # ---- judging ------------------------------------------------------------------------------

    def _judge(self, number: int) -> None:
        """A judge's thread: batches through the network, verdicts out, until None comes."""
        while (batch := self._batches.get()) is not None and not self._leaving.is_set():
            self._metrics.flow.queue_depth.dec(len(batch.items))
            self._metrics.batch_stamps.labels(batch.key).observe(len(batch.items))
            self._evaluate(batch.items)
            self._judged[number] += 1
            self._judged_s = time.monotonic()

    def _evaluate(self, waiting: Sequence[Waiting]) -> None:
        """Evaluate stamps of one side; one that cannot be does not take the others with it."""
        started = time.monotonic()
        try:
            # Any ticket's: what a stamp is judged by is in its item.
            pipeline = waiting[0][0].in_force.pipeline
            evidence = pipeline.evaluate(self._engine, [item for _, item, _ in waiting])
        except StreamfilterError:
            raise
        except Exception:
            if len(waiting) > 1:
                for each in waiting:
                    self._evaluate([each])
                return
            with answered(self._publisher, waiting[0][0]):
                raise
            return
        infer_s = time.monotonic() - started
        self._metrics.times.stage.labels("infer").observe(infer_s)
        for (ticket, item, since), found in zip(waiting, evidence, strict=True):
            self._metrics.times.stage.labels("queue").observe(started - since)
            if ticket.trace is not None:
                ticket.trace.add("batch", since, started)
                ticket.trace.add("infer", started, started + infer_s)
            if ticket.add(item.slot, found, started - since, infer_s):
                with answered(self._publisher, ticket):
                    self._conclude(ticket)

    def _conclude(self, ticket: AlertTicket) -> None:
        started = time.monotonic()
        annotation = ticket.in_force.pipeline.conclude(*ticket.concluded())
        self._publisher.publish(ticket, annotation)
        self._metrics.times.stage.labels("conclude").observe(time.monotonic() - started)

    # ---- delivery -----------------------------------------------------------------------------

    def _deliver(self) -> None:
        """The delivery thread, until all is drained."""
        while not self._flushed.is_set():
            self._delivery.serve(_POLL_S)

    def _settle(self, ticket: AlertTicket) -> None:
        if ticket.trace is not None:
            ticket.trace.finish(ticket.sent_s)
        self._ledger.settle(ticket.message.origin)
        self._in_flight.leave(ticket.size_bytes)

    def _drop(self, ticket: AlertTicket) -> None:
        """Its partition was given up: the next owner reads it."""
        self._in_flight.leave(ticket.size_bytes)

    def _commit(self, *, wait: bool) -> None:
        """Commit what is delivered.

        At least once: 1. The outputs of a message are produced (``AlertPublisher``). 2. The brokers
        acknowledge all of them, and the ledger settles the message. 3. The settled prefix is
        committed, here. Exactly once: ``ExactlyOnce`` has done it.
        """
        self._committed_s = time.monotonic()
        if self._source is not None and self._delivery.commit(self._source, wait=wait):
            self._metrics.commits.inc()

    def _drain(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Finish what is under way of these partitions, then commit."""
        self._hand_on(self._batcher.flush())
        started = time.monotonic()
        while (left := self._ledger.outstanding(partitions)) and self._failure is None:
            # After a stop all that is waited for counts together.
            if time.monotonic() - min(started, self._stopped_s) > self._flow.drain_s:
                log.warning("not drained in time; they will be read again", messages=left)
                break
            self._beat_s = time.monotonic()
            if self._source is not None:
                self._delivery.attend(self._source)
            time.sleep(_DRAIN_STEP_S)
        self._commit(wait=True)

    # ---- partitions come and go (called in the reader's thread) ---------------------------------

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Partitions were given to this worker."""
        log.info("assigned", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._metrics.rebalances.inc()

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Partitions go to another worker: finish and commit theirs first."""
        log.info("revoked", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._drain(partitions)
        self._forget(partitions)

    def lost(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Partitions are gone already; another worker reads from the last commit."""
        log.warning("lost", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._forget(partitions)

    def _forget(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._ledger.forget(partitions)
        self._publisher.forget(partitions)
        self._intake.forget(partitions)

    # ---- the end ------------------------------------------------------------------------------

    def _close(self) -> None:
        """Leave the group, which finishes and commits what is under way, then end the threads."""
        try:
            if self._source is not None:
                self._source.close()
        except Exception as error:
            self._fail(error)
        self._leaving.set()
        for _ in self._judges:
            self._batches.put(None)
        for judge in self._judges:
            if judge.is_alive():
                judge.join(_JOIN_S)
        try:
            # What is not acknowledged is not committed either, so there is nothing to wait for.
            if left := self._delivery.flush(_FLUSH_S):
                log.warning("not delivered; will be read again", left=left)
        except TransportFailed as error:
            self._fail(error)
        self._flushed.set()
        self._delivery.close()
        if self._deliverer.is_alive():
            self._deliverer.join(_JOIN_S)
