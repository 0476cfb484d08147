"""Messages of the rejected topic: their reason and origin, and how to replay them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from streamfilter.errors import Reason
from streamfilter.headers import HEADERS
from streamfilter.records import REPLAYED, Headers, Message, Origin, Output

MOST_REPLAYS = 3

_BYTE = re.compile(r"at byte (\d+)$")
_DIGITS = 18  # a longer number is not one of ours


@dataclass(frozen=True, slots=True)
class Rejection:
    """One message of the rejected topic.

    Attributes
    ----------
    stored
        The message in the rejected topic.
    reason, detail
        Why it was rejected.
    origin
        Place of the original, which may be deleted by now; None where the headers do not say.
    schema_id
        Schema id of the Confluent form, as text; empty where there is none.
    timestamp_ms
        Timestamp of the original (Unix, milliseconds), else of the rejected message.
    replayed
        How often the message was replayed before.
    """

    stored: Message
    reason: str
    detail: str
    origin: Origin | None
    schema_id: str
    timestamp_ms: int | None
    replayed: int

    @property
    def byte(self) -> int | None:
        """Byte of the value at which decoding failed; None where it is not known."""
        match = _BYTE.search(self.detail)
        # For other reasons the number counts from the start of a stamp or of a header.
        return int(match[1]) if match and self.reason == Reason.AVRO_MALFORMED else None

    @property
    def why_not_replayable(self) -> str | None:
        """Why the message cannot be replayed; None where it can."""
        if self.stored.value is None:
            return "it has no bytes: the original was empty, or too large for the rejected topic"
        if self.replayed >= MOST_REPLAYS:
            return f"it was replayed {self.replayed} times and rejected each time"
        return None


def rejection_of(stored: Message) -> Rejection | None:
    """Returns the rejection that a stored message holds; None where it has no reason header."""
    texts = {name: (value or b"").decode(errors="replace") for name, value in stored.headers}
    if "streamfilter-reason" not in texts:
        return None
    timestamp_ms = _number(texts.get("streamfilter-timestamp"))
    return Rejection(
        stored=stored,
        reason=texts["streamfilter-reason"],
        detail=texts.get("streamfilter-detail", ""),
        origin=_origin(texts),
        schema_id=texts.get("streamfilter-schema-id", ""),
        timestamp_ms=stored.timestamp_ms if timestamp_ms is None else timestamp_ms,
        replayed=_number(texts.get(REPLAYED)) or 0,
    )


def replay_of(rejection: Rejection, topic: str) -> Output:
    """Returns the original message as an output to a topic, with its count of replays raised."""
    ours = {*HEADERS, REPLAYED}
    kept: Headers = tuple(each for each in rejection.stored.headers if each[0] not in ours)
    marked = (*kept, (REPLAYED, str(rejection.replayed + 1).encode()))
    stored = rejection.stored
    return Output(stored.origin, topic, stored.value, stored.key, marked)


def _origin(texts: Mapping[str, str]) -> Origin | None:
    topic = texts.get("streamfilter-topic")
    partition = _number(texts.get("streamfilter-partition"))
    offset = _number(texts.get("streamfilter-offset"))
    if topic is None or partition is None or offset is None:
        return None
    return Origin(topic, partition, offset)


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) <= _DIGITS and text.isdecimal() else None
