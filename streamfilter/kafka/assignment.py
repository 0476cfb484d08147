"""The partitions that a consumer is assigned now, and which of them it fetches."""

from collections.abc import Callable, Collection, Iterable, Sequence

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.client import error_of, transport_failed
from streamfilter.kafka.ledger import Partition


def named(positions: Sequence[Position]) -> tuple[Partition, ...]:
    """Returns topic and number of each position."""
    return tuple((each.topic, each.partition) for each in positions)


class Assignment:
    """The assigned partitions of a consumer; it is used in the thread that polls.

    Parameters
    ----------
    incremental
        Whether partitions come and go one by one, or all at once.
    """

    def __init__(self, consumer: Consumer, *, incremental: bool) -> None:
        self._consumer = consumer
        self._incremental = incremental
        self._paused = False
        self._held: set[Partition] = set()
        self._placed: dict[Partition, int] = {}
        self.partitions: dict[Partition, None] = {}
        """The assigned partitions, in the order of their assignment."""

    @property
    def resting(self) -> Collection[Partition]:
        """The partitions of which nothing is fetched because they are paused or held."""
        return tuple(self.partitions) if self._paused else tuple(self._held)

    def take(self, positions: list[Position]) -> None:
        """Add partitions that the group has assigned."""
        if self._incremental:
            self._consumer.incremental_assign(positions)
        else:
            self._consumer.assign(positions)
        # A partition that was held when it was revoked is not held when it is assigned again.
        steer = self._consumer.pause if self._paused else self._consumer.resume
        steer(positions)
        self.partitions |= dict.fromkeys(named(positions))

    def give_up(self, positions: list[Position]) -> None:
        """Remove partitions that are revoked or lost."""
        for partition in named(positions):
            self.partitions.pop(partition, None)
            self._held.discard(partition)
            self.unplace(partition)
        if self._incremental:
            self._consumer.incremental_unassign(positions)
        else:
            self._consumer.unassign()

    def place(self, partition: Partition, offset: int) -> None:
        """Read an assigned partition from an offset, also where a seek would have no effect."""
        at, moved = Position(*partition, offset), [partition]
        self._placed[partition] = offset
        if self._incremental:
            self._consumer.incremental_unassign([at])
            self._consumer.incremental_assign([at])
        else:
            # This replaces the whole assignment: the others go on where they stand, or were placed.
            stand = self.positions(each for each in self.partitions if each != partition)
            for each in stand:
                if each.offset < 0:
                    each.offset = self._placed.get((each.topic, each.partition), each.offset)
            self._consumer.assign([*stand, at])
            moved = list(self.partitions)
        rest = [each for each in moved if self._paused or each in self._held]
        self._steer(self._consumer.pause, rest)

    def placed(self, partition: Partition) -> int:
        """Returns the offset at which a partition was placed; 0 where it was not."""
        return self._placed.get(partition, 0)

    def unplace(self, partition: Partition) -> None:
        """Forget the place of a partition that was revoked or is read again."""
        self._placed.pop(partition, None)

    def positions(self, partitions: Iterable[Partition]) -> list[Position]:
        """Returns the client's positions; an offset is negative where it is not known."""
        asked = [Position(*each) for each in partitions]
        return self._consumer.position(asked) if asked else []

    def pause(self) -> None:
        """Fetch nothing, also from partitions that are assigned later."""
        self._paused = True
        self._steer(self._consumer.pause, self.partitions)

    def resume(self) -> None:
        """Fetch again, except from partitions that are held."""
        self._paused = False
        self._steer(self._consumer.resume, set(self.partitions) - self._held)

    def hold(self, partition: Partition) -> None:
        """Fetch nothing from one partition."""
        if partition in self.partitions:
            self._held.add(partition)
            self._steer(self._consumer.pause, [partition])

    def release(self, partition: Partition) -> None:
        """Fetch again from a partition that was held."""
        if partition in self._held:
            self._held.discard(partition)
            if not self._paused:
                self._steer(self._consumer.resume, [partition])

    def _steer(
        self, what: Callable[[list[Position]], None], partitions: Iterable[Partition]
    ) -> None:
        try:
            what([Position(topic, number) for topic, number in partitions])
        except KafkaException as error:
            raise transport_failed(error_of(error), "pausing or resuming") from error
