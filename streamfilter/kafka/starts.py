"""Decides where reading begins when the group has no valid offset in a partition; no I/O.

librdkafka would skip offsets without a word. It is set to ask (``auto.offset.reset=error``), so
that what is skipped is known.
"""

from dataclasses import dataclass
from enum import StrEnum

from streamfilter.errors import ConfigurationInvalid

EARLIEST = frozenset({"earliest", "smallest", "beginning"})
LATEST = frozenset({"latest", "largest", "end"})
"""Values of ``auto.offset.reset`` that skip what is there."""
ERROR = "error"


class Skip(StrEnum):
    """Why offsets are skipped: a closed set."""

    RETENTION = "retention"
    """The topic no longer holds what the group had not read."""
    LATEST = "latest"
    """``auto.offset.reset`` begins behind what was there."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins, and which offsets that skips."""

    offset: int
    skipped: range = range(0)
    reason: Skip | None = None
    """None where nothing is skipped."""


def start_of(policy: str, stood: int | None, low: int, high: int) -> Start:
    """Returns where to begin in a partition.

    Parameters
    ----------
    policy
        ``auto.offset.reset``, for partitions of which the group has no offset.
    stood
        Where the group would go on; None where it never committed.
    low, high
        What the partition holds, the second excluded.
    """
    if stood is None:
        if policy not in LATEST:
            return Start(low)
        return Start(high, range(low, high), Skip.LATEST) if high > low else Start(high)
    if stood < low:
        return Start(low, range(stood, low), Skip.RETENTION)
    return Start(low)  # the topic is shorter than it was: it is another one, or lost its end


def refuse_skipping(policy: str, topics: tuple[str, ...]) -> None:
    """Refuse a policy that does not exist, or that would skip the beginning of each new topic.

    Raises
    ------
    ConfigurationInvalid
        Says what mends it.
    """
    if policy not in EARLIEST | LATEST | {ERROR}:
        raise ConfigurationInvalid(
            f"Kafka setting 'auto.offset.reset' is {policy!r}; expected earliest, latest or error"
        )
    patterns = [topic for topic in topics if topic.startswith("^")]
    if policy in LATEST and patterns:
        raise ConfigurationInvalid(
            f"Kafka setting 'auto.offset.reset' is {policy!r}, and {patterns[0]!r} is a pattern: "
            "the first messages of each new topic would be skipped; remove it. To begin with what "
            "comes from now on, set the group's offsets once, before the first start: "
            "kafka-consumer-groups.sh --reset-offsets --to-latest"
        )
