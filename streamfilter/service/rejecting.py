"""The one place where an exception becomes rejected messages, for both halves."""

from collections.abc import Mapping

import structlog
from prometheus_client import Counter

from streamfilter.errors import (
    CallFailed,
    MessageRejected,
    Reason,
    SchemaUnavailable,
    StreamfilterError,
    own_mistake,
)
from streamfilter.records import Message, Rejected
from streamfilter.schemas.wire import schema_id_of

log = structlog.get_logger(__name__)


def rejections(
    error: Exception, *messages: Message, ids: Mapping[str, str] | None = None
) -> tuple[Rejected, ...]:
    """Turns an exception into a rejection of each message behind it.

    Parameters
    ----------
    ids
        Of the message's trace, for the log line of an internal error.

    Raises
    ------
    StreamfilterError
        The exception itself, where the messages are not at fault: an engine or a broker that fails
        ends the worker, and the messages are read again.
    """
    match error:
        case MessageRejected():
            reason, detail = error.reason, error.detail
        case SchemaUnavailable():
            reason, detail = Reason.SCHEMA_UNAVAILABLE, str(error)
        case CallFailed():
            reason, detail = Reason.REFERENCE_UNREACHABLE, str(error)
        case StreamfilterError():
            raise error
        case _:
            origin = ", ".join(str(message.origin) for message in messages)
            log.error("internal error", origin=origin, exc_info=error, **(ids or {}))
            reason, detail = Reason.INTERNAL, own_mistake(error)
    return tuple(
        Rejected(message, reason, detail, schema_id_of(message.value or b"", message.headers))
        for message in messages
    )


def note_rejected(
    rejected: Rejected, counter: Counter, ids: Mapping[str, str] | None = None
) -> None:
    """Counts a rejection under its reason, and logs it once with the ids of its trace."""
    counter.labels(rejected.reason).inc()
    origin = rejected.message.origin
    log.warning(
        "rejected",
        reason=str(rejected.reason),
        detail=rejected.detail,
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        **(ids or {}),
    )
