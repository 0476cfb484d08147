"""A worker for exposures: reads frames, judges detectors and focal planes, publishes, commits.

Threads: the one that calls ``run`` reads, keeps the focal planes, sends and commits; one looks at
frames; one serves acknowledgements; one calls the webhook, where there is one. A message is settled
when all that it led to is acknowledged: its detectors' records, and the verdict on the exposure
that it belongs to. What is open at a stop stays uncommitted and is read again, so a restart in the
middle of a focal plane loses nothing.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import structlog

from streamfilter.encode import Encoder
from streamfilter.encode_tracking import Heard, TrackingEncoder, key_of, mask_headers
from streamfilter.errors import Reason, SchemaUnavailable, StreamfilterError, TransportFailed
from streamfilter.exposure_records import Announced, DetectorArrived, ExposureVerdict
from streamfilter.focal_plane import Closed, FocalPlanes, Step
from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics import ExposureMetrics
from streamfilter.records import Message, Origin, Output, Rejected
from streamfilter.service.alarm import Alarm
from streamfilter.service.exposure_gauges import count_decision, show_verdict
from streamfilter.service.exposure_ticket import Ticket
from streamfilter.service.looking import Looked, Looker
from streamfilter.service.sharing import guarded_thread, note_rejected, smaller

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


def _nothing() -> None:
    """Do nothing about a delivery."""


class ExposureWorker:
    """One member of the exposures' consumer group.

    Parameters
    ----------
    topic, rejected_topic, masks_topic
        Where records, rejected messages and masks go; an empty name publishes nothing there.
    """

    def __init__(
        self,
        *,
        source: OpenSource,
        sink: KafkaSink,
        looker: Looker,
        planes: FocalPlanes,
        tracking: TrackingEncoder,
        encoder: Encoder,
        topic: str,
        rejected_topic: str,
        masks_topic: str = "",
        metrics: ExposureMetrics,
        alarm: Alarm | None = None,
    ) -> None:
        self._open_source = source
        self._sink = sink
        self._looker = looker
        self._planes = planes
        self._tracking = tracking
        self._encoder = encoder
        self._topic, self._rejected_topic = topic, rejected_topic
        self._masks_topic = masks_topic
        self._metrics = metrics
        self._alarm = alarm
        self._ledger = Ledger()
        self._held: dict[Origin, Ticket] = {}
        self._generations: dict[Partition, int] = {}
        self._jobs: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._looked: queue.Queue[tuple[Ticket, Looked]] = queue.Queue()
        self._answers: queue.SimpleQueue[tuple[tuple[Ticket, ...], Output]] = queue.SimpleQueue()
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._later: list[tuple[float, Ticket]] = []
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
        for thread in self._threads:
            thread.start()
        if self._alarm is not None:
            self._alarm.start()
        try:
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
        if topic:
            self._tracking.register(topic)

    def reload(self, *, prior: float, wait_s: float, topic: str, rejected_topic: str) -> None:
        """Judge, wait and route otherwise, between two messages; from any thread."""

        def adopt() -> None:
            self._looker.assume(prior)
            self._planes.wait(wait_s)
            self._topic, self._rejected_topic = topic, rejected_topic

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
        full = self._ahead >= _AHEAD or len(self._later) >= _MOST_LATER
        self._take(_POLL_S if full else 0.0)
        self._act(self._planes.tick(now))
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
        partition = (message.origin.topic, message.origin.partition)
        ticket = Ticket(message, time.time(), self._generations.get(partition, 0))
        self._ledger.track(message.origin)
        self._metrics.messages.inc()
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
            if ticket.generation != self._generations.get(ticket.partition, 0):
                continue
            self._await(ticket, looked.schema_awaited)
            if looked.again_s is not None:
                ticket.attempt += not looked.schema_awaited
                self._later.append((time.monotonic() + looked.again_s, ticket))
            else:
                with self._answered((ticket,)):
                    self._conclude(ticket, looked)
                self._done(ticket)

    def _await(self, ticket: Ticket, awaited: bool) -> None:
        """Messages with frames in them are large: more of the partition wait in Kafka."""
        if awaited == ticket.schema_awaited or self._source is None:
            return
        ticket.schema_awaited = awaited
        if awaited:
            self._source.hold(ticket.partition)
        elif ticket.partition not in {t.partition for _, t in self._later if t.schema_awaited}:
            self._source.release(ticket.partition)

    # ---- from evidence to records ---------------------------------------------------------------

    def _conclude(self, ticket: Ticket, looked: Looked) -> None:
        """Publish what is said of a message's detectors, and add them to their exposure."""
        self._metrics.look.observe(looked.look_s)
        ticket.announced = looked.announced
        if looked.rejected is not None:
            self._reject(ticket, looked.rejected)
        # Tickets outlive their frames, which are tens of megabytes.
        ticket.message = replace(ticket.message, value=None)
        if looked.announced is not None:
            for evidence in looked.detectors:
                if evidence.not_evaluated is not None:
                    self._metrics.not_evaluated.labels(evidence.not_evaluated).inc()
                decision = evidence.judgement.decision
                count_decision(self._metrics, "detector", looked.announced.instrument, decision)
                if looked.rejected is None and self._topic:
                    value, headers = self._tracking.detector(
                        ticket.heard(), evidence, looked.look_s, self._topic
                    )
                    key = key_of(looked.announced)
                    self._send((ticket,), Output(ticket.origin, self._topic, value, key, headers))
            self._send_masks(ticket, looked.announced, looked.masks)
            self._add(ticket, looked.announced, looked)

    def _send_masks(
        self, ticket: Ticket, announced: Announced, masks: Iterable[tuple[str, bytes]]
    ) -> None:
        for detector, content in masks if self._masks_topic else ():
            headers = mask_headers(announced, detector)
            key = key_of(announced)
            self._send((ticket,), Output(ticket.origin, self._masks_topic, content, key, headers))

    def _add(self, ticket: Ticket, announced: Announced, looked: Looked) -> None:
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
            self._act(step, ticket)
        if kept and not closed:
            ticket.more()
            self._held[ticket.origin] = ticket

    def _act(self, step: Step, current: Ticket | None = None) -> None:
        """Publish verdicts; the messages held for them then wait for nothing else."""
        for closed in step.closed:
            held = [self._held.pop(o) for o in dict.fromkeys(closed.origins) if o in self._held]
            own = [current] if current is not None and current.origin in closed.origins else []
            with self._answered(held):
                self._publish(closed, (*held, *own))
            for ticket in held:
                self._done(ticket)

    @contextmanager
    def _answered(self, tickets: Sequence[Ticket]) -> Iterator[None]:
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
                self._reject(ticket, Rejected(ticket.message, Reason.INTERNAL, detail))

    def _publish(self, closed: Closed, tickets: tuple[Ticket, ...]) -> None:
        verdict = closed.verdict
        show_verdict(self._metrics, verdict)
        log.info(
            "exposure judged",
            exposure=verdict.exposure_id,
            instrument=verdict.instrument,
            decision=str(verdict.judgement.decision),
            probability=verdict.judgement.probability,
            voice=str(verdict.judgement.voice),
            detectors=len(verdict.detectors),
            closing=str(verdict.closing),
            revision=verdict.revision,
        )
        heard = [ticket.heard() for ticket in tickets]
        if self._alarm is not None and heard:
            self._alarm.judged(verdict, heard[0].announced)
        if not self._topic or not heard:
            return
        value, headers = self._tracking.exposure(heard, verdict, self._topic)
        output = Output(tickets[0].origin, self._topic, value, key_of(heard[0].announced), headers)
        self._send(tickets, output, partial(self._time, heard, verdict))

    def _reject(self, ticket: Ticket, rejected: Rejected) -> None:
        note_rejected(rejected, self._metrics.rejected)
        if self._rejected_topic:
            self._send((ticket,), self._rejection(ticket, rejected))

    def _rejection(self, ticket: Ticket, rejected: Rejected) -> Output:
        value, headers = self._encoder.rejected(rejected)
        return Output(ticket.origin, self._rejected_topic, value, ticket.message.key, headers)

    # ---- delivery -----------------------------------------------------------------------------

    def _send(
        self,
        tickets: tuple[Ticket, ...],
        output: Output,
        delivered: Callable[[], None] = _nothing,
    ) -> None:
        for ticket in tickets:
            ticket.more()
        self._sink.send(output, partial(self._acknowledged, tickets, delivered))

    def _acknowledged(
        self,
        tickets: tuple[Ticket, ...],
        delivered: Callable[[], None],
        output: Output,
        refusal: Undeliverable | None,
    ) -> None:
        """An output is acknowledged, or refused for good (too large, say)."""
        if refusal is None:
            delivered()
        else:
            self._metrics.output_failures.inc()
            log.error("output refused", topic=output.topic, detail=refusal.detail)
            if answer := self._answer(tickets[0], output, refusal):
                self._answers.put((tickets, answer))
                return
        for ticket in tickets:
            self._done(ticket)

    def _answer(self, ticket: Ticket, output: Output, refusal: Undeliverable) -> Output | None:
        """What is published instead of a refused output; None where nothing is left to try."""
        if output.topic == self._rejected_topic:
            return smaller(output)
        if not self._rejected_topic:
            return None
        message = replace(ticket.message, value=None)
        rejected = Rejected(message, Reason.OUTPUT_TOO_LARGE, f"tracking: {refusal.detail}")
        return self._rejection(ticket, rejected)

    def _deliver(self) -> None:
        """The delivery thread: serve acknowledgements until all is drained."""
        while not self._flushed.is_set():
            self._sink.poll(_POLL_S)
            # Not while acknowledgements are served: waiting for room there would wait for itself.
            while not self._answers.empty():
                tickets, output = self._answers.get()
                self._sink.send(output, partial(self._acknowledged, tickets, _nothing))

    def _done(self, ticket: Ticket) -> None:
        if ticket.done():
            self._ledger.settle(ticket.origin)

    def _time(self, heard: Sequence[Heard], verdict: ExposureVerdict) -> None:
        """Latencies end where the verdict on an exposure is acknowledged, its first revision."""
        if verdict.revision > 1:
            return
        now = time.time()
        since = {"received": max(each.received_unix_s for each in heard)}
        if stamps := [each.message.timestamp_ms for each in heard if each.message.timestamp_ms]:
            since["message"] = max(stamps) / 1000
        mids = [each.announced.mid_exposure_unix_s for each in heard]
        if known := [mid for mid in mids if mid is not None]:
            since["mid_exposure"] = known[0]
        for name, start in since.items():
            self._metrics.latency.labels(name).observe(max(now - start, 0.0))

    def _commit(self, *, wait: bool) -> None:
        """Commit the settled prefix of each partition."""
        self._committed_s = time.monotonic()
        if self._source is None:
            return
        offsets = self._ledger.committable()
        self._source.commit(offsets, wait=wait)
        self._ledger.committed(offsets)

    # ---- partitions come and go (called in the reader's thread) ---------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Partitions were given to this worker."""
        log.info("assigned", partitions=[f"{topic}[{n}]" for topic, n in partitions])

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Partitions go to another worker, which reads again what is open."""
        log.info("revoked", partitions=[f"{topic}[{n}]" for topic, n in partitions])
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
        for each in gone:
            self._generations[each] = self._generations.get(each, 0) + 1

    # ---- the end ------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.stop()

    def _close(self) -> None:
        """Finish the frame in hand, wait for acknowledgements, commit and leave the group."""
        self._jobs.put(None)
        look, delivery = self._threads
        look.join(_STOP_S)
        try:
            if self._failure is None:
                self._take(0.0)
                self._sink.flush(_STOP_S)
            if self._source is not None:
                self._source.close()
        except (TransportFailed, SchemaUnavailable) as error:
            self._fail(error)
        self._flushed.set()
        delivery.join(_STOP_S)
        if self._alarm is not None:
            self._alarm.close()
