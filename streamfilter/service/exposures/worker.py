"""A worker for exposures: reads frames, judges detectors and focal planes, publishes, commits.

Threads: the one that calls ``run`` reads, keeps the focal planes, sends and commits; one looks at
frames; one delivers; one calls the webhook, where there is one. A message is settled when all that
it led to is delivered: its detectors' records, and the verdict on the exposure that it belongs to.
What is open at a stop stays uncommitted and is read again, so a restart in the middle of a focal
plane loses nothing; ``PublishedBefore`` then says what is out already.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog

from streamfilter.errors import Reason, SchemaUnavailable, StreamfilterError, TransportFailed
from streamfilter.exposures.focal_plane import FocalPlanes, Step
from streamfilter.exposures.records import Announced, DetectorArrived
from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.records import Message, Origin, Rejected
from streamfilter.service.delivery.at_least_once import Delivery
from streamfilter.service.delivery.published_before import (
    MOST_OPEN,
    PublishedBefore,
    PublishedState,
)
from streamfilter.service.exposures.alarm import Alarm
from streamfilter.service.exposures.looker import Looker, MessageOutcome
from streamfilter.service.exposures.publisher import Draft, ExposurePublisher
from streamfilter.service.exposures.ticket import ExposureTicket
from streamfilter.service.sharing import guarded_thread

log = structlog.get_logger(__name__)

_POLL_S = 0.1
_AHEAD = 2  # messages read and not looked at: one in hand, one that waits
# Pausing throws away what was fetched ahead, tens of megabytes; a look takes seconds.
_PATIENCE_S = 20.0
_MOST_LATER = 64  # messages whose frames cannot be reached now; they are small
_COMMIT_S = 1.0
_STOP_S = 10.0  # for the frame in hand and for acknowledgements
_SILENCE_S = 120.0

OpenSource = Callable[["ExposureWorker"], KafkaSource]


class ExposureWorker:
    """One member of the exposures' consumer group.

    Parameters
    ----------
    published
        What earlier workers published of messages that are read again.
    """

    def __init__(
        self,
        *,
        source: OpenSource,
        delivery: Callable[[Ledger], Delivery],
        publisher: Callable[[Delivery, Callable[[ExposureTicket], None]], ExposurePublisher],
        published: PublishedBefore,
        looker: Looker,
        planes: FocalPlanes,
        metrics: ExposureMetrics,
        alarm: Alarm | None = None,
    ) -> None:
        self._open_source = source
        self._looker = looker
        self._planes = planes
        self._metrics = metrics
        self._alarm = alarm
        self._ledger = Ledger()
        self._delivery = delivery(self._ledger)
        self._publisher = publisher(self._delivery, self._settle)
        self._published = published
        self._held: dict[Origin, ExposureTicket] = {}
        self._jobs: queue.SimpleQueue[ExposureTicket | None] = queue.SimpleQueue()
        self._looked: queue.Queue[tuple[ExposureTicket, MessageOutcome]] = queue.Queue()
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._later: list[tuple[float, ExposureTicket]] = []
        self._ahead = 0
        self._full_since_s: float | None = None
        self._paused = False
        self._committed_s = self._beat_s = time.monotonic()
        self._stopping, self._flushed = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._source: KafkaSource | None = None
        self._threads = [
            guarded_thread(self._look, "look", self._fail),
            guarded_thread(self._deliver, "exposure-delivery", self._fail),
        ]
        metrics.open.set_function(lambda: self._planes.open_exposures)
        metrics.ready.set_function(lambda: self.unready() is None)
        metrics.healthy.set_function(lambda: self.wrong() is None)

    # ---- the life of a worker -----------------------------------------------------------------

    def run(self) -> None:
        """Work until ``stop``; then finish the frame in hand, commit and leave the group.

        Raises
        ------
        TransportFailed, EngineUnavailable
            The broker or the engine cannot be used; nothing unfinished was committed.
        """
        if self._alarm is not None:
            self._alarm.start()
        try:
            while not (self._stopping.is_set() or self._delivery.open()):
                self._beat_s = time.monotonic()
            for thread in self._threads:
                thread.start()
            self._source = self._open_source(self)
            while not self._stopping.is_set():
                self._turn(self._source)
        except Exception as error:
            self._fail(error)
        self._close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask the worker to finish; safe in a signal handler and from any thread."""
        self._stopping.set()

    def announce(self, topic: str) -> None:
        """Register the schema of what would be published there; raises SchemaUnavailable."""
        self._publisher.announce(topic)

    def reload(self, *, prior: float, wait_s: float, topic: str, rejected_topic: str) -> None:
        """Judge, wait and route otherwise, between two messages; from any thread."""

        def adopt() -> None:
            self._looker.assume(prior)
            self._planes.wait(wait_s)
            self._publisher.route(topic, rejected_topic)

        self._changes.put(adopt)

    def wrong(self) -> str | None:
        """Why the worker is unhealthy; None while it is well."""
        if self._failure is not None:
            return f"exposures failed: {self._failure}"
        silent_s = time.monotonic() - self._beat_s
        return f"exposures: no progress for {silent_s:.0f} s" if silent_s > _SILENCE_S else None

    def unready(self) -> str | None:
        """Why the worker is not ready; None once partitions are assigned."""
        if self._stopping.is_set():
            return "stopping"
        if self._source is None:
            return "exposures: warming up"
        return None if self._source.assigned else "exposures: no partitions assigned"

    # ---- reading ------------------------------------------------------------------------------

    def _turn(self, source: KafkaSource) -> None:
        """Take what was looked at, close what is over, read on, commit."""
        now = self._beat_s = time.monotonic()
        while not self._changes.empty():
            self._changes.get()()
        self._look_again(now)
        self._delivery.attend(source)
        full = self._ahead >= _AHEAD or len(self._later) >= _MOST_LATER
        full = full or self._ledger.span() >= MOST_OPEN
        self._take(_POLL_S if full else 0.0)
        draft = Draft()
        self._act(draft, self._planes.tick(now))
        self._publisher.send(draft)
        if now - self._committed_s >= _COMMIT_S:
            self._commit(wait=False)
        self._full_since_s = (self._full_since_s or now) if full else None
        patient = self._full_since_s is not None and now - self._full_since_s < _PATIENCE_S
        if full and patient:
            return
        if full != self._paused:
            self._paused = full
            source.pause() if full else source.resume()
        for message in source.poll(1, _POLL_S):
            self._accept(message)

    def _accept(self, message: Message) -> None:
        ticket = ExposureTicket(message, time.time(), self._ledger.track(message.origin))
        self._metrics.messages.inc()
        state = self._published.of(message.origin)
        if state is PublishedState.ALL:  # held back by another exposure, which was open
            self._settle(ticket)
            return
        ticket.out = state is PublishedState.RECORDS
        self._ahead += 1
        self._jobs.put(ticket)

    def _look(self) -> None:
        """The looker's thread: one frame at a time, until None comes."""
        while (ticket := self._jobs.get()) is not None and not self._stopping.is_set():
            self._looked.put((ticket, self._looker.look(ticket.message, ticket.attempt)))

    def _look_again(self, now: float) -> None:
        """Frames that could not be reached: others are looked at while these wait."""
        due = [ticket for due_s, ticket in self._later if due_s <= now]
        self._later = [each for each in self._later if each[0] > now]
        for ticket in due:
            self._ahead += 1
            self._jobs.put(ticket)

    def _take(self, timeout_s: float) -> None:
        """What was looked at becomes records and part of its exposure."""
        while True:
            try:
                ticket, looked = (
                    self._looked.get(timeout=timeout_s)
                    if timeout_s
                    else (self._looked.get_nowait())
                )
            except queue.Empty:
                return
            timeout_s = 0.0
            self._ahead -= 1
            if not self._ledger.holds(ticket.origin, ticket.generation):
                continue
            self._await(ticket, looked.schema_awaited)
            if looked.again_s is not None:
                ticket.attempt += not looked.schema_awaited
                self._later.append((time.monotonic() + looked.again_s, ticket))
            else:
                self._conclude(ticket, looked)

    def _await(self, ticket: ExposureTicket, awaited: bool) -> None:
        """Messages with frames in them are large: more of the partition wait in Kafka."""
        if awaited == ticket.schema_awaited or self._source is None:
            return
        ticket.schema_awaited = awaited
        if awaited:
            self._source.hold(ticket.partition)
        elif ticket.partition not in {t.partition for _, t in self._later if t.schema_awaited}:
            self._source.release(ticket.partition)

    # ---- from evidence to records ---------------------------------------------------------------

    def _conclude(self, ticket: ExposureTicket, looked: MessageOutcome) -> None:
        """Publish what is said of a message, and the verdicts that its detectors complete."""
        self._metrics.look.observe(looked.look_s)
        ticket.announced = looked.announced
        draft = Draft()
        with self._answered(draft, (ticket,)):
            if looked.rejected is not None and not ticket.out:
                self._publisher.reject(draft, ticket, looked.rejected)
            # Tickets outlive their frames, which are tens of megabytes.
            ticket.message = replace(ticket.message, value=None)
            if looked.announced is not None:
                self._publisher.records(draft, ticket, looked.announced, looked, out=ticket.out)
                self._add(draft, ticket, looked.announced, looked)
        if ticket.origin not in self._held:
            draft.finish(ticket)
        self._publisher.send(draft)

    def _add(
        self, draft: Draft, ticket: ExposureTicket, announced: Announced, looked: MessageOutcome
    ) -> None:
        """Add a message's detectors to its exposure; hold the message while that is open."""
        if self._alarm is not None:
            self._alarm.saw(announced, looked.seen)
        closed = kept = False
        for evidence in looked.detectors:
            arrived = DetectorArrived(
                announced.exposure_id,
                announced.instrument,
                evidence,
                announced.detectors_expected,
                ticket.origin,
            )
            step = self._planes.add(arrived, time.monotonic())
            kept = kept or not step.ignored
            closed = closed or any(ticket.origin in each.origins for each in step.closed)
            self._act(draft, step, ticket)
        if kept and not closed:
            self._held[ticket.origin] = ticket

    def _act(self, draft: Draft, step: Step, current: ExposureTicket | None = None) -> None:
        """Publish verdicts; the messages held for them then wait for nothing else."""
        for closed in step.closed:
            held = [self._held.pop(o) for o in dict.fromkeys(closed.origins) if o in self._held]
            own = [current] if current is not None and current.origin in closed.origins else []
            with self._answered(draft, held):
                self._publisher.verdict(draft, closed, (*held, *own))
            for ticket in held:
                draft.finish(ticket)

    @contextmanager
    def _answered(self, draft: Draft, tickets: Sequence[ExposureTicket]) -> Iterator[None]:
        """Reject messages over which our own code stumbles: no exposure stops the stream."""
        try:
            yield
        except StreamfilterError:
            raise
        except Exception as error:
            log.error(
                "internal error", origins=[str(ticket.origin) for ticket in tickets], exc_info=True
            )
            detail = f"{type(error).__name__}: {error}"
            for ticket in tickets:
                rejected = Rejected(ticket.message, Reason.INTERNAL, detail)
                self._publisher.reject(draft, ticket, rejected)

    # ---- delivery -----------------------------------------------------------------------------

    def _deliver(self) -> None:
        """The delivery thread, until all is drained."""
        while not self._flushed.is_set():
            self._delivery.serve(_POLL_S)

    def _settle(self, ticket: ExposureTicket) -> None:
        self._ledger.settle(ticket.origin)

    def _drain(self) -> None:
        """Wait until what was sent is delivered."""
        end = time.monotonic() + _STOP_S
        while self._delivery.flush(_POLL_S) and self._failure is None and time.monotonic() < end:
            if self._source is not None:
                self._delivery.attend(self._source)

    def _commit(self, *, wait: bool) -> None:
        """Commit the settled prefix of each partition."""
        self._committed_s = time.monotonic()
        if self._source is not None:
            self._delivery.commit(self._source, wait=wait)

    # ---- partitions come and go (called in the reader's thread) ---------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Partitions were given to this worker."""
        log.info("assigned", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        if self._source is not None:
            self._delivery.assigned(self._source, partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Partitions go to another worker, which reads again what is open."""
        log.info("revoked", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._drain()
        self._commit(wait=True)
        self._forget(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Partitions are gone already; another worker reads from the last commit."""
        log.warning("lost", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._forget(partitions)

    def _forget(self, partitions: Iterable[Partition]) -> None:
        gone = set(partitions)
        self._ledger.forget(gone)
        self._planes.forget(gone)
        self._held = {o: t for o, t in self._held.items() if t.partition not in gone}
        self._later = [each for each in self._later if each[1].partition not in gone]

    # ---- the end ------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.stop()

    def _close(self) -> None:
        """Finish the frame in hand, wait for acknowledgements, commit and leave the group."""
        self._jobs.put(None)
        look, delivery = self._threads
        if look.is_alive():
            look.join(_STOP_S)
        try:
            if self._failure is None:
                self._take(0.0)
                self._drain()
            if self._source is not None:
                self._source.close()
        except (TransportFailed, SchemaUnavailable) as error:
            self._fail(error)
        self._flushed.set()
        self._delivery.close()
        if delivery.is_alive():
            delivery.join(_STOP_S)
        if self._alarm is not None:
            self._alarm.close()
