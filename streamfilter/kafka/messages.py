"""Turns what librdkafka returns into a message; nothing that a producer wrote may raise here."""

from operator import methodcaller
from typing import cast

from confluent_kafka import Message as RawMessage

from streamfilter.records import Headers, Message, Origin

_SHOWN_BYTES = 80  # shown of a name that is not UTF-8
# The bindings return a value and leave the decoder's exception set. Python sees that at a call from
# C; at a call that it has specialised, which a hot one is, it comes out wherever one is looked for.
_headers_of = methodcaller("headers")


def message_of(raw: RawMessage) -> Message:
    """Returns a message of librdkafka, which must not be an error, as a value.

    librdkafka's bindings return no header of a message if the name of one is not UTF-8. The message
    then has no headers, and ``unread`` says why.
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
    """Returns the headers, and why they cannot be read if so; asks the bindings only once."""
    try:
        return cast("Headers", tuple(_headers_of(raw) or ())), ""
    except Exception as error:  # a SystemError over the decoder's own
        cause = error.__cause__ or error
        if isinstance(cause, UnicodeDecodeError):
            name = cause.object
            shown = f"{name[:_SHOWN_BYTES]!r}{'...' if len(name) > _SHOWN_BYTES else ''}"
            return (), f"the name of a header is {shown}; expected UTF-8"
        return (), f"its headers cannot be read: {type(cause).__name__}: {cause}"
