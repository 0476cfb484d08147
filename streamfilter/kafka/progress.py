"""Finds partitions that stand still although there are messages to read; it does no I/O.

Time counts only while a partition could go on. It does not count while messages wait in the client
for a busy worker, while reading is paused, or while the process itself is stopped.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from streamfilter.kafka.ledger import Partition
from streamfilter.kafka.statistics import Statistics

# Statistics come every few seconds; after a longer pause (SIGSTOP) no more than this counts.
_LONGEST_STEP_S = 15.0
# After this time the broker is asked for the end of a partition that seems to be read to its end.
# The end that we know is that of the last fetch, and a fetch that fails brings no new one.
_ASK_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A partition that stands still at an offset."""

    partition: Partition
    offset: int
    seconds: float
    why: str
    """The cause, in a few words."""

    @property
    def words(self) -> str:
        """One line for a person."""
        topic, number = self.partition
        return f"{topic}[{number}]@{self.offset}: {self.why} for {self.seconds:.0f} s"


class Standstill:
    """Measures for how long each partition has stood at one offset."""

    def __init__(self) -> None:
        self._seconds: dict[Partition, tuple[int, float]] = {}
        self._last_s: float | None = None

    def update(
        self, now_s: float, offsets: Mapping[Partition, int], resting: Collection[Partition] = ()
    ) -> Mapping[Partition, tuple[int, float]]:
        """Takes the present offsets, and returns offset and seconds of each partition.

        Parameters
        ----------
        now_s
            The time, by a monotonic clock.
        offsets
            The offset of each partition that ought to go on; others are forgotten.
        resting
            The partitions whose time does not count in this step.
        """
        last_s, self._last_s = self._last_s, now_s
        step_s = 0.0 if last_s is None else min(now_s - last_s, _LONGEST_STEP_S)
        before = self._seconds
        self._seconds = {
            each: (offset, before[each][1] + (0.0 if each in resting else step_s))
            if each in before and before[each][0] == offset
            else (offset, 0.0)
            for each, offset in offsets.items()
        }
        return self._seconds


class ReadingProgress:
    """Finds, in the statistics of a consumer, the partitions that stand still.

    Parameters
    ----------
    queue_bytes
        The size of the prefetched messages at which librdkafka stops fetching.
    """

    def __init__(self, queue_bytes: int) -> None:
        self._queue_bytes = queue_bytes
        self._standstill = Standstill()
        self._errors: dict[Partition, str] = {}
        self._asked: dict[Partition, tuple[int, int]] = {}
        self._asked_s: dict[Partition, float] = {}
        self._stalls: tuple[Stall, ...] = ()
        self._to_ask: Partition | None = None

    def stalled(self, limit_s: float) -> tuple[Stall, ...]:
        """Returns the partitions that stand for longer than the limit; any thread may call."""
        return tuple(each for each in self._stalls if each.seconds > limit_s)

    def failed(self, partition: Partition, detail: str) -> None:
        """Keeps the last error of a partition, for the words of a stall."""
        self._errors[partition] = detail

    def forget(self, partition: Partition) -> None:
        """Forgets a partition that was given up or is read again from another offset."""
        for book in (self._errors, self._asked, self._asked_s):
            book.pop(partition, None)
        self._stalls = tuple(each for each in self._stalls if each.partition != partition)

    def to_ask(self) -> Partition | None:
        """Returns a partition whose ends the broker is to be asked for; None if there is none.

        Each partition is returned once for each time that it is due.
        """
        asked, self._to_ask = self._to_ask, None
        return asked

    def set_ends(self, partition: Partition, low: int, high: int) -> None:
        """Keeps the first offset of a partition and its end, as its broker states them."""
        self._asked[partition] = (low, high)

    def update(
        self,
        now_s: float,
        statistics: Statistics,
        assigned: Collection[Partition],
        paused: Collection[Partition],
    ) -> None:
        """Takes new statistics: finds the stalls, and the partition whose ends to ask for next."""
        behind: dict[Partition, int] = {}
        ends: dict[Partition, int] = {}
        resting, idle = set(paused), []
        full = statistics.prefetched_bytes >= self._queue_bytes
        for each in assigned:
            found = statistics.standing.get(each)
            low, high = self._asked.get(each, (-1, -1))
            position = max(found.position if found else -1, low)
            end = max(found.end if found else -1, high)
            if found is None or found.end <= position:
                idle.append(each)  # its end may be out of date
            if position < 0 or position >= end:
                continue
            behind[each], ends[each] = position, end
            fetched = found is not None and found.fetched > position
            if full or (fetched and statistics.prefetched_bytes):
                resting.add(each)
        standing = self._standstill.update(now_s, behind, resting)
        for each, (_, seconds) in standing.items():
            if not seconds:
                self._errors.pop(each, None)
        self._stalls = tuple(
            Stall(each, offset, seconds, self._words(each, ends[each]))
            for each, (offset, seconds) in standing.items()
            if seconds
        )
        self._choose(now_s, idle)

    def _choose(self, now_s: float, idle: Collection[Partition]) -> None:
        """Chooses the idle partition whose end was asked for longest ago, if that is long ago."""
        for each in idle:
            self._asked_s.setdefault(each, now_s)
        due = min(idle, key=self._asked_s.__getitem__, default=None)
        if due is not None and now_s - self._asked_s[due] > _ASK_AFTER_S:
            self._asked_s[due] = now_s
            self._to_ask = due

    def _words(self, partition: Partition, end: int) -> str:
        said = self._errors.get(partition)
        return f"nothing read, though it goes on to {end}" + (f" ({said})" if said else "")
