"""Delivers exactly once: parcels go in transactions, with the offsets of their messages.

While one transaction commits, the parcels of the next queue up. So an output is visible after one
or two commits, and the bound on messages in flight bounds the queue.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from streamfilter.config import Delivery as Rules
from streamfilter.errors import TransactionAborted, TransportFailed
from streamfilter.kafka.ledger import Ledger, Partition, Place, partition_of
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.transactions import OUTAGE_S, TransactionalSink
from streamfilter.metrics.kafka import TransactionMetrics
from streamfilter.records import Output
from streamfilter.service.delivery.parcel import Parcel

log = structlog.get_logger(__name__)

_AGAIN_S = 0.05
"""Delay before an aborted transaction is tried again: a rebalance or a restart takes longer."""


class OffsetNotes(Protocol):
    """Keeps a note beside the committed offset of a partition."""

    def recall(self, partition: Partition, place: Place) -> None:
        """Read the note that was committed last, when a partition is assigned."""

    def note(self, partition: Partition, offset: int, parcels: Sequence[Parcel]) -> str:
        """Returns the note to commit together with these parcels."""

    def committed(self, places: dict[Partition, Place], parcels: Sequence[Parcel]) -> None:
        """Keep in mind that these parcels and places were committed."""


class ExactlyOnce:
    """Groups parcels into transactions; the delivery thread alone uses the producer."""

    def __init__(
        self,
        sink: TransactionalSink,
        ledger: Ledger,
        rules: Rules,
        metrics: TransactionMetrics,
        notes: OffsetNotes | None = None,
    ) -> None:
        """Begin with nothing queued.

        Parameters
        ----------
        notes
            None where all before a committed offset is published, and nothing after it.
        """
        self._sink = sink
        self._ledger = ledger
        self._rules = rules
        self._metrics = metrics
        self._notes = notes
        self._queue: deque[Parcel] = deque()
        self._current: list[Parcel] = []
        self._places: dict[Partition, Place] = {}
        self._changed = threading.Condition()
        self._membership: object | None = None
        self._source: KafkaSource | None = None
        self._suspects: set[Output] = set()
        self._failing_since_s: float | None = None
        self._closing = False

    def open(self) -> bool:
        """Claim the transactional id, which ends what a killed worker with that id left open.

        Raises
        ------
        TransportFailed
            It cannot be had.
        """
        return self._sink.open()

    def send(self, parcel: Parcel) -> None:
        """Queue a parcel for the next transaction."""
        with self._changed:
            self._queue.append(parcel)
            self._changed.notify_all()

    def attend(self, source: KafkaSource) -> None:
        """Keep the consumer's membership of the group, as the reader's thread sees it."""
        self._source = source
        self._membership = source.membership()

    def assigned(self, source: KafkaSource, partitions: Sequence[Partition]) -> None:
        """Recall the notes beside the partitions' offsets."""
        if self._notes is not None:
            found = source.committed(partitions)
            for each in partitions:  # also to forget what was known of a topic made again
                self._notes.recall(each, found.get(each, Place(0)))

    def commit(self, source: KafkaSource, *, wait: bool) -> bool:
        """Commit only positions behind markers; other offsets are committed with the outputs."""
        marks = source.behind_marks(self._ledger.settled())
        source.commit(marks, wait=wait)
        return bool(marks)

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is committed; returns how many parcels are not."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._current, timeout_s)
            return len(self._queue) + len(self._current)

    def close(self) -> None:
        """Discard what is not committed: the next worker reads it again."""
        self._closing = True
        self._sink.close()

    def serve(self, timeout_s: float) -> None:
        """Gather parcels for a transaction and try it once; aborted parcels are kept for the next.

        Raises
        ------
        TransportFailed
            The broker cannot be used, or gave our place to another; nothing unfinished is
            committed.
        """
        if not self._current:
            self._gather(timeout_s)
        self._sink.poll()
        self._drop_given_up()
        if not self._current or self._closing:
            return
        if self._membership is None:  # out of the group: the reader is told soon
            time.sleep(min(timeout_s, _AGAIN_S))
            return
        started = time.monotonic()
        try:
            self._transact(self._current)
        except TransactionAborted as why:
            self._abort(why)
        except TransportFailed:
            self._sink.close()
            with suppress(TransactionAborted, TransportFailed):
                self._sink.abort()  # so that readers do not wait for its time to be over
            raise
        else:
            self._metrics.committed(time.monotonic() - started)
            self._settle()

    def _gather(self, timeout_s: float) -> None:
        """Wait for a parcel, then for more, up to the number or the time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue, timeout_s):
                return
            most = self._rules.max_transaction_messages
            self._changed.wait_for(lambda: len(self._queue) >= most, self._rules.max_gather_s)
            self._current = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def _drop_given_up(self) -> None:
        """Drop parcels of revoked partitions: their next owners publish them."""
        gone = [each for each in self._current if not self._held(each)]
        if gone:
            with self._changed:
                self._current = [each for each in self._current if each not in gone]
                self._changed.notify_all()
        for parcel in gone:
            parcel.dropped(parcel)

    def _held(self, parcel: Parcel) -> bool:
        return any(self._ledger.holds(origin, n) for origin, n in parcel.origins.items())

    def _transact(self, parcels: Sequence[Parcel]) -> None:
        """Publish parcels and commit their offsets, all or nothing.

        1. Begin. 2. Produce the outputs. 3. Take our membership of the group, and only then see
        that no partition was given up: the broker refuses what another generation of the group
        commits, so a partition that goes later takes this transaction with it. 4. Send the
        offsets. 5. Commit, which waits for the outputs.

        Raises
        ------
        TransactionAborted
            Nothing of it is visible; ``abort`` is to follow.
        TransportFailed
            The broker cannot be used.
        """
        # 1.
        self._sink.begin()
        # 2.
        for parcel in parcels:
            self._produce(parcel)
        # 3.
        membership = self._membership
        if membership is None or not all(self._held(each) for each in parcels):
            raise TransactionAborted("partitions were given up")
        # 4.
        self._places = self._next(parcels)
        self._sink.offsets(self._places, membership)
        # 5.
        self._sink.commit()

    def _produce(self, parcel: Parcel) -> None:
        waiting = deque(parcel.outputs)
        while waiting:
            output = waiting.popleft()
            send = self._sink.send_alone if output in self._suspects else self._sink.send
            refusal = send(output)
            if refusal is not None and (answer := parcel.refuse(output, refusal)):
                waiting.appendleft(answer)

    def _next(self, parcels: Sequence[Parcel]) -> dict[Partition, Place]:
        """Returns where reading goes on once these parcels are committed."""
        held = {o for p in parcels for o, n in p.origins.items() if self._ledger.holds(o, n)}
        finished = {o for each in parcels for o in each.finished if o in held}
        touched = dict.fromkeys(partition_of(o) for each in parcels for o in each.origins)
        offsets, notes = self._ledger.after(touched, finished), self._notes
        return {
            each: Place(offset, notes.note(each, offset, parcels) if notes else "")
            for each, offset in offsets.items()
        }

    def _settle(self) -> None:
        """Settle the messages of a committed transaction."""
        parcels, self._failing_since_s = self._current, None
        self._suspects.clear()
        if self._source is not None:
            self._source.note_committed(
                {each: place.offset for each, place in self._places.items()}
            )
        if self._notes is not None:
            self._notes.committed(self._places, parcels)
        for parcel in parcels:
            parcel.delivered(parcel)
        with self._changed:
            self._current = []
            self._changed.notify_all()

    def _abort(self, why: TransactionAborted) -> None:
        """Abort the transaction, find what was refused, and keep the rest for another try.

        Raises
        ------
        TransportFailed
            The broker cannot be used, or was away for too long.
        """
        self._metrics.aborted()
        with suppress(TransactionAborted):  # nothing is insisted on at the end
            self._sink.abort()
        log.warning("transaction aborted", detail=str(why), parcels=len(self._current))
        if self._closing:
            return
        if self._answer_refusals():
            return
        now = time.monotonic()
        self._failing_since_s = self._failing_since_s or now
        if now - self._failing_since_s > OUTAGE_S:
            raise TransportFailed(
                f"no transaction could be committed for {OUTAGE_S:.0f} s: {why}"
            ) from why
        time.sleep(_AGAIN_S)

    def _answer_refusals(self) -> bool:
        """Replace outputs that were refused alone; the others are sent alone next.

        Returns
        -------
        bool
            Whether the next transaction will be another one.
        """
        refused = dict(self._sink.refused)
        by_topic = Counter(output.topic for output in refused)
        for parcel in self._current:
            for output in tuple(parcel.outputs):
                if output not in refused:
                    continue
                # A batch is refused as a whole: the only one of its topic was alone in it.
                if by_topic[output.topic] == 1 or output in self._suspects:
                    parcel.refuse(output, refused[output])
                else:
                    self._suspects.add(output)
        return bool(refused)
