"""Which messages are of tonight's stream, and which are sent or read again for another reason."""

from collections.abc import Sequence
from enum import StrEnum

from streamfilter.records import REPLAYED, Message

_ARCHIVED_S = 86_400.0
"""Light that was older than this when it was sent is no night's: surveys publish within hours."""
_CAUGHT_UP_S = 1.0
"""Age of a message when it is read, from which on down a partition has caught up."""


class NotLive(StrEnum):
    """Why a message's latency says nothing of how quick stream and worker are: a closed set."""

    REPLAYED = "replayed"
    """It has the header ``streamfilter-replayed``."""
    ARCHIVED = "archived"
    """Its light was a day old when it was sent."""
    BACKLOG = "backlog"
    """It waited while nobody read its partition, or came while that was worked off."""


class Live:
    """Tells messages apart by header, light, and whether their partition has caught up.

    A partition that is read for the first time may have a backlog. It has as long to catch up as
    its first message had waited; what is late after that is late. One thread calls.
    """

    def __init__(self) -> None:
        self._backlog_until: dict[tuple[str, int], float] = {}
        """By partition: what was sent before (Unix seconds) is backlog; 0 once it caught up."""

    def why_not(
        self, received: Sequence[tuple[Message, float]], light_unix_s: float | None
    ) -> NotLive | None:
        """Why a verdict is not on live messages; None where it is.

        Parameters
        ----------
        received
            The messages behind it, each with when it was read (Unix seconds).
        light_unix_s
            Of the exposure, where that is known.
        """
        # Every message is looked at, whatever the others are: each may end its backlog.
        waited = [self._waited(message, at_unix_s) for message, at_unix_s in received]
        messages = [message for message, _ in received]
        if any(name == REPLAYED for each in messages for name, _ in each.headers):
            return NotLive.REPLAYED
        sent = [each.timestamp_ms / 1000 for each in messages if each.timestamp_ms is not None]
        if sent and light_unix_s is not None and min(sent) - light_unix_s > _ARCHIVED_S:
            return NotLive.ARCHIVED
        return NotLive.BACKLOG if any(waited) else None

    def _waited(self, message: Message, received_unix_s: float) -> bool:
        """Whether a message is of its partition's backlog."""
        if message.timestamp_ms is None:
            return False
        sent_s = message.timestamp_ms / 1000
        age_s = received_unix_s - sent_s
        partition = message.origin.topic, message.origin.partition
        if age_s <= _CAUGHT_UP_S:
            self._backlog_until[partition] = 0.0
        else:
            self._backlog_until.setdefault(partition, received_unix_s + age_s)
        return sent_s < self._backlog_until[partition]
