"""A worker for exposures: reads frames, judges detectors and focal planes, publishes, commits.

Threads: the one that calls ``run`` reads, keeps the focal planes, sends and commits; one looks at
frames; one delivers; one calls the webhook, where there is one. A message is settled when all that
it led to is delivered: its detectors' records, and the verdict on the exposure that it belongs to.
What is open at a stop stays uncommitted and is read again, so a restart in the middle of a focal
plane loses nothing; ``PublishedBefore`` then says what is out already.
"""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog

from streamfilter.exposures.focal_plane import FocalPlanes, Step
from streamfilter.exposures.records import Announced, DetectorArrived
from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.records import Message, Origin
from streamfilter.service.delivery.parcel import Delivery
from streamfilter.service.delivery.published_before import (
    MOST_OPEN,
    PublishedBefore,
    PublishedState,
)
from streamfilter.service.exposures.alarm import Alarm
from streamfilter.service.exposures.earlier import EarlierVerdicts
from streamfilter.service.exposures.looker import Looker, MessageOutcome
from streamfilter.service.exposures.publisher import Draft, ExposurePublisher
from streamfilter.service.exposures.ticket import ExposureTicket
from streamfilter.service.member import Member
from streamfilter.service.rejecting import rejections

log = structlog.get_logger(__name__)

_POLL_S = 0.1
_AHEAD = 2  # messages that are read and not judged: one in hand, one that waits
# Pausing discards what was prefetched, tens of megabytes; judging a frame takes seconds.
_PATIENCE_S = 20.0
_MOST_LATER = 64  # messages whose frames cannot be reached now; they are small
_COMMIT_S = 1.0
_STOP_S = 10.0  # for the frame in hand and for acknowledgements
_SILENCE_S = 120.0
_LOOK_S = 3600.0  # the largest frames take minutes on a busy core


class ExposureWorker(Member):
    """One member of the exposures' consumer group; made in ``service/assembly/exposures``.

    Parameters
    ----------
    published
        What earlier workers published of messages that are read again.
    """

    def __init__(
        self,
        *,
        source: KafkaSource,
        delivery: Delivery,
        ledger: Ledger,
        publisher: ExposurePublisher,
        published: PublishedBefore,
        looker: Looker,
        planes: FocalPlanes,
        metrics: ExposureMetrics,
        stall_s: float,
        alarm: Alarm | None = None,
        earlier: EarlierVerdicts | None = None,
    ) -> None:
        super().__init__(
            "exposures",
            source=source,
            delivery=delivery,
            ledger=ledger,
            shown=metrics.clients,
            silence_s=_SILENCE_S,
            stall_s=stall_s,
            join_s=_STOP_S,
        )
        self._publisher = publisher
        self._published = published
        self._looker = looker
        self._planes = planes
        self._metrics = metrics
        self._alarm = alarm
        self._earlier = earlier
        self._held: dict[Origin, ExposureTicket] = {}
        self._jobs: queue.SimpleQueue[ExposureTicket | None] = queue.SimpleQueue()
        self._outcomes: queue.Queue[tuple[ExposureTicket, MessageOutcome]] = queue.Queue()
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._later: list[tuple[float, ExposureTicket]] = []
        self._ahead = 0
        self._looking_since_s: float | None = None
        self._full_since_s: float | None = None
        self._paused = False
        self._looker_thread = self.add_thread(self._judge_frames, "look")

    def run(self) -> None:
        """Work until ``stop``, and keep the webhook's thread for as long; see ``Member.run``."""
        if self._alarm is None:
            super().run()
            return
        self._alarm.start()
        try:
            super().run()
        finally:
            self._alarm.close()

    def announce(self, topic: str) -> None:
        """Register the schema of a topic's records; raises SchemaUnavailable."""
        self._publisher.announce(topic)

    def wrong(self) -> str | None:
        """Why the worker is unhealthy; None while it is well."""
        since_s = self._looking_since_s
        look_s = 0.0 if since_s is None else time.monotonic() - since_s
        hangs = f"exposures: a message in the looker for {look_s:.0f} s"
        return super().wrong() or (hangs if look_s > _LOOK_S else None)

    def reload(self, *, prior: float, wait_s: float, topic: str, rejected_topic: str) -> None:
        """Judge, wait and route by this, between two messages; any thread may call."""

        def adopt() -> None:
            self._looker.assume(prior)
            self._planes.wait(wait_s)
            self._publisher.route(topic, rejected_topic)

        self._changes.put(adopt)

    # ---- reading ------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take what was judged, close exposures that are over, read on, commit."""
        now, source = time.monotonic(), self._source
        while not self._changes.empty():
            self._changes.get()()
        self._retry(now)
        self._delivery.attend(source)
        full = self._ahead >= _AHEAD or len(self._later) >= _MOST_LATER
        full = full or self._ledger.span() >= MOST_OPEN
        self._take(_POLL_S if full else 0.0)
        draft = Draft()
        self._act(draft, self._planes.tick(now))
        self._publisher.send(draft)
        if self.uncommitted_s >= _COMMIT_S:
            self.commit(wait=False)
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
            self._ledger.settle(ticket.origin)
            return
        ticket.out = state is PublishedState.RECORDS
        self._ahead += 1
        self._jobs.put(ticket)

    def _judge_frames(self) -> None:
        """Run the looker's thread: one frame at a time, until None comes."""
        while (ticket := self._jobs.get()) is not None and not self.stopping:
            self._looking_since_s = time.monotonic()
            self._outcomes.put((ticket, self._looker.look(ticket.message, ticket.attempt)))
            self._looking_since_s = None

    def _retry(self, now: float) -> None:
        """Look again at messages whose frames could not be reached; others go on meanwhile."""
        due = [ticket for due_s, ticket in self._later if due_s <= now]
        self._later = [each for each in self._later if each[0] > now]
        for ticket in due:
            self._ahead += 1
            self._jobs.put(ticket)

    def _take(self, timeout_s: float) -> None:
        """Turn what was judged into records and a part of its exposure."""
        while True:
            try:
                ticket, outcome = (
                    self._outcomes.get(timeout=timeout_s)
                    if timeout_s
                    else (self._outcomes.get_nowait())
                )
            except queue.Empty:
                return
            timeout_s = 0.0
            self._ahead -= 1
            if not self._ledger.holds(ticket.origin, ticket.generation):
                continue
            self._await(ticket, outcome.schema_awaited)
            if outcome.again_s is not None:
                ticket.attempt += not outcome.schema_awaited
                self._later.append((time.monotonic() + outcome.again_s, ticket))
            else:
                self._conclude(ticket, outcome)

    def _await(self, ticket: ExposureTicket, awaited: bool) -> None:
        """Let a message wait for its schema; later ones of the partition wait in Kafka."""
        if awaited == ticket.schema_awaited:
            return
        ticket.schema_awaited = awaited
        if awaited:
            self._source.hold(ticket.partition)
        elif ticket.partition not in {t.partition for _, t in self._later if t.schema_awaited}:
            self._source.release(ticket.partition)

    # ---- from evidence to records ---------------------------------------------------------------

    def _conclude(self, ticket: ExposureTicket, outcome: MessageOutcome) -> None:
        """Publish the records of a message, and the verdicts that its detectors complete."""
        self._metrics.look.observe(outcome.look_s)
        ticket.announced = outcome.announced
        draft = Draft()
        with self._rejecting(draft, (ticket,)):
            if outcome.rejected is not None and not ticket.out:
                self._publisher.reject(draft, ticket, outcome.rejected)
            # Tickets outlive their frames, which are tens of megabytes.
            ticket.message = replace(ticket.message, value=None)
            if outcome.announced is not None:
                self._publisher.records(draft, ticket, outcome.announced, outcome, out=ticket.out)
                self._add(draft, ticket, outcome.announced, outcome)
        if ticket.origin not in self._held:
            draft.finish(ticket)
        self._publisher.send(draft)

    def _add(
        self, draft: Draft, ticket: ExposureTicket, announced: Announced, outcome: MessageOutcome
    ) -> None:
        """Add a message's detectors to its exposure; hold the message while that is open."""
        if self._alarm is not None:
            self._alarm.keep_pictures(announced, outcome.pictures)
        closed = kept = False
        for evidence in outcome.detectors:
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
        """Publish verdicts; the messages that were held for them wait for nothing else."""
        for closed in step.closed:
            held = [self._held.pop(o) for o in dict.fromkeys(closed.origins) if o in self._held]
            own = [current] if current is not None and current.origin in closed.origins else []
            with self._rejecting(draft, held):
                self._publisher.verdict(draft, closed, (*held, *own))
            for ticket in held:
                draft.finish(ticket)

    @contextmanager
    def _rejecting(self, draft: Draft, tickets: Sequence[ExposureTicket]) -> Iterator[None]:
        """Turns an exception of the block into rejected messages. None stops the stream."""
        try:
            yield
        except Exception as error:
            for ticket, rejected in zip(
                tickets, rejections(error, *(each.message for each in tickets)), strict=True
            ):
                self._publisher.reject(draft, ticket, rejected)

    # ---- what a member of a group does ----------------------------------------------------------

    def drain(self, partitions: Sequence[Partition]) -> None:
        """Wait until outputs are delivered; the next owner reads open exposures again."""
        end = time.monotonic() + _STOP_S
        while self._delivery.flush(_POLL_S) and not self.failed and time.monotonic() < end:
            self._delivery.attend(self._source)

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Partitions were assigned; other workers may have published about their exposures."""
        super().assigned(partitions)
        if self._earlier is not None:
            self._earlier.forget()

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop what is kept of partitions that were revoked."""
        gone = set(partitions)
        self._planes.forget(gone)
        self._held = {o: t for o, t in self._held.items() if t.partition not in gone}
        self._later = [each for each in self._later if each[1].partition not in gone]

    def finish(self) -> None:
        """Finish the present frame, and wait for acknowledgements."""
        if self.failed:
            return
        self._jobs.put(None)
        self._looker_thread.join(_STOP_S)
        self._take(0.0)
        self.drain(())

    def end(self) -> None:
        """Let the looker's thread end."""
        self._jobs.put(None)
