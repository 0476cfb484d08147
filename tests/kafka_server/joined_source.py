"""A source that has joined its group, told of its partitions by functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamfilter.kafka.assignee import Partitions
from streamfilter.kafka.beginnings import OnSkipped
from streamfilter.kafka.client import Settings
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.statistics import OnStatistics

OnPartitions = Callable[[Partitions], None]


def nothing(_: Partitions) -> None:
    """Do nothing about partitions that come or go."""


@dataclass(frozen=True)
class Told:
    """An assignee made of functions."""

    assigned: OnPartitions
    revoked: OnPartitions
    lost: OnPartitions


def joined(
    settings: Settings,
    topics: Sequence[str],
    *,
    on_assigned: OnPartitions = nothing,
    on_revoked: OnPartitions = nothing,
    on_lost: OnPartitions = nothing,
    on_statistics: OnStatistics | None = None,
    on_skipped: OnSkipped | None = None,
) -> KafkaSource:
    """A member of its group."""
    source = KafkaSource(settings, topics, on_statistics=on_statistics, on_skipped=on_skipped)
    source.join(Told(on_assigned, on_revoked, on_lost))
    return source
