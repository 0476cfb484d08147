"""Tells live messages from replayed, archived and late ones, whose latency says nothing."""

from collections.abc import Sequence
from enum import StrEnum

from streamfilter.records import REPLAYED, Message

_ARCHIVED_S = 86_400.0
"""Age of the light, at sending, that makes a message archived: surveys publish within hours."""
_CAUGHT_UP_S = 1.0
"""Age of a message, at reading, that shows that its partition has no backlog."""


class NotLive(StrEnum):
    """Why a message's latency does not measure the stream and the worker; a closed set."""

    REPLAYED = "replayed"
    """The message has the header ``streamfilter-replayed``."""
    ARCHIVED = "archived"
    """The light was more than a day old when the message was sent."""
    BACKLOG = "backlog"
    """The message waited while nobody read its partition, or came before that was made up."""


class Live:
    """Classifies messages by their header, their light and the backlog of their partition.

    A partition that is read for the first time may have a backlog. It may take as long to catch up
    as its first message waited. A message that is sent after that and comes late counts as late.

    Only one thread may call it.
    """

    def __init__(self) -> None:
        self._backlog_until: dict[tuple[str, int], float] = {}
        """By partition, the Unix time before which a sent message is backlog; 0 for none."""

    def why_not(
        self, received: Sequence[tuple[Message, float]], light_unix_s: float | None
    ) -> NotLive | None:
        """Returns why the messages of a verdict are not live; None if they are.

        Parameters
        ----------
        received
            The messages, each with the time when it was read (Unix seconds).
        light_unix_s
            The time of the exposure (Unix seconds); None if it is not known.
        """
        # Each message is taken into account, whatever the others are: each may end a backlog.
        waited = [self._waited(message, at_unix_s) for message, at_unix_s in received]
        messages = [message for message, _ in received]
        if any(name == REPLAYED for each in messages for name, _ in each.headers):
            return NotLive.REPLAYED
        sent = [each.timestamp_ms / 1000 for each in messages if each.timestamp_ms is not None]
        if sent and light_unix_s is not None and min(sent) - light_unix_s > _ARCHIVED_S:
            return NotLive.ARCHIVED
        return NotLive.BACKLOG if any(waited) else None

    def _waited(self, message: Message, received_unix_s: float) -> bool:
        """Returns whether a message belongs to the backlog of its partition."""
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
