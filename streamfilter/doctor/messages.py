"""Checks that a worker could use the last message of a topic."""

import shlex
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from streamfilter.alerts.beside import stamps_read
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Drift
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Settings
from streamfilter.doctor.findings import GIVEN, Finding, State, failed, ok
from streamfilter.errors import EngineUnavailable, MessageRejected, SchemaUnavailable
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Plane, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.wire import schema_id_of, schema_in
from streamfilter.service.assembly.alerts import networks_of, schema_sources


@dataclass(frozen=True, slots=True)
class SampledMessage:
    """A message's facts that later checks compare with registries and clocks."""

    topic: str
    timestamp_ms: int | None
    stamped_by: str
    """``broker`` or ``producer``; empty where the topic's settings are not readable."""
    schema_id: int | UUID | None
    """The id or GUID that a registry is asked for."""
    survey: str = ""
    """Of the alert; empty for exposures, and where it is not known."""


def sample_of(message: Message, stamped_by: str, survey: str = "") -> SampledMessage:
    """Returns what later checks compare: topic, timestamp, schema id, survey."""
    schema_id: int | UUID | None = None
    # A header that cannot be used is a finding about the message itself.
    with suppress(MessageRejected):
        schema_id = schema_in(message.headers)
    if schema_id is None and message.value:
        schema_id = schema_id_of(message.value, message.headers)
    return SampledMessage(message.origin.topic, message.timestamp_ms, stamped_by, schema_id, survey)


def check_message(settings: Settings, message: Message, *, exposure: bool) -> tuple[Finding, str]:
    """Check that a worker could use a message; also returns its survey, empty if not known."""
    origin = message.origin
    subject = f"{origin.topic}[{origin.partition}]@{origin.offset}"
    # A registry's schemas are kept on disk; in the worker's own cache, files of this user would be
    # in the worker's way.
    with TemporaryDirectory(prefix="streamfilter-") as home:
        try:
            return _decoded(settings, message, Path(home), subject, exposure=exposure)
        except SchemaUnavailable as error:
            mend = "see the registry below, or name its folder"
            return failed("message", subject, error, mend), ""
        except EngineUnavailable as error:
            return failed("message", subject, error), ""
        except MessageRejected as error:
            return _rejected(subject, error.detail, _look(message, exposure=exposure)), ""


def _decoded(
    settings: Settings, message: Message, home: Path, subject: str, *, exposure: bool
) -> tuple[Finding, str]:
    largest = settings.exposures.max_message_bytes
    limits = Limits(max_message_bytes=largest) if exposure else settings.limits
    finder = SchemaFinder(schema_sources(settings, home), limits)
    if exposure:
        decoded: object = ExposureDecoder(finder).decode(message)
        finding = None
    else:
        judged = settings.alerts.planes
        planes = stamps_read(judged, *networks_of(settings))
        decoder = Decoder(finder, Surveys.load(settings.alerts.survey_folders), limits)
        decoded = decoder.decode(message, planes)
        finding = _missing_parts(subject, decoded, decoder.take_reports(), judged, planes)
    if isinstance(decoded, Rejected):
        why = f"{decoded.reason}, {decoded.detail}"
        return _rejected(subject, why, _look(message, exposure=exposure)), ""
    read = f"{len(message.value or b''):,} bytes, read and understood"
    survey = decoded.survey if isinstance(decoded, Alert) else ""
    return finding or ok("message", subject, read), survey


def _missing_parts(
    subject: str,
    decoded: Alert | Rejected,
    news: Sequence[Drift | Gaps],
    judged: Collection[Plane],
    planes: Collection[Plane],
) -> Finding | None:
    """Returns a finding about what an alert lacks; None where it is complete."""
    for each in news:
        if isinstance(each, Gaps):
            return _not_given(subject, each, judged)
    if isinstance(decoded, Alert) and (absent := _absent(decoded, planes)):
        return Finding(
            "message", subject, State.WARNING, f"it has no stamp for {absent}",
            "one for each that the engines take (alerts.planes, engine.name, engine.also)",
            f"name its field in the field map of {decoded.survey}, if its alerts have one",
        )  # fmt: skip
    return None


def _look(message: Message, *, exposure: bool) -> str:
    """Returns the command that shows an alert; of an exposure only its producer knows more."""
    if exposure:
        return "ask its producer"
    at = message.origin
    return (
        f"streamfilter inspect --topic {shlex.quote(at.topic)} --at {at.partition}:{at.offset}"
        f"{GIVEN}"
    )


def _rejected(subject: str, why: str, look: str) -> Finding:
    return Finding(
        "message", subject, State.WARNING, f"it would be rejected: {why}",
        "a message that can be used", look,
    )  # fmt: skip


def _not_given(subject: str, gaps: Gaps, judged: Collection[Plane]) -> Finding:
    return Finding(
        "message", subject, State.FAILED if gaps.concern(judged) else State.WARNING, str(gaps),
        "that the schema has a field for each value of the map",
        f"correct the map of {gaps.survey} in a folder of alerts.survey_folders",
    )  # fmt: skip


def _absent(alert: Alert, planes: Collection[Plane]) -> str:
    return ", ".join(
        plane for plane in planes if plane not in alert.stamps and plane not in alert.unreadable
    )
