"""Begins to read partitions of which the group has no valid offset, and reports what that skips."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.assignment import Assignment
from streamfilter.kafka.client import error_of, log
from streamfilter.kafka.commits import Commits
from streamfilter.kafka.continuity import Continuity
from streamfilter.kafka.ledger import Partition
from streamfilter.kafka.starts import Skip, Start, start_of

OnSkipped = Callable[[str, Skip, int], None]
"""Takes a topic, the reason why offsets are skipped, and their number."""

# Reading waits so long for the ends of a partition, and asks again after so long.
_ANSWER_S, _AGAIN_S = 1.0, 1.0


class Beginnings:
    """The partitions that wait for an offset; it is used in the thread that polls.

    Parameters
    ----------
    policy
        ``auto.offset.reset``, for partitions of which the group has no offset.
    commits, continuity
        Are told where reading begins.
    on_skipped
        Called where offsets are stepped over.
    """

    def __init__(
        self,
        consumer: Consumer,
        assignment: Assignment,
        commits: Commits,
        continuity: Continuity,
        *,
        policy: str,
        on_skipped: OnSkipped | None,
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._commits = commits
        self._continuity = continuity
        self._policy = policy
        self._on_skipped = on_skipped
        # By partition, the committed offset of the group that is not valid; None without one.
        self._waiting: dict[Partition, int | None] = {}
        self._next_s = 0.0

    def without_offset(self, partition: Partition, stood: int | None) -> None:
        """Note that the client asks where to begin, unless it asked before it was told."""
        known = None if stood is None or stood < 0 else stood
        if (known or 0) >= self._assignment.placed(partition):
            self._waiting[partition] = known

    def forget(self, partition: Partition) -> None:
        """Forget a partition that was revoked or is read again."""
        self._waiting.pop(partition, None)

    def begin(self) -> None:
        """Begin in every partition that waits; without an answer a later call tries again."""
        if not self._waiting or time.monotonic() < self._next_s:
            return
        for partition, stood in list(self._waiting.items()):
            if partition not in self._assignment.partitions:
                del self._waiting[partition]
                continue
            try:
                ends = self._consumer.get_watermark_offsets(Position(*partition), _ANSWER_S)
                start = start_of(self._policy, stood, *ends)
                self._assignment.place(partition, start.offset)
            except KafkaException as error:
                self._next_s = time.monotonic() + _AGAIN_S
                log.warning("ends not known", detail=error_of(error).str(), retried=True)
                return
            del self._waiting[partition]
            self._began(partition, stood, start)

    def _began(self, partition: Partition, stood: int | None, start: Start) -> None:
        topic, number = partition
        self._continuity.forget(partition)
        self._commits.taken(self._assignment.positions([partition]))
        self._commits.begun(partition, start.offset, commit=start.reason is Skip.LATEST)
        if start.reason is not None:
            log.error(
                "offsets skipped", topic=topic, partition=number, reason=str(start.reason),
                first=start.skipped.start, last=start.skipped.stop - 1, offsets=len(start.skipped),
            )  # fmt: skip
            if self._on_skipped is not None:
                self._on_skipped(topic, start.reason, len(start.skipped))
        elif stood is not None:
            log.warning(
                "topic is shorter than it was", topic=topic, partition=number, stood=stood,
                begins=start.offset,
            )  # fmt: skip
