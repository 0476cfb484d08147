"""One message of what is read: can it be had, and can it be understood?"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from streamfilter.config import Settings
from streamfilter.decode import Decoder
from streamfilter.decode_exposure import ExposureDecoder
from streamfilter.doctor.findings import Finding, State, failed, ok
from streamfilter.errors import MessageRejected, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.records import Message, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.wire import schema_id_of
from streamfilter.service.build import schema_sources
from streamfilter.surveys import Surveys


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that was read, and what can be held against others."""

    topic: str
    timestamp_ms: int | None
    stamped_by: str
    """``broker``, ``producer``, or empty where the topic's settings may not be read."""
    schema_id: int | None


def seen(message: Message, stamped_by: str) -> Seen:
    """What is kept of a message."""
    schema_id = schema_id_of(message.value) if message.value else None
    return Seen(message.origin.topic, message.timestamp_ms, stamped_by, schema_id)


def understood(settings: Settings, message: Message, *, exposure: bool) -> Finding:
    """Whether a worker could use a message."""
    origin = message.origin
    subject = f"{origin.topic}[{origin.partition}]@{origin.offset}"
    # Schemas of a registry are kept on disk; another user's files in the cache would be in the way.
    with TemporaryDirectory(prefix="streamfilter-") as home:
        try:
            found = _decoded(settings, message, Path(home), exposure=exposure)
        except SchemaUnavailable as error:
            return failed("message", subject, error, "see the registry below, or name its folder")
        except MessageRejected as error:
            found = error.detail
    if found:
        return Finding(
            "message", subject, State.WARNING, f"it would be rejected: {found}",
            "a message that can be used", "look at it: streamfilter inspect; ask its producer",
        )  # fmt: skip
    return ok("message", subject, f"{len(message.value or b''):,} bytes, read and understood")


def _decoded(settings: Settings, message: Message, home: Path, *, exposure: bool) -> str:
    """Why a message cannot be used; empty where it can."""
    largest = settings.exposures.max_message_bytes
    limits = Limits(max_message_bytes=largest) if exposure else settings.limits
    finder = SchemaFinder(schema_sources(settings, home), limits)
    if exposure:
        found: object = ExposureDecoder(finder).decode(message)
    else:
        surveys = Surveys.load(settings.alerts.survey_folders)
        found = Decoder(finder, surveys, limits).decode(message)
    return f"{found.reason}, {found.detail}" if isinstance(found, Rejected) else ""
