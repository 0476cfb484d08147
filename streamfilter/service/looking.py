"""One message of the exposure stream to its detectors' evidence, or to why there is none."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from streamfilter import frame_references, frames
from streamfilter.decode_exposure import ExposureDecoder
from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable, StreamfilterError
from streamfilter.exposure_records import (
    Announced,
    DetectorEvidence,
    ExposureMessage,
    FrameReason,
    FrameRefused,
)
from streamfilter.exposures import Watcher
from streamfilter.records import Message, Rejected

log = structlog.get_logger(__name__)

_SCHEMA_RETRIES_S = (0.5, 1.0, 2.0)
_REFERENCES = {
    Reason.REFERENCE_MISSING: FrameReason.REFERENCE_MISSING,
    Reason.REFERENCE_DIFFERS: FrameReason.REFERENCE_DIFFERS,
    Reason.REFERENCE_TOO_LARGE: FrameReason.TOO_LARGE,
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of a message."""

    announced: Announced | None
    """None where the message could not be decoded."""
    detectors: tuple[DetectorEvidence, ...]
    """Also of a rejected message, where it names its detector: the exposure knows of it."""
    rejected: Rejected | None
    look_s: float


class Looker:
    """Looks at the frames of messages; what is wrong with one stays with that one."""

    def __init__(
        self,
        *,
        decoder: ExposureDecoder,
        watcher: Watcher,
        rules: frames.FrameRules,
        reference_folders: Sequence[Path],
    ) -> None:
        self._decoder = decoder
        self._watcher = watcher
        self._rules = rules
        self._folders = tuple(reference_folders)

    def look(self, message: Message) -> Looked:
        """The evidence in a message; never raises for what is in it."""
        started = time.monotonic()
        announced: Announced | None = None
        try:
            found = self._decoded(message)
            if isinstance(found, Rejected):
                return Looked(None, (), found, time.monotonic() - started)
            announced = found.announced
            detectors, refusal = self._detectors(found)
        except MessageRejected as error:
            detectors, refusal = self._without(announced, error), (error.reason, error.detail)
        except SchemaUnavailable as error:
            detectors, refusal = (), (Reason.SCHEMA_UNAVAILABLE, str(error))
        except StreamfilterError:
            raise
        except Exception as error:
            log.error("internal error", origin=str(message.origin), exc_info=True)
            detectors, refusal = (), (Reason.INTERNAL, f"{type(error).__name__}: {error}")
        rejected = Rejected(message, *refusal) if refusal else None
        return Looked(announced, detectors, rejected, time.monotonic() - started)

    def _decoded(self, message: Message) -> ExposureMessage | Rejected:
        """A registry that does not answer is asked again."""
        for delay_s in _SCHEMA_RETRIES_S:
            try:
                return self._decoder.decode(message)
            except SchemaUnavailable as error:
                log.warning("schema unavailable", error=str(error), retry_s=delay_s)
                time.sleep(delay_s)
        return self._decoder.decode(message)

    def _detectors(
        self, found: ExposureMessage
    ) -> tuple[tuple[DetectorEvidence, ...], tuple[Reason, str] | None]:
        """Evidence of each detector; a reason to reject where none could be read."""
        content, origin = found.frame, found.message.origin
        source = f"{origin.topic}[{origin.partition}]@{origin.offset}"
        if not isinstance(content, bytes):
            source = content.uri
            content = frame_references.fetch(content, self._folders, self._rules.max_bytes)
        looked, refused = [], []
        for frame in frames.read(content, source, self._rules, found.announced.hdu):
            if isinstance(frame, FrameRefused):
                refused.append(frame)
            looked.append(self._watcher.look(frame).evidence)
        detectors = _named(looked, found.announced.detector)
        if len(refused) < len(looked):
            return detectors, None
        first = refused[0]
        detail = f"{first.reason}: {first.detail}"
        return detectors, (Reason.FRAME_UNREADABLE, detail)

    def _without(
        self, announced: Announced | None, error: MessageRejected
    ) -> tuple[DetectorEvidence, ...]:
        """A named detector whose frame could not be had: the exposure need not wait for it."""
        if announced is None or announced.detector is None:
            return ()
        why = _REFERENCES.get(error.reason, FrameReason.REFERENCE_UNREACHABLE)
        refused = FrameRefused("", None, why, error.detail)
        return _named([self._watcher.look(refused).evidence], announced.detector)


def _named(
    looked: Sequence[DetectorEvidence], announced: str | None
) -> tuple[DetectorEvidence, ...]:
    """The detectors under their names; those of a file that could not be opened have none."""
    if announced is None:
        return tuple(each for each in looked if each.detector)
    if len(looked) == 1:
        return (replace(looked[0], detector=announced),)
    return tuple(replace(each, detector=f"{announced}:{each.detector}") for each in looked)
