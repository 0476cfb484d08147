"""Checks that the client goes on where it stopped, after a pause or an outage; no I/O.

Offsets need not be consecutive: marks of transactions and compaction leave gaps. Where a gap comes
first after a disturbance it may be the client's: reading is sent back once, and a gap that is still
there is the topic's own.
"""

from collections.abc import Iterable, Sequence

import structlog

from streamfilter.kafka.ledger import Partition, partition_of
from streamfilter.records import Message

log = structlog.get_logger(__name__)


class Continuity:
    """Knows the next offset of each partition, and which partitions were disturbed."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}
        self._disturbed: set[Partition] = set()
        self._behind_gap: dict[Partition, int] = {}

    def disturb(self, partitions: Iterable[Partition]) -> None:
        """Check the next message of these partitions."""
        self._disturbed.update(partitions)

    def forget(self, *partitions: Partition) -> None:
        """Forget partitions that were revoked, or are read from another offset."""
        for each in partitions:
            self._next.pop(each, None)
            self._disturbed.discard(each)
            self._behind_gap.pop(each, None)

    def checked(
        self, messages: Sequence[Message], disturbed: Iterable[Partition] = ()
    ) -> tuple[list[Message], dict[Partition, int]]:
        """Returns the messages to go on with, and the offsets to which reading is sent back."""
        self.disturb(disturbed)
        good: list[Message] = []
        back: dict[Partition, int] = {}
        for each in messages:
            partition, offset = partition_of(each.origin), each.origin.offset
            if partition in back:
                continue
            if partition in self._disturbed and not self._goes_on(partition, offset):
                back[partition] = self._next[partition]
                continue
            self._next[partition] = offset + 1
            good.append(each)
        return good, back

    def _goes_on(self, partition: Partition, offset: int) -> bool:
        wanted, behind_gap = self._next.get(partition, offset), self._behind_gap.get(partition)
        if offset > wanted and offset != behind_gap:
            self._behind_gap[partition] = offset
            return False
        if behind_gap is not None and offset < behind_gap:
            topic, number = partition
            log.error(
                "the client stepped over messages, which are read now",
                topic=topic, partition=number, first=offset, last=behind_gap - 1,
            )  # fmt: skip
        self._disturbed.discard(partition)
        self._behind_gap.pop(partition, None)
        return True
