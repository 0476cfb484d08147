"""Partitions whose topic may have been deleted and made again; it does no I/O.

librdkafka goes on where it stood, also in another topic of that name, whose beginning it would
skip. A topic that is made again is silent for a while, and the group's offsets go with the old one:
after a silence the broker is asked for them.
"""

import time
from collections.abc import Mapping, Sequence

from streamfilter.kafka.ledger import Partition, partition_of
from streamfilter.records import Message

# A topic that is deleted and made again is silent for longer.
QUIET_S = 0.2


class RemadeTopics:
    """Knows which commits the broker has, and when each partition was last read."""

    def __init__(self) -> None:
        self._committed: dict[Partition, int] = {}
        self._read_s: dict[Partition, float] = {}

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Note the offsets that the broker has committed; any thread may call."""
        self._committed |= offsets

    def forget(self, partition: Partition) -> None:
        """Forget a partition that was revoked or is read again."""
        self._committed.pop(partition, None)
        self._read_s.pop(partition, None)

    def suspects(self, messages: Sequence[Message]) -> tuple[Partition, ...]:
        """Returns the partitions of these messages that were silent and have a committed offset."""
        now, quiet = time.monotonic(), dict[Partition, None]()
        for each in messages:
            partition = partition_of(each.origin)
            if each.origin.offset < self._committed.get(partition, 0):
                del self._committed[partition]  # librdkafka found out by itself
            elif partition in self._committed and now - self._read_s.get(partition, now) > QUIET_S:
                quiet[partition] = None
            self._read_s[partition] = now
        return tuple(quiet)
