"""Judges: threads that ask the network about batches of stamps, and conclude the verdicts."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from streamfilter.alerts.batch import Batch, Batcher
from streamfilter.alerts.pipeline import Item, Pipeline
from streamfilter.errors import StreamfilterError
from streamfilter.inference.engine import Engine
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.records import StampEvidence
from streamfilter.service.alerts.publisher import AlertPublisher
from streamfilter.service.alerts.ticket import AlertTicket

Waiting = tuple[AlertTicket, Item, float]
"""A stamp that waits for the network, its ticket, and since when it waits (monotonic seconds)."""


class Judges:
    """One queue of batches, and a few threads that judge them: the network lets others run.

    The reader alone calls ``submit``, ``pass_on_due``, ``pass_on_all`` and ``next_deadline``; each
    judge's thread runs ``work``. A further engine is asked about its stamps at once, those of a
    batch together, in the same thread; the other alerts of the batch are concluded before that.

    Stamps about which a further engine is asked go to it at once, those of a batch together, in the
    same thread; the others of the batch are concluded before that.

    Parameters
    ----------
    engines
        The first judges every stamp; the further ones are in the pipeline's order.
    publisher
        Takes the annotation of an alert, once all its stamps are judged.
    number
        How many batches are in the network at a time.
    """

    def __init__(
        self,
        *,
        engines: Sequence[Engine],
        publisher: AlertPublisher,
        batcher: Batcher[int, Waiting],
        number: int,
        metrics: AlertMetrics,
    ) -> None:
        self._engine, *self._also = engines
        self._publisher = publisher
        self._batcher = batcher
        self._metrics = metrics
        self._batches: queue.SimpleQueue[Batch[int, Waiting] | None] = queue.SimpleQueue()
        self._passed_on = 0
        self._judged = [0] * number  # each entry is written by its own judge alone
        self._progress_s = time.monotonic()
        self._leaving = threading.Event()

    @property
    def number(self) -> int:
        """The number of threads that are to run ``work``."""
        return len(self._judged)

    @property
    def stalled_s(self) -> float:
        """Returns for how long the network has worked without finishing a batch; 0.0 while it is
        idle.

        Any thread may call.
        """
        return time.monotonic() - self._progress_s if self._in_network else 0.0

    # ---- the reader's side ----------------------------------------------------------------------

    def submit(self, ticket: AlertTicket, items: Sequence[Item]) -> None:
        """Let stamps wait for a full batch; an alert without stamps is concluded at once."""
        if not items:
            self._conclude(ticket)
        now = time.monotonic()
        for item in items:
            batch = self._batcher.add(item.side, (ticket, item, now), now)
            self._metrics.flow.queue_depth.inc()
            self._pass_on([batch] if batch else [])
        # Waiting for a full batch is worth it only while every judge is busy.
        if self._in_network < self.number:
            self.pass_on_all()

    def pass_on_due(self, now_s: float) -> None:
        """Pass on the batches that have waited long enough."""
        self._pass_on(self._batcher.due(now_s))

    def pass_on_all(self) -> None:
        """Pass on everything that waits."""
        self._pass_on(self._batcher.flush())

    def next_deadline(self) -> float | None:
        """Returns when the next batch is due (monotonic seconds); None while nothing waits."""
        return self._batcher.next_deadline()

    def leave(self) -> None:
        """Let each judge end after its present batch."""
        self._leaving.set()
        for _ in self._judged:
            self._batches.put(None)

    @property
    def _in_network(self) -> int:
        """Returns the number of batches that were passed on and are not judged."""
        return self._passed_on - sum(self._judged)

    def _pass_on(self, batches: Sequence[Batch[int, Waiting]]) -> None:
        for batch in batches:
            if not self._in_network:
                self._progress_s = time.monotonic()
            self._passed_on += 1
            self._batches.put(batch)

    # ---- a judge's side -------------------------------------------------------------------------

    def work(self, number: int) -> None:
        """Run one judge's thread until ``leave``: judge batches, and conclude their alerts."""
        while (batch := self._batches.get()) is not None and not self._leaving.is_set():
            self._metrics.flow.queue_depth.dec(len(batch.items))
            self._metrics.batch_stamps.labels(batch.key).observe(len(batch.items))
            self._evaluate(batch.items)
            self._judged[number] += 1
            self._progress_s = time.monotonic()

    def _evaluate(self, waiting: Sequence[Waiting]) -> None:
        """Evaluate stamps of one side; where the batch fails, each stamp is tried by itself."""
        started = time.monotonic()
        # Any ticket's: what a stamp is judged by is in its item.
        pipeline, items = waiting[0][0].in_force.pipeline, [item for _, item, _ in waiting]
        evidence = self._found(waiting, partial(pipeline.evaluate, self._engine, items))
        if evidence is None:
            for each in waiting if len(waiting) > 1 else ():
                self._evaluate([each])
            return
        infer_s = time.monotonic() - started
        self._metrics.times.stage["infer"].observe(infer_s)
        doubtful: list[tuple[Waiting, StampEvidence]] = []
        for each, found in zip(waiting, evidence, strict=True):
            ticket, item, since = each
            self._metrics.times.stage["queue"].observe(started - since)
            ticket.judged(started - since, infer_s)
            if ticket.trace is not None:
                ticket.trace.add("batch", since, started)
                ticket.trace.add("infer", started, started + infer_s)
            if self._also and pipeline.asked_about(item, found):
                doubtful.append((each, found))
            else:
                self._settle(ticket, item.slot, found)
        if doubtful:
            self._ask(pipeline, doubtful)

    def _ask(self, pipeline: Pipeline, doubtful: Sequence[tuple[Waiting, StampEvidence]]) -> None:
        """Ask each further engine about its stamps, as ``_evaluate`` does, and settle them all."""
        waiting, evidence = [each for each, _ in doubtful], [first for _, first in doubtful]
        asked = [pipeline.asked_about(item, first) for (_, item, _), first in doubtful]
        for number, engine in enumerate(self._also):
            of = [at for at, numbers in enumerate(asked) if number in numbers]
            if not of:
                continue
            items, before = [waiting[at][1] for at in of], [evidence[at] for at in of]
            started, name = time.monotonic(), engine.manifest.name
            found = self._found(waiting, partial(pipeline.ask, number, engine, items, before))
            if found is None:
                for each in doubtful if len(doubtful) > 1 else ():
                    self._ask(pipeline, [each])
                return
            seconds = time.monotonic() - started
            self._metrics.times.also.labels(name).observe(seconds)
            for at, each_found in zip(of, found, strict=True):
                evidence[at], ticket = each_found, waiting[at][0]
                ticket.asked(name, seconds)
                if ticket.trace is not None:
                    ticket.trace.add("infer", started, started + seconds)
        for (ticket, item, _), final in zip(waiting, evidence, strict=True):
            self._settle(ticket, item.slot, final)

    def _found(
        self, waiting: Sequence[Waiting], ask: Callable[[], list[StampEvidence]]
    ) -> list[StampEvidence] | None:
        """Returns what a network finds; None where it failed, for which a single stamp is rejected.

        Raises
        ------
        StreamfilterError
            An engine failed, which is no fault of the stamps.
        """
        try:
            return ask()
        except StreamfilterError:
            raise
        except Exception:
            if len(waiting) == 1:
                with self._publisher.rejecting(waiting[0][0]):
                    raise
            return None

    def _settle(self, ticket: AlertTicket, slot: int, evidence: StampEvidence) -> None:
        """Keep the evidence of one stamp, and conclude the alert once each has its own."""
        if ticket.add(slot, evidence):
            with self._publisher.rejecting(ticket):
                self._conclude(ticket)

    def _conclude(self, ticket: AlertTicket) -> None:
        started = time.monotonic()
        annotation = ticket.in_force.pipeline.conclude(*ticket.concluded())
        self._publisher.publish(ticket, annotation)
        self._metrics.times.stage["conclude"].observe(time.monotonic() - started)
