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

from enum import StrEnum

from streamfilter import __version__


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
        """What was found and where."""
        return self.found if self.byte is None else f"{self.found} at byte {self.byte}"


def how_to_install(extra: str = "") -> str:
    """The commands that install streamfilter, or an extra of it: one in a checkout, one elsewhere.

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
