"""One message of the exposure stream to its detectors' evidence, or to why there is none."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from streamfilter import exposure_figures, frames
from streamfilter.decode_exposure import ExposureDecoder
from streamfilter.errors import (
    CallFailed,
    MessageRejected,
    Reason,
    SchemaUnavailable,
    StreamfilterError,
)
from streamfilter.exposure_figures import Seen
from streamfilter.exposure_records import (
    Announced,
    DetectorEvidence,
    ExposureMessage,
    Frame,
    FrameReason,
    FrameRefused,
)
from streamfilter.exposures import Watcher
from streamfilter.frame_references import References
from streamfilter.records import Message, Rejected
from streamfilter.schemas.finder import SchemaKey, schema_key
from streamfilter.schemas.wire import schema_id_of

log = structlog.get_logger(__name__)

_SCHEMA_AGAIN_S = 0.2
"""Until a message looks again whether its schema came; it is asked for elsewhere."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0
"""Until an unreachable frame is asked for again."""
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
    seen: tuple[Seen, ...]
    """Also of a rejected message, where it names its detector: the exposure knows of it."""
    rejected: Rejected | None
    look_s: float
    again_s: float | None = None
    """After which time to look again: what the message refers to could not be reached."""
    schema_awaited: bool = False
    """What could not be reached yet is its schema."""

    @property
    def detectors(self) -> tuple[DetectorEvidence, ...]:
        """The evidence of each."""
        return tuple(each.evidence for each in self.seen)


class Looker:
    """Looks at the frames of messages; what is wrong with one stays with that one.

    Parameters
    ----------
    ready
        Whether the schema under a key is here; see ``Awaited.ready``.
    attempts
        To reach what a message refers to, before it is rejected.
    pictures
        Whether thumbnails and cut-outs of the frames are kept beside the evidence.
    """

    def __init__(
        self,
        *,
        decoder: ExposureDecoder,
        watcher: Watcher,
        rules: frames.FrameRules,
        references: References,
        ready: Callable[[SchemaKey | None], bool],
        attempts: int = 1,
        pictures: bool = False,
    ) -> None:
        self._decoder = decoder
        self._watcher = watcher
        self._rules = rules
        self._references = references
        self._ready = ready
        self._attempts = attempts
        self._pictures = pictures

    def look(self, message: Message, attempt: int = 1) -> Looked:
        """The evidence in a message; never raises for what is in it."""
        started = time.monotonic()
        announced: Announced | None = None
        try:
            if not self._ready(schema_key(message.value)):
                waited_s = time.monotonic() - started
                return Looked(None, (), None, waited_s, _SCHEMA_AGAIN_S, schema_awaited=True)
            found = self._decoder.decode(message)
            if isinstance(found, Rejected):
                return Looked(None, (), found, time.monotonic() - started)
            announced = found.announced
            seen, refusal = self._detectors(found)
        except MessageRejected as error:
            seen, refusal = self._without(announced, error), (error.reason, error.detail)
        except CallFailed as error:
            log.warning("frame unreachable", origin=str(message.origin), detail=str(error))
            if attempt < self._attempts:
                again_s = min(_FIRST_DELAY_S * 2 ** (attempt - 1), _LONGEST_DELAY_S)
                return Looked(announced, (), None, time.monotonic() - started, again_s)
            reason = Reason.REFERENCE_UNREACHABLE
            refused = MessageRejected(reason, f"{error}; attempts: {attempt}")
            seen, refusal = self._without(announced, refused), (reason, refused.detail)
        except SchemaUnavailable as error:
            seen, refusal = (), (Reason.SCHEMA_UNAVAILABLE, str(error))
        except StreamfilterError:
            raise
        except Exception as error:
            log.error("internal error", origin=str(message.origin), exc_info=True)
            seen, refusal = (), (Reason.INTERNAL, f"{type(error).__name__}: {error}")
        schema_id = schema_id_of(message.value or b"")
        rejected = Rejected(message, *refusal, schema_id) if refusal else None
        return Looked(announced, seen, rejected, time.monotonic() - started)

    def _detectors(
        self, found: ExposureMessage
    ) -> tuple[tuple[Seen, ...], tuple[Reason, str] | None]:
        """What is seen of each detector; a reason to reject where none could be read."""
        content, origin = found.frame, found.message.origin
        source = f"{origin.topic}[{origin.partition}]@{origin.offset}"
        if not isinstance(content, bytes):
            source = content.uri
            content = self._references.fetch(content)
        looked, refused = [], []
        for frame in frames.read(content, source, self._rules, found.announced.hdu):
            if isinstance(frame, FrameRefused):
                refused.append(frame)
            looked.append(self._seen(frame))
        seen = _named(looked, found.announced.detector)
        if len(refused) < len(looked):
            return seen, None
        first = refused[0]
        detail = f"{first.reason}: {first.detail}"
        return seen, (Reason.FRAME_UNREADABLE, detail)

    def _seen(self, frame: Frame | FrameRefused) -> Seen:
        look = self._watcher.look(frame)
        return exposure_figures.keep(look if self._pictures else replace(look, image=None))

    def _without(self, announced: Announced | None, error: MessageRejected) -> tuple[Seen, ...]:
        """A named detector whose frame could not be had: the exposure need not wait for it."""
        if announced is None or announced.detector is None:
            return ()
        why = _REFERENCES.get(error.reason, FrameReason.REFERENCE_UNREACHABLE)
        refused = FrameRefused("", None, why, error.detail)
        return _named([self._seen(refused)], announced.detector)


def _named(looked: Sequence[Seen], announced: str | None) -> tuple[Seen, ...]:
    """The detectors under their names; those of a file that could not be opened have none."""
    if announced is None:
        return tuple(each for each in looked if each.evidence.detector)
    if len(looked) == 1:
        return (_renamed(looked[0], announced),)
    return tuple(_renamed(each, f"{announced}:{each.evidence.detector}") for each in looked)


def _renamed(seen: Seen, detector: str) -> Seen:
    return replace(seen, evidence=replace(seen.evidence, detector=detector))
