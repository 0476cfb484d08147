"""Every failure, named by its consequence.

    StreamfilterError
    ├── MessageRejected        this message cannot be used; the stream goes on
    ├── ConfigurationInvalid   the service does not start (exit 2)
    ├── EngineUnavailable      the engine cannot run here; the service does not start
    ├── SchemaUnavailable      a schema cannot be fetched now; a retry may help
    ├── AddressRefused         a URL leads where this service may not call; a retry does not help
    ├── CallFailed             a call over HTTPS got no usable answer; a retry may help
    ├── TransactionAborted     no output of a transaction is visible; a new one sends them again
    └── TransportFailed        the broker cannot be used; the service stops, nothing is committed

Exceptions of libraries are translated at the rim (``raise ... from``); a message says what was
found, what was expected and how to mend it.
"""

import json
from collections.abc import Iterator
from enum import StrEnum

from streamfilter import __version__

_SHOWN = 20  # characters of what is no JSON


class Reason(StrEnum):
    """Why a message was rejected: a closed set, so that it can label a metric and a header."""

    EMPTY = "empty"
    HEADERS_MALFORMED = "headers_malformed"
    """Of Kafka's record: a name that is not UTF-8."""
    MESSAGE_TOO_LARGE = "message_too_large"
    WIRE_FORM_UNKNOWN = "wire_form_unknown"
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_UNAVAILABLE = "schema_unavailable"
    SCHEMA_MALFORMED = "schema_malformed"
    AVRO_MALFORMED = "avro_malformed"
    RECORD_COUNT = "record_count"
    SURVEY_UNKNOWN = "survey_unknown"
    FIELD_MISSING = "field_missing"
    FIELD_TYPE = "field_type"
    STAMP_COMPRESSION = "stamp_compression"
    STAMP_MALFORMED = "stamp_malformed"
    STAMP_TOO_LARGE = "stamp_too_large"
    ALREADY_ENRICHED = "already_enriched"
    OUTPUT_TOO_LARGE = "output_too_large"
    TOPIC_MISSING = "topic_missing"
    """Of the alert's survey: it has no topic of its own to be published to."""
    FRAME_UNREADABLE = "frame_unreadable"
    REFERENCE_REFUSED = "reference_refused"
    """The scheme of the reference is not supported, or its location is not allowed."""
    REFERENCE_MISSING = "reference_missing"
    REFERENCE_UNREACHABLE = "reference_unreachable"
    REFERENCE_TOO_LARGE = "reference_too_large"
    REFERENCE_DIFFERS = "reference_differs"
    """The size or sha256 of the file is not the announced one."""
    INTERNAL = "internal"
    """Our own code failed on the message: please report this and attach the message."""


class StreamfilterError(Exception):
    """The root of all failures that streamfilter raises itself."""


class MessageRejected(StreamfilterError):
    """This message cannot be used; it becomes a ``Rejected`` value and the stream goes on.

    Parameters
    ----------
    reason
        The label under which the rejection is counted.
    found
        What was found, and what was expected.
    byte
        Position in the data that was being read; None where it is not known.
    """

    def __init__(self, reason: Reason, found: str, byte: int | None = None) -> None:
        self.reason = reason
        self.found = printable(found)
        self.byte = byte
        super().__init__(f"{reason}: {self.detail}")

    @property
    def detail(self) -> str:
        """What was found, and where."""
        return self.found if self.byte is None else f"{self.found} at byte {self.byte}"


def how_to_install(extra: str = "") -> str:
    """Returns the commands that install streamfilter, or an extra of it: in a checkout, and
    elsewhere.

    There is no release on a package index yet. A release changes this text, and the section
    "Install" of the README, which a test holds against it; nothing else names the commands.
    """
    wanted = f"[{extra}]" if extra else ""
    wheel = f"dist/streamfilter-{__version__}-py3-none-any.whl"
    return (
        f"pip install -e '.{wanted}' in a checkout, "
        f"or pip install '{wheel}{wanted}' with a wheel (make wheel)"
    )


def printable(text: str) -> str:
    """Returns a text as one printable line: text from a message may hold control characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain_words(error: BaseException) -> str:
    """What an exception of Python's or a library's says, in words that can follow ours.

    Its class is left out: ``ConnectError`` or ``KeyError: 'x'`` name nothing that an operator has.
    What was to be done, on what, has to stand before it.
    """
    for each in _chain(error):
        if isinstance(each, TimeoutError) or "Timeout" in type(each).__name__:
            return "no answer in time"
        if why := getattr(each, "verify_message", ""):
            return f"certificate verify failed: {why}"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    match error:
        case RecursionError():
            return "nested too deeply"
        case MemoryError():
            return "more than there is memory for"
        case UnicodeError():
            return "text that is not UTF-8"
        case KeyError() if error.args:
            return f"no {error.args[0]!r}"
        case json.JSONDecodeError():
            found = error.doc[error.pos : error.pos + _SHOWN]
            return f"at character {error.pos} stands {found!r}" if found else "it ends too early"
    first = next(iter(str(error).strip().splitlines()), "")
    return first or "no reason is given"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception and those that it came from, the nearest first."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def own_mistake(error: Exception) -> str:
    """Returns words for a message on which our own code failed."""
    return (
        f"streamfilter's own code failed on it ({type(error).__name__}: {error}): please report "
        "it, with the message and what the log says under `internal error`"
    )


class ConfigurationInvalid(StreamfilterError):
    """The configuration is wrong; the service does not start."""


class EngineUnavailable(StreamfilterError):
    """An engine, its weights or its runtime cannot be used here; the service does not start."""


class SchemaUnavailable(StreamfilterError):
    """A schema cannot be fetched now (say, a registry does not answer); a retry may help."""


class TransactionAborted(StreamfilterError):
    """No output of a transaction is or will be visible; a new one with the same may succeed."""


class TransportFailed(StreamfilterError):
    """The broker cannot be used; the service stops and commits nothing further."""


class TopicMissing(TransportFailed):
    """There is no such topic; it can be made."""


class AddressRefused(StreamfilterError):
    """A URL leads where this service may not call; asking again does not help."""


class CallFailed(StreamfilterError):
    """A call over HTTPS got no usable answer; a retry may help."""
