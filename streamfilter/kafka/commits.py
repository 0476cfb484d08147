"""Which offsets a consumer commits: new ones, refused ones, and those behind marks; no I/O."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.client import log
from streamfilter.kafka.ledger import Partition


class Commits:
    """The book of a consumer's commits, and of what was handed over by it.

    The last places of a transaction hold marks, no messages: a group that has read and settled all
    messages still lags by them. Once nothing is left to settle, its position is committed.
    """

    def __init__(self) -> None:
        self._again: dict[Partition, int] = {}
        self._issued: dict[Partition, int] = {}
        self._read: dict[Partition, int] = {}
        self._begun: dict[Partition, int] = {}
        self._behind_marks: dict[Partition, int] = {}
        self._stale: dict[Partition, int] = {}

    def taken(self, positions: Iterable[Position]) -> None:
        """Reading begins anew: where the client stood before, which it may go on saying."""
        self._stale |= {(each.topic, each.partition): each.offset for each in positions}

    def read(self, partition: Partition, offset: int) -> None:
        """A message was taken from the client, whatever becomes of it."""
        self._read[partition] = offset + 1

    def begun(self, partition: Partition, offset: int, *, commit: bool) -> None:
        """Reading begins there, where the group had no valid offset."""
        self._begun[partition] = offset
        if commit:
            self._again[partition] = offset

    def wanted(
        self, offsets: Mapping[Partition, int], assigned: Collection[Partition]
    ) -> list[Position]:
        """What is to be committed now, with what was refused before."""
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
            # What was taken and is not in the books yet may still be dropped, and read again.
            if read != settled.get(partition):
                continue
            moved = each.offset if each.offset != self._stale.get(partition) else -1
            place = max(moved, self._begun.get(partition, -1))
            if place > (read or 0) and place != self._behind_marks.get(partition):
                found[partition] = place
        self._behind_marks |= found
        return found

    def answered(self, error: KafkaError | None, positions: Sequence[Position]) -> bool:
        """Whether the broker took these commits; what it refused is committed again."""
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
        """The partition was given up, or is read anew."""
        for book in (
            self._again,
            self._issued,
            self._read,
            self._begun,
            self._behind_marks,
            self._stale,
        ):
            book.pop(partition, None)
