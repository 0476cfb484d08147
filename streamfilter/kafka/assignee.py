"""The interface of whoever works on the partitions that a group assigns."""

from typing import Protocol

from streamfilter.kafka.ledger import Partition

Partitions = tuple[Partition, ...]


class Assignee(Protocol):
    """Works on the partitions of a source; it is called in the thread that polls."""

    def assigned(self, partitions: Partitions) -> None:
        """Partitions were assigned; they are read from their committed offsets."""

    def revoked(self, partitions: Partitions) -> None:
        """Partitions are about to be revoked: finish what was read there and commit it now."""

    def lost(self, partitions: Partitions) -> None:
        """Partitions already belong to another worker: forget what was read there."""


class Nobody:
    """An assignee that keeps nothing of a partition, so that there is nothing to finish."""

    def assigned(self, partitions: Partitions) -> None:
        """Does nothing."""

    def revoked(self, partitions: Partitions) -> None:
        """Does nothing."""

    def lost(self, partitions: Partitions) -> None:
        """Does nothing."""
