"""A member of a consumer group: what the workers for alerts and for exposures share."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import structlog

from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.progress import Stall
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.kafka import ClientStatistics
from streamfilter.service.delivery.parcel import Delivery

log = structlog.get_logger(__name__)

_SERVE_S = 0.1  # after which the delivery thread sees the end
_FLUSH_S = 1.0
_WATCH_S = 1.0  # between two checks for partitions that stand still
_MOST_NAMED = 3  # of those, on the health page


class Member(ABC):
    """Joins a group, works on its partitions until ``stop``, commits, and leaves.

    The thread that calls ``run`` is the reader: it alone uses the source, and all methods that a
    worker overrides run in it. A second thread delivers; workers add others with ``add_thread``.

    Parameters
    ----------
    name
        Put before the words of ``wrong`` and ``unready``; the worker for alerts has none.
    source, delivery, ledger
        Where messages come from, how outputs go out, and which messages are settled.
    shown
        What is shown of the consumer.
    silence_s
        A reader that takes longer for one turn is unhealthy.
    stall_s
        So is one with a partition that stands still for longer.
    join_s
        How long a thread is waited for at the end; what hangs ends with the process.
    """

    def __init__(
        self,
        name: str,
        *,
        source: KafkaSource,
        delivery: Delivery,
        ledger: Ledger,
        shown: ClientStatistics,
        silence_s: float,
        stall_s: float,
        join_s: float,
    ) -> None:
        self._name = name
        self._source = source
        self._delivery = delivery
        self._ledger = ledger
        self._shown = shown
        self._silence_s, self._stall_s, self._join_s = silence_s, stall_s, join_s
        self._stalls: tuple[Stall, ...] = ()
        self._watched_s = -math.inf
        self._joined = False
        self._stopping, self._flushed = threading.Event(), threading.Event()
        self._stopped_s = math.inf
        self._failure: BaseException | None = None
        self._beat_s = self._committed_s = time.monotonic()
        self._threads: list[threading.Thread] = []
        self._deliverer = self._thread(self._deliver, f"{name}-delivery".lstrip("-"))

    # ---- what a worker adds ---------------------------------------------------------------------

    @abstractmethod
    def turn(self) -> None:
        """Do one turn of the reader: read, work, commit; it takes seconds at most."""

    @abstractmethod
    def drain(self, partitions: Sequence[Partition]) -> None:
        """Finish what is in flight of partitions that are about to be revoked."""

    @abstractmethod
    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop what is kept of partitions that were revoked."""

    def finish(self) -> None:  # noqa: B027 - not every worker has something to finish
        """Do the last work before the group is left."""

    @abstractmethod
    def end(self) -> None:
        """Let the worker's own threads end, after the group is left."""

    # ---- its life -------------------------------------------------------------------------------

    def add_thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Run work beside the reader from the start; a failure there ends the worker."""
        thread = self._thread(work, name)
        self._threads.append(thread)
        return thread

    def run(self) -> None:
        """Work until ``stop``; then finish what is in flight, commit and leave the group.

        Raises
        ------
        TransportFailed, EngineUnavailable
            The broker or the engine cannot be used; nothing unfinished was committed.
        """
        try:
            while not (self._stopping.is_set() or self._delivery.open()):
                self.beat()
            for thread in (*self._threads, self._deliverer):
                thread.start()
            self._source.join(self)
            self._joined = True
            while not self._stopping.is_set():
                self.beat()
                self._watch()
                self.turn()
        except Exception as error:  # what is under way is not waited for: it is read again
            self._fail(error)
        self._close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask the worker to finish; safe in a signal handler and from any thread."""
        self._stopped_s = min(self._stopped_s, time.monotonic())
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether the worker was asked to finish, or failed."""
        return self._stopping.is_set()

    @property
    def stopped_s(self) -> float:
        """When the worker was asked to finish (monotonic seconds); infinity before."""
        return self._stopped_s

    @property
    def failed(self) -> bool:
        """Whether something failed: then nothing in flight is waited for."""
        return self._failure is not None

    def beat(self) -> None:
        """Note that the reader makes progress."""
        self._beat_s = time.monotonic()

    @property
    def assigned_partitions(self) -> int:
        """The number of partitions that this worker reads now."""
        return len(self._source.assigned)

    def wrong(self) -> str | None:
        """Returns why the worker is unhealthy; None while it is well."""
        if self._failure is not None:
            return f"{self._name} failed: {self._failure}".lstrip()
        silent_s = time.monotonic() - self._beat_s
        if silent_s > self._silence_s:
            return self._said(f"nothing read for {silent_s:.0f} s")
        if stalls := self._stalls:
            more = len(stalls) - _MOST_NAMED
            named = "; ".join(each.words for each in stalls[:_MOST_NAMED])
            return self._said(named + (f"; and {more} more partitions" if more > 0 else ""))
        return None

    def stalled(self, now_s: float, limit_s: float) -> tuple[Stall, ...]:
        """Returns partitions that stood still for longer; called every second."""
        return self._source.stalled(limit_s)

    def unready(self) -> str | None:
        """Returns why the worker is not ready; None once engine and partitions are there."""
        if self._stopping.is_set():
            return "stopping"
        if not self._joined:
            return self._said("warming up")
        return None if self._source.assigned else self._said("no partitions assigned")

    def _said(self, words: str) -> str:
        return f"{self._name}: {words}" if self._name else words

    def _watch(self) -> None:
        """Log each partition once when it stands still, and once when it goes on."""
        now = time.monotonic()
        if now - self._watched_s < _WATCH_S:
            return
        self._watched_s, before = now, {each.partition for each in self._stalls}
        self._stalls = self.stalled(now, self._stall_s)
        for each in self._stalls:
            if each.partition not in before:
                self._shown.stalls += 1
                topic, partition = each.partition
                log.error(
                    "partition stands still", topic=topic, partition=partition,
                    offset=each.offset, seconds=round(each.seconds), detail=each.why,
                )  # fmt: skip
        going = before - {each.partition for each in self._stalls}
        if going:
            log.info("partitions go on, or went", partitions=_named(sorted(going)))
        self._shown.stalled = {each.partition: each.seconds for each in self._stalls}

    # ---- offsets --------------------------------------------------------------------------------

    def commit(self, *, wait: bool) -> bool:
        """Commit what is delivered; whether anything was.

        At least once: 1. The outputs of a message are produced (by the publisher). 2. The brokers
        acknowledge all of them, and the ledger settles the message. 3. The settled prefix is
        committed, here. Exactly once: ``ExactlyOnce`` has done it.
        """
        self._committed_s = time.monotonic()
        return self._joined and self._delivery.commit(self._source, wait=wait)

    @property
    def uncommitted_s(self) -> float:
        """The seconds since the last commit."""
        return time.monotonic() - self._committed_s

    # ---- partitions come and go (called by the source, in the reader's thread) ------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Partitions were assigned to this worker."""
        log.info("assigned", partitions=_named(partitions))
        self._delivery.assigned(self._source, partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Finish and commit partitions that another worker is about to read."""
        log.info("revoked", partitions=_named(partitions))
        self.drain(partitions)
        self.commit(wait=True)
        self._give_up(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Drop partitions that another worker reads already, from the last commit."""
        log.warning("lost", partitions=_named(partitions))
        self._give_up(partitions)

    def _give_up(self, partitions: Sequence[Partition]) -> None:
        self._ledger.forget(partitions)
        self.forget(partitions)

    # ---- threads, failures and the end ----------------------------------------------------------

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        return threading.Thread(target=self._guarded, args=(work, name), name=name, daemon=True)

    def _guarded(self, work: Callable[[], None], name: str) -> None:
        """Run the work of a thread; its failure is logged and ends the worker."""
        try:
            work()
        except BaseException as error:
            log.error("failed", thread=name, error=str(error), exc_info=True)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Keep the first failure, and stop."""
        self._failure = self._failure or error
        self.stop()

    def _deliver(self) -> None:
        """Run the delivery thread until everything is flushed."""
        while not self._flushed.is_set():
            self._delivery.serve(_SERVE_S)

    def _close(self) -> None:
        """Finish, leave the group (which drains and commits), then end the threads."""
        for step in (self.finish, self._source.close):
            try:
                step()
            except Exception as error:
                self._fail(error)
        self.end()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._join_s)
        try:
            # What is not acknowledged is not committed either, so there is nothing to wait for.
            if left := self._delivery.flush(_FLUSH_S):
                log.warning("not delivered; will be read again", left=left)
        except Exception as error:
            self._fail(error)
        self._flushed.set()
        self._delivery.close()
        if self._deliverer.is_alive():
            self._deliverer.join(self._join_s)


def _named(partitions: Sequence[Partition]) -> list[str]:
    return [f"{topic}[{n}]" for topic, n in partitions]
