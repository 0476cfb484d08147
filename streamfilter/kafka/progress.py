"""Which partitions stand still though there is something to be read; it does no I/O.

Time counts only while a partition could go on: not while its messages wait in the client for a
busy worker, while reading is paused, or while the process itself is stopped.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from streamfilter.kafka.ledger import Partition
from streamfilter.kafka.statistics import Statistics

# Statistics come every few seconds; after a longer pause (SIGSTOP) no more than this counts.
_LONGEST_STEP_S = 15.0
# The end of a partition that seems to be read out is asked for anew after so long: what is known
# came with the last answer, and a broker whose answers cannot be read tells of no new end.
_ASK_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A partition that stands at an offset."""

    partition: Partition
    offset: int
    seconds: float
    why: str
    """What did not happen, in a few words."""

    @property
    def words(self) -> str:
        """For a person."""
        topic, number = self.partition
        return f"{topic}[{number}]@{self.offset}: {self.why} for {self.seconds:.0f} s"


class Standstill:
    """For how long each partition has stood at one offset."""

    def __init__(self) -> None:
        self._seconds: dict[Partition, tuple[int, float]] = {}
        self._last_s: float | None = None

    def saw(
        self, now_s: float, offsets: Mapping[Partition, int], resting: Collection[Partition] = ()
    ) -> Mapping[Partition, tuple[int, float]]:
        """Offset and seconds of each partition that stands; the clock of those resting stops.

        Parameters
        ----------
        offsets
            Where partitions stand that ought to go on.
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
    """Watches, from a consumer's statistics, that what is there is read.

    Parameters
    ----------
    queue_bytes
        Prefetched messages beyond which librdkafka fetches nothing more.
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
        """Partitions that gave nothing for longer; any thread may ask."""
        return tuple(each for each in self._stalls if each.seconds > limit_s)

    def failed(self, partition: Partition, detail: str) -> None:
        """What the client last said of a partition."""
        self._errors[partition] = detail

    def forget(self, partition: Partition) -> None:
        """The partition was given up, or is read anew."""
        for book in (self._errors, self._asked, self._asked_s):
            book.pop(partition, None)
        self._stalls = tuple(each for each in self._stalls if each.partition != partition)

    def to_ask(self) -> Partition | None:
        """A partition whose ends the broker should be asked for now; each answer once."""
        asked, self._to_ask = self._to_ask, None
        return asked

    def told(self, partition: Partition, low: int, high: int) -> None:
        """The ends of a partition, as its broker says."""
        self._asked[partition] = (low, high)

    def saw(
        self,
        now_s: float,
        statistics: Statistics,
        assigned: Collection[Partition],
        paused: Collection[Partition],
    ) -> None:
        """Note where each partition stands, and whose turn it is to be asked for its end."""
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
                idle.append(each)  # what was told grows old
            if position < 0 or position >= end:
                continue
            behind[each], ends[each] = position, end
            fetched = found is not None and found.fetched > position
            if full or (fetched and statistics.prefetched_bytes):
                resting.add(each)
        standing = self._standstill.saw(now_s, behind, resting)
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
        """The idle partition whose end was asked for longest ago, if that is long ago."""
        for each in idle:
            self._asked_s.setdefault(each, now_s)
        due = min(idle, key=self._asked_s.__getitem__, default=None)
        if due is not None and now_s - self._asked_s[due] > _ASK_AFTER_S:
            self._asked_s[due] = now_s
            self._to_ask = due

    def _words(self, partition: Partition, end: int) -> str:
        said = self._errors.get(partition)
        return f"nothing read, though it goes on to {end}" + (f" ({said})" if said else "")
