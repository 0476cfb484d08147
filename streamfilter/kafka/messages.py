"""From what librdkafka hands over to a message: nothing that a producer wrote may raise here."""

from operator import methodcaller
from typing import cast

from confluent_kafka import Message as RawMessage

from streamfilter.records import Headers, Message, Origin

_SHOWN_BYTES = 80  # of a name that cannot be read
# The bindings return a value and leave the decoder's exception set. Python sees that at a call from
# C; at a call that it has specialised, which a hot one is, it comes out wherever one is looked for.
_headers_of = methodcaller("headers")


def message_of(raw: RawMessage) -> Message:
    """A message of librdkafka that is no error, as a value.

    Headers whose names are not UTF-8 cannot be had through its bindings, neither those nor the
    others beside them: the message then has none, and ``unread`` says so.
    """
    kind, timestamp = raw.timestamp()
    headers, unread = _headers(raw)
    # Stubs allow None for what librdkafka always sets on a message without error.
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    return Message(
        Origin(cast("str", topic), cast("int", partition), cast("int", offset)),
        raw.value(),
        raw.key(),
        timestamp if kind else None,
        headers,
        unread,
    )


def _headers(raw: RawMessage) -> tuple[Headers, str]:
    """The headers, and why there are none where they cannot be read. Never asked for twice."""
    try:
        return cast("Headers", tuple(_headers_of(raw) or ())), ""
    except Exception as error:  # a SystemError over the decoder's own
        cause = error.__cause__ or error
        if isinstance(cause, UnicodeDecodeError):
            name = cause.object
            shown = f"{name[:_SHOWN_BYTES]!r}{'...' if len(name) > _SHOWN_BYTES else ''}"
            return (), f"the name of a header is {shown}; expected UTF-8"
        return (), f"its headers cannot be read: {type(cause).__name__}: {cause}"
