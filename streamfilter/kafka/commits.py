"""Chooses the offsets that a consumer commits: new, refused, and those after markers; no I/O."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.client import log
from streamfilter.kafka.ledger import Partition


class Commits:
    """Keeps what a consumer has committed, and what was read from it.

    The last offsets of a transaction hold markers, not messages. A group that has settled all
    messages would still lag by them. Once nothing is left to settle, its position is committed.
    """

    def __init__(self) -> None:
        self._again: dict[Partition, int] = {}
        self._issued: dict[Partition, int] = {}
        self._read: dict[Partition, int] = {}
        self._begun: dict[Partition, int] = {}
        self._behind_marks: dict[Partition, int] = {}
        self._stale: dict[Partition, int] = {}

    def taken(self, positions: Iterable[Position]) -> None:
        """Note the client's positions when reading begins again: it may still report them later."""
        self._stale |= {(each.topic, each.partition): each.offset for each in positions}

    def read(self, partition: Partition, offset: int) -> None:
        """Note that a message was taken from the client."""
        self._read[partition] = offset + 1

    def begun(self, partition: Partition, offset: int, *, commit: bool) -> None:
        """Note where reading begins in a partition of which the group had no valid offset."""
        self._begun[partition] = offset
        if commit:
            self._again[partition] = offset

    def wanted(
        self, offsets: Mapping[Partition, int], assigned: Collection[Partition]
    ) -> list[Position]:
        """Returns the positions to commit now, with those that were refused before."""
        wanted = {**self._again, **offsets}
        self._again = {}
        positions = [Position(*each, offset) for each, offset in wanted.items() if each in assigned]
        self._issued |= {(each.topic, each.partition): each.offset for each in positions}
        return positions

    def behind_marks(
        self, settled: Mapping[Partition, int], positions: Iterable[Position]
    ) -> dict[Partition, int]:
        """Positions to commit instead of what is settled, where only marks lie between.

        Parameters
        ----------
        settled
            Of the partitions of which all that is in the books is settled, the offset after it.
        positions
            Where the client stands.
        """
        found: dict[Partition, int] = {}
        for each in positions:
            partition = (each.topic, each.partition)
            read = self._read.get(partition)
            # A message that was taken but not tracked yet may still be dropped and read again.
            if read != settled.get(partition):
                continue
            moved = each.offset if each.offset != self._stale.get(partition) else -1
            place = max(moved, self._begun.get(partition, -1))
            if place > (read or 0) and place != self._behind_marks.get(partition):
                found[partition] = place
        self._behind_marks |= found
        return found

    def answered(self, error: KafkaError | None, positions: Sequence[Position]) -> bool:
        """Whether the broker accepted these commits; refused ones are committed again."""
        refused = [each for each in positions if error is not None or each.error is not None]
        if refused:
            detail = (error or refused[0].error or KafkaError(KafkaError.UNKNOWN)).str()
            log.warning("commit refused", partitions=len(refused), detail=detail, retried=True)
        for each in refused:
            partition = (each.topic, each.partition)
            # A refusal may come after a later offset was committed; going back to it would repeat.
            if self._issued.get(partition) == each.offset:
                self._again.setdefault(partition, each.offset)
        return not refused

    def forget(self, partition: Partition) -> None:
        """Forget a partition that was revoked or is read again."""
        for book in (
            self._again,
            self._issued,
            self._read,
            self._begun,
            self._behind_marks,
            self._stale,
        ):
            book.pop(partition, None)
