"""Turns exceptions into rejected messages: the one place where that is done, for both halves."""

from collections.abc import Mapping

import structlog
from prometheus_client import Counter

from streamfilter.errors import (
    CallFailed,
    MessageRejected,
    Reason,
    SchemaUnavailable,
    StreamfilterError,
    TransportFailed,
    own_mistake,
)
from streamfilter.headers import smaller
from streamfilter.kafka.sink import Undeliverable
from streamfilter.records import Message, Output, Rejected
from streamfilter.schemas.wire import schema_id_of

log = structlog.get_logger(__name__)


def rejections(
    error: Exception, *messages: Message, ids: Mapping[str, str] | None = None
) -> tuple[Rejected, ...]:
    """Returns a rejection of each message behind an exception.

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


def smaller_or_fail(output: Output, refusal: Undeliverable) -> Output:
    """Returns a rejected message that the broker refused, without its largest parts.

    Raises
    ------
    TransportFailed
        None is left: the message can have no answer, so its offset must not be committed.
    """
    answer = smaller(output)
    if answer is None:
        raise TransportFailed(
            f"{output.origin.topic}[{output.origin.partition}]@{output.origin.offset} has no "
            f"answer: {output.topic} does not take even a message without value and key "
            f"({refusal.detail}). Nothing from there on is committed; mend the topic (its "
            "cleanup.policy must not be compact), then start the worker again"
        )
    return answer


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
