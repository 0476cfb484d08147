"""A partition stands still where it goes on and gives nothing, and nowhere else."""

from streamfilter.kafka.ledger import Partition
from streamfilter.kafka.progress import ReadingProgress, Stall
from streamfilter.kafka.statistics import PartitionStanding, Statistics

A, B = ("alerts", 0), ("alerts", 1)
QUEUE_BYTES = 1000
LIMIT_S = 60.0


class Watched:
    """Statistics every 5 s of a consumer's time."""

    def __init__(self) -> None:
        self.progress = ReadingProgress(QUEUE_BYTES)
        self.now_s = 0.0

    def after(
        self,
        seconds: float,
        *paused: Partition,
        prefetched: int = 0,
        **standing: tuple[int, int, int],
    ) -> tuple[Stall, ...]:
        """Position, fetched and end of ``a`` and ``b`` for so long; what then stands still."""
        known = {"a": A, "b": B}
        found = {known[name]: PartitionStanding(*places) for name, places in standing.items()}
        statistics = Statistics({}, (), 0, 0, 0, prefetched, found)
        for _ in range(round(seconds / 5)):
            self.now_s += 5
            self.progress.update(self.now_s, statistics, (A, B), paused)
        return self.progress.stalled(LIMIT_S)


def test_a_partition_that_goes_on_and_gives_nothing_stands_still() -> None:
    """The stall names partition, offset, the end and what the client said last."""
    watched = Watched()
    watched.after(5, a=(7, 7, 20), b=(3, 3, 3))
    watched.progress.failed(A, "Invalid compressed data")
    assert () == watched.after(60, a=(7, 7, 20), b=(3, 3, 3))
    (stall,) = watched.after(10, a=(7, 7, 20), b=(3, 3, 3))
    assert (A, 7, 70.0) == (stall.partition, stall.offset, stall.seconds)
    assert stall.words == (
        "alerts[0]@7: nothing read, though it goes on to 20 (Invalid compressed data) for 70 s"
    )


def test_what_is_read_starts_the_clock_anew() -> None:
    """One message in a minute is progress."""
    watched = Watched()
    stalls = [watched.after(55, a=(n, n, 20), b=(0, 0, 0)) for n in range(10)]
    assert [()] * 10 == stalls


def test_a_partition_that_is_read_to_its_end_does_not_stand_still() -> None:
    """Nor one of which nothing is known yet."""
    assert () == Watched().after(600, a=(20, 20, 20))


def test_what_waits_in_the_client_for_a_busy_worker_does_not_stand_still() -> None:
    """Its messages are fetched; or the queue is full of others and nothing more is fetched."""
    watched = Watched()
    assert () == watched.after(600, a=(0, 9, 20), b=(0, 0, 0), prefetched=500)
    assert () == watched.after(600, a=(0, 0, 20), b=(0, 9, 20), prefetched=QUEUE_BYTES)


def test_a_partition_that_others_pass_stands_still() -> None:
    """The client has room to fetch of it, and has only messages of others."""
    (stall,) = Watched().after(90, a=(0, 0, 20), b=(0, 9, 20), prefetched=500)
    assert A == stall.partition


def test_a_pause_stops_the_clock() -> None:
    """It goes on afterwards, from where it was."""
    watched = Watched()
    watched.after(45, a=(0, 0, 20), b=(0, 0, 0))
    assert () == watched.after(600, A, a=(0, 0, 20), b=(0, 0, 0))
    assert 1 == len(watched.after(30, a=(0, 0, 20), b=(0, 0, 0)))


def test_a_process_that_was_stopped_counts_seconds_not_hours() -> None:
    """After SIGSTOP the worker is given time to go on."""
    watched = Watched()
    watched.after(10, a=(0, 0, 20), b=(0, 0, 0))
    watched.now_s += 3600
    assert () == watched.after(5, a=(0, 0, 20), b=(0, 0, 0))


def test_the_end_of_an_idle_partition_is_asked_for_now_and_then() -> None:
    """A broker whose answers cannot be read tells of no new end: it then stands still."""
    watched = Watched()
    assert () == watched.after(40, a=(5, 5, 5), b=(9, 9, 9))
    first = watched.progress.to_ask()
    assert first in {A, B}
    assert watched.progress.to_ask() is None
    watched.progress.set_ends(A, 0, 8)
    (stall,) = watched.after(90, a=(5, 5, 5), b=(9, 9, 9))
    assert (A, 5) == (stall.partition, stall.offset)


def test_a_partition_that_went_is_forgotten() -> None:
    """Its next owner watches it."""
    watched = Watched()
    assert 2 == len(watched.after(90, a=(0, 0, 20), b=(0, 0, 20)))
    watched.progress.forget(A)
    assert [B] == [each.partition for each in watched.progress.stalled(LIMIT_S)]
