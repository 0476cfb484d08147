"""Turns one message of the exposure stream into evidence of its detectors, or a rejection."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from streamfilter.errors import (
    CallFailed,
    MessageRejected,
    Reason,
)
from streamfilter.exposures import figures, frames
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.figures import DetectorPicture
from streamfilter.exposures.records import (
    Announced,
    DetectorEvidence,
    ExposureMessage,
    Frame,
    FrameReason,
    FrameRefused,
    NotJudged,
    Purpose,
    SetAside,
    detector_names,
)
from streamfilter.exposures.references import References
from streamfilter.exposures.refusal import NO_MEMORY
from streamfilter.exposures.watcher import Watcher
from streamfilter.records import Message, Rejected
from streamfilter.schemas.finder import schema_key
from streamfilter.service.exposures.frame_masks import FrameMasks
from streamfilter.service.rejecting import rejections
from streamfilter.service.schemas_awaited import SchemasAwaited

log = structlog.get_logger(__name__)

_SCHEMA_AGAIN_S = 0.2
"""Interval at which a message asks whether its schema came, which is fetched elsewhere."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0
"""Delays before an unreachable frame is asked for again."""
_MIB = 2**20
_REFERENCES = {
    Reason.REFERENCE_MISSING: FrameReason.REFERENCE_MISSING,
    Reason.REFERENCE_DIFFERS: FrameReason.REFERENCE_DIFFERS,
    Reason.REFERENCE_TOO_LARGE: FrameReason.TOO_LARGE,
}


@dataclass(frozen=True, slots=True)
class DetectorOutcome:
    """The evidence of one detector of a message."""

    picture: DetectorPicture
    mask: bytes | None = None
    """The mask of its contaminants, as FITS, where that is wanted."""


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The result of a message."""

    announced: Announced | None
    """None where the message could not be decoded."""
    found: tuple[DetectorOutcome, ...]
    """A rejected message that names its detector has one too: the exposure counts it."""
    rejected: Rejected | None
    look_s: float
    again_s: float | None = None
    """Delay before another attempt, as the message's frame or schema could not be reached."""
    schema_awaited: bool = False
    """Whether it is the schema that could not be reached."""

    @property
    def pictures(self) -> tuple[DetectorPicture, ...]:
        """Returns what is kept of each detector for a picture."""
        return tuple(each.picture for each in self.found)

    @property
    def detectors(self) -> tuple[DetectorEvidence, ...]:
        """Returns the evidence of each detector."""
        return tuple(each.picture.evidence for each in self.found)

    @property
    def masks(self) -> tuple[tuple[str, bytes], ...]:
        """Returns detector and mask, for each detector with a mask."""
        return tuple(
            (each.picture.evidence.detector, each.mask)
            for each in self.found
            if each.mask is not None
        )


class Looker:
    """Judges the frames of messages; a failure concerns only its own message.

    Parameters
    ----------
    awaited
        Knows whether the schema of a message can be used now.
    rules, instruments
        What is read of frames, and where that is another for an instrument of this name.
    attempts
        To reach what a message refers to, before it is rejected.
    pictures
        Whether thumbnails and cut-outs of the frames are kept beside the evidence.
    masks
        Searches the frames for contaminants too.
    free_mib
        Returns the memory that is left, asked before each message; a frame that takes more is
        refused, and the next goes on. None: not known.
    """

    def __init__(
        self,
        *,
        decoder: ExposureDecoder,
        watcher: Watcher,
        rules: frames.FrameRules,
        references: References,
        awaited: SchemasAwaited,
        instruments: Mapping[str, frames.FrameRules] | None = None,
        attempts: int = 1,
        pictures: bool = False,
        masks: FrameMasks | None = None,
        free_mib: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._decoder = decoder
        self._watcher = watcher
        self._rules = rules
        self._instruments = instruments or {}
        self._references = references
        self._awaited = awaited
        self._attempts = attempts
        self._pictures = pictures
        self._masks = masks
        self._free_mib = free_mib

    def assume(self, prior: float) -> None:
        """Judge with another prior of a tracking error; any thread may call."""
        self._watcher.assume(prior)

    def look(self, message: Message, attempt: int = 1) -> MessageOutcome:
        """Returns the evidence in a message; never raises for what is in it."""
        started = time.monotonic()
        announced: Announced | None = None
        try:
            key = None if message.unread else schema_key(message.value, message.headers)
            if not message.unread and not self._awaited.ready(key):
                waited_s = time.monotonic() - started
                return MessageOutcome(
                    None, (), None, waited_s, _SCHEMA_AGAIN_S, schema_awaited=True
                )
            found = self._decoder.decode(message)
            if isinstance(found, Rejected):
                return MessageOutcome(None, (), found, time.monotonic() - started)
            announced = found.announced
            detectors, rejected = self._detectors(found)
        except CallFailed as error:
            log.warning("frame unreachable", origin=str(message.origin), detail=str(error))
            if attempt < self._attempts:
                again_s = min(_FIRST_DELAY_S * 2 ** (attempt - 1), _LONGEST_DELAY_S)
                return MessageOutcome(announced, (), None, time.monotonic() - started, again_s)
            (rejected,) = rejections(CallFailed(f"{error}; attempts: {attempt}"), message)
            detectors = self._without(announced, rejected)
        except Exception as error:
            (rejected,) = rejections(error, message)
            known = isinstance(error, MessageRejected)
            detectors = self._without(announced, rejected) if known else ()
        return MessageOutcome(announced, detectors, rejected, time.monotonic() - started)

    def _detectors(
        self, found: ExposureMessage
    ) -> tuple[tuple[DetectorOutcome, ...], Rejected | None]:
        """Returns what is found of each detector; a rejection where no frame could be read."""
        content, origin, announced = found.frame, found.message.origin, found.announced
        source = f"{origin.topic}[{origin.partition}]@{origin.offset}"
        if not isinstance(content, bytes):
            source = content.uri
            content = self._references.fetch(content)
        outcomes, refused = [], []
        rules = self._instruments.get(announced.instrument, self._rules)
        if (free_mib := self._free_mib()) is not None:
            rules = replace(rules, memory_bytes=free_mib * _MIB)
        for frame in frames.read_frames(content, source, rules, announced.hdu):
            if isinstance(frame, Frame) and announced.purpose is not None:
                frame = _for_purpose(frame, announced.purpose)
            if isinstance(frame, FrameRefused):
                refused.append(frame)
            outcomes.append(self._found(frame, announced))
        detectors = _named(outcomes, announced.detector)
        if len(refused) < len(outcomes):
            return detectors, None
        first = refused[0]
        refusal = MessageRejected(Reason.FRAME_UNREADABLE, f"{first.reason}: {first.detail}")
        return detectors, rejections(refusal, found.message)[0]

    def _found(self, frame: Frame | FrameRefused, announced: Announced) -> DetectorOutcome:
        look = self._watcher.judge_frame(frame)
        contaminants = None
        if self._masks is not None and isinstance(frame, Frame):
            try:
                contaminants = self._masks.search(frame, look.image, announced)
            except MemoryError:
                reason = FrameReason.TOO_LARGE
                evidence = replace(look.evidence, not_evaluated=reason, detail=NO_MEMORY)
                look = replace(look, evidence=evidence)
        picture = figures.picture_of(look if self._pictures else replace(look, image=None))
        if contaminants is None:
            return DetectorOutcome(picture)
        evidence = replace(picture.evidence, contaminants=contaminants.areas)
        return DetectorOutcome(replace(picture, evidence=evidence), contaminants.mask)

    def _without(
        self, announced: Announced | None, rejected: Rejected
    ) -> tuple[DetectorOutcome, ...]:
        """Returns a named detector without a frame: the exposure need not wait for it."""
        if announced is None or announced.detector is None:
            return ()
        why = _REFERENCES.get(rejected.reason, FrameReason.REFERENCE_UNREACHABLE)
        refused = FrameRefused("", None, why, rejected.detail)
        return _named([self._found(refused, announced)], announced.detector)


def _for_purpose(frame: Frame, purpose: Purpose) -> Frame:
    """Returns the frame, judged or not as its message says, whatever its header says."""
    if purpose is not Purpose.SCIENCE:
        aside = SetAside(NotJudged(purpose), "the message says so (purpose)")
        return replace(frame, set_aside=aside)
    mosaic = frame.set_aside is not None and frame.set_aside.reason is NotJudged.COLOUR_MOSAIC
    return frame if mosaic else replace(frame, set_aside=None)


def _named(
    outcomes: Sequence[DetectorOutcome], announced: str | None
) -> tuple[DetectorOutcome, ...]:
    """Returns the detectors under their names; a file that could not be opened has none."""
    names = detector_names(announced, [each.picture.evidence.detector for each in outcomes])
    return tuple(_renamed(each, name) for each, name in zip(outcomes, names, strict=True) if name)


def _renamed(found: DetectorOutcome, detector: str) -> DetectorOutcome:
    evidence = replace(found.picture.evidence, detector=detector)
    return replace(found, picture=replace(found.picture, evidence=evidence))
