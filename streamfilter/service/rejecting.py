"""Every message has its answer: what cannot be used is rejected, whoever finds out."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable, StreamfilterError
from streamfilter.records import Rejected
from streamfilter.schemas.wire import schema_id_of
from streamfilter.service.alerts.publisher import AlertPublisher
from streamfilter.service.alerts.ticket import AlertTicket

log = structlog.get_logger(__name__)


@contextmanager
def answered(publisher: AlertPublisher, ticket: AlertTicket) -> Iterator[None]:
    """Reject a message that cannot be used, or over which our own code stumbles.

    One bad alert stops no stream; an engine or a broker that fails does.
    """
    try:
        yield
    except MessageRejected as error:
        _reject(publisher, ticket, error.reason, error.detail)
    except SchemaUnavailable as error:
        _reject(publisher, ticket, Reason.SCHEMA_UNAVAILABLE, str(error))
    except StreamfilterError:
        raise
    except Exception as error:
        origin = str(ticket.message.origin)
        log.error("internal error", origin=origin, exc_info=True, **ticket.ids)
        _reject(publisher, ticket, Reason.INTERNAL, f"{type(error).__name__}: {error}")


def _reject(publisher: AlertPublisher, ticket: AlertTicket, reason: Reason, detail: str) -> None:
    if ticket.give_up():
        message = ticket.message
        schema_id = schema_id_of(message.value or b"")
        publisher.reject(ticket, Rejected(message, reason, detail, schema_id))
