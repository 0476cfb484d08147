"""Frozen values of the exposure half, from a detector's frame to the exposure's verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from streamfilter.records import Image, Message, Origin

if TYPE_CHECKING:
    from astropy.io.fits import Header

Mask = npt.NDArray[np.bool_]
"""True where a pixel is not to be used."""


class FrameReason(StrEnum):
    """Why a frame was not evaluated: a closed set."""

    EMPTY = "empty"
    NOT_FITS = "not_fits"
    COMPRESSION_UNKNOWN = "compression_unknown"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NO_IMAGE = "no_image"
    NOT_AN_IMAGE = "not_an_image"
    """The requested HDU holds no image, or does not exist."""
    CUBE = "cube"
    TOO_LARGE = "too_large"
    REFERENCE_MISSING = "reference_missing"
    REFERENCE_UNREACHABLE = "reference_unreachable"
    REFERENCE_DIFFERS = "reference_differs"
    """The file's size or sha256 is not the announced one."""
    TOO_SMALL = "too_small"
    NO_DATA = "no_data"
    NO_VARIATION = "no_variation"
    SATURATED = "saturated"


class NotJudged(StrEnum):
    """Why the tracking of a frame that can be read is not judged: a closed set."""

    NON_SIDEREAL = "non_sidereal"
    """The telescope followed a comet or a minor planet: stars are meant to trail."""
    CALIBRATION = "calibration"
    """A flat, a dark, a bias: no science exposure."""
    FOCUS = "focus"
    """Of a focus run, or out of focus on purpose."""
    COLOUR_MOSAIC = "colour_mosaic"
    """A raw Bayer mosaic: neighbouring pixels are of different colours."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Why a frame is set aside, with what says so."""

    reason: NotJudged
    detail: str


class Purpose(StrEnum):
    """What a message says that its exposure is for."""

    SCIENCE = "science"
    NON_SIDEREAL = NotJudged.NON_SIDEREAL.value
    CALIBRATION = NotJudged.CALIBRATION.value
    FOCUS = NotJudged.FOCUS.value


@dataclass(frozen=True, slots=True)
class FrameReference:
    """Where a frame's file is, with the size and sha256 that it must have."""

    uri: str
    size: int
    """In bytes."""
    sha256: str
    """64 hexadecimal digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Announced:
    """The content of an exposure message without the frame.

    ``detector`` and ``hdu`` are None where each image of the file is a detector.
    """

    exposure_id: str
    instrument: str
    detector: str | None = None
    detectors_expected: int | None = None
    hdu: str | None = None
    mid_exposure_unix_s: float | None = None
    exposure_time_s: float | None = None
    filter: str | None = None
    purpose: Purpose | None = None
    """None where the frames' headers say it."""


def detector_names(announced: str | None, in_file: Sequence[str]) -> list[str]:
    """Returns the names of the detectors of one message.

    Parameters
    ----------
    announced
        Name in the message: that of a lone detector, or the prefix of several.
    in_file
        Names of the detectors in the file.
    """
    if announced is None:
        return list(in_file)
    return [announced] if len(in_file) == 1 else [f"{announced}:{name}" for name in in_file]


@dataclass(frozen=True, slots=True, eq=False)
class ExposureMessage:
    """A decoded message of the exposure stream, with its frame or a reference to it."""

    message: Message
    announced: Announced
    frame: bytes | FrameReference


@dataclass(frozen=True, slots=True)
class FrameRefused:
    """A frame that cannot be read or evaluated, with the reason."""

    source: str
    """File, URI or topic, for people to read."""
    hdu: int | None
    """None where the whole file is refused."""
    reason: FrameReason
    detail: str
    detector: str = ""
    planes: int = 1
    """Of its image, each of which is a frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One detector's image as read, without overscan.

    ``image`` is in the file's unit. A sky too high for float32 is subtracted from it and from
    ``saturation``. ``masked`` has the shape of ``image``; None where no pixel is masked.
    """

    source: str
    hdu: int
    detector: str
    image: Image
    masked: Mask | None = None
    saturation: float | None = None
    """Level in the image's unit from which pixels are saturated; None where it is not known."""
    corner: tuple[int, int] = (0, 0)
    """(y, x) of the image's first pixel in the HDU as stored, 0-based."""
    binning: tuple[int, int] = (1, 1)
    """Rows and columns of the sensor in one pixel; (1, 1) where the header does not say."""
    plane: int | None = None
    """Which plane of a cube it is, from 1; None where the image has two axes."""
    planes: int = 1
    """Of its image, each of which is a frame."""
    headers: tuple["Header", ...] = ()
    """The image's own as astropy read it, and that of the first HDU where it is another."""
    sha256: str = ""
    """Of the file, 64 hexadecimal digits; empty where the frame is from none."""
    set_aside: SetAside | None = None
    """Why its tracking is not to be judged; None where it is."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes of a detector's stars; the numbers are None where no star could be measured.

    ``elongation`` is the median of major over minor axis; ``position_angle_deg`` runs from the
    first axis (x) towards y, in [-90, 90); ``coherence`` is the length of the mean vector of
    twice the angle, 0 for random and 1 for parallel stars; ``fwhm_px`` is that of the minor axis.
    Where rows and columns are binned differently, lengths are in pixels of the finer side.
    """

    stars: int
    elongation: float | None = None
    position_angle_deg: float | None = None
    coherence: float | None = None
    fwhm_px: float | None = None
    trail_fwhm: float | None = None
    """Length of the trail that would give the elongation, in units of the FWHM across it."""


@dataclass(frozen=True, slots=True)
class TileEvidence:
    """The network's output for one tile, and how much data the tile has."""

    y: int
    x: int
    """First row and column in the frame, 0-based."""
    probability: float | None
    """Raw network output for a tracking error; None where the network did not run on the tile."""
    stars: int
    unmasked: float
    """Share of pixels with data."""
    share: float
    """Share of the tile's area that counts for it when overlaps are divided evenly."""
    weight: float
    """Weight of its log-odds in the pooled evidence; 0 where it abstains."""

    @property
    def abstains(self) -> bool:
        """Whether the tile has too little data to be judged."""
        return self.weight == 0.0

    @property
    def not_needed(self) -> bool:
        """Whether it could have spoken, and the network did not judge it: others were enough."""
        return not self.abstains and self.probability is None


class Decision(StrEnum):
    """The decision on a detector or an exposure."""

    TRACKING_ERROR = "tracking_error"
    OK = "ok"
    CANNOT_TELL = "cannot_tell"


class Voice(StrEnum):
    """Which evidence a decision rests on."""

    NETWORK = "network"
    SHAPES = "shapes"
    BOTH = "both"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision, the evidence that it rests on, and the numbers behind it."""

    decision: Decision
    voice: Voice
    probability: float | None
    """Of a tracking error, from network and shapes under ``prior``. At ``decided_at`` or above
    exactly where the decision is a tracking error; None where nothing speaks, or the network sees
    trails and the stars show none."""
    log_odds: float | None
    """The network's, of the tiles used, without the prior; positive means a tracking error."""
    weight: float
    """Sum of the used tiles' weights, which are those of ``mean_log_odds``."""
    mean_log_odds: float | None
    """Weighted mean over the tiles used."""
    reference_mean: float | None
    """Mean of the posteriors of the tiles that the network judged. Where it judged all, this is the
    MaxiTrack program's; tiles that abstain count too."""
    prior: float
    tiles_used: int
    tiles_abstained: int
    shapes: Shapes
    network_probability: float | None = None
    """Posterior of the network's ``log_odds`` alone; None where every tile abstained."""
    shape_log_odds: float | None = None
    """The shapes', without the prior; None where too few stars could be measured."""
    tiles_not_needed: int = 0
    """Tiles that could have spoken and were not judged by the network: others were enough."""


@dataclass(frozen=True, slots=True)
class ContaminantAreas:
    """How much of a frame, or of an exposure's frames, each class of contaminants covers."""

    pixels: int
    """Number of pixels that were searched."""
    shares: Mapping[str, float]
    """Share of these pixels by class code; a pixel may be of several classes."""
    mask: str | None = None
    """The file with the mask; None where none was written."""


@dataclass(frozen=True, slots=True)
class DetectorEvidence:
    """One detector: a judgement, or the reason why there is none."""

    source: str
    hdu: int | None
    detector: str
    judgement: Judgement
    not_evaluated: FrameReason | None = None
    detail: str = ""
    tiles: tuple[TileEvidence, ...] = ()
    contaminants: ContaminantAreas | None = None
    """None where the frame was not searched for contaminants."""
    not_judged: NotJudged | None = None
    """Why its tracking was not judged, though the frame could be evaluated."""
    planes: int = 1
    """Of the cube of which it is one; together they are one of the detectors expected."""


@dataclass(frozen=True, slots=True)
class DetectorArrived:
    """A judged detector, with what is needed to add it to its exposure."""

    exposure_id: str
    instrument: str
    evidence: DetectorEvidence
    detectors_expected: int | None = None
    """None where the producer does not know: the exposure then closes on time-out. The planes of a
    cube together are one."""
    origin: Origin | None = None


class Closing(StrEnum):
    """Why an exposure was judged now."""

    COMPLETE = "complete"
    TIMED_OUT = "timed_out"
    CROWDED_OUT = "crowded_out"
    """Too many exposures were open; this was the oldest."""
    LATE_DETECTOR = "late_detector"


class Irregularity(StrEnum):
    """What was wrong with the delivery of an exposure: a closed set."""

    DUPLICATE_DETECTOR = "duplicate_detector"
    DETECTORS_MISSING = "detectors_missing"
    MORE_DETECTORS_THAN_EXPECTED = "more_detectors_than_expected"
    EXPECTED_NUMBER_DIFFERS = "expected_number_differs"


@dataclass(frozen=True, slots=True)
class EarlierVerdict:
    """What an earlier worker published of an exposure."""

    revision: int
    detectors: tuple[DetectorEvidence, ...]
    """Without their tiles."""


@dataclass(frozen=True, slots=True)
class ExposureVerdict:
    """The verdict on an exposure; a higher revision replaces a lower one."""

    exposure_id: str
    instrument: str
    revision: int
    """From 1."""
    closing: Closing
    judgement: Judgement
    detectors: tuple[DetectorEvidence, ...]
    detectors_expected: int | None
    irregularities: tuple[Irregularity, ...] = ()

    @property
    def not_judged(self) -> NotJudged | None:
        """Why no detector that could be evaluated was judged; None where one was."""
        reasons = [each.not_judged for each in self.detectors if each.not_evaluated is None]
        return reasons[0] if reasons and None not in reasons else None

    @property
    def contaminants(self) -> ContaminantAreas | None:
        """Areas over all detectors that were searched; None where none was."""
        areas = [each.contaminants for each in self.detectors if each.contaminants is not None]
        if not areas:
            return None
        pixels = sum(each.pixels for each in areas)
        shares = {
            code: sum(each.pixels * each.shares[code] for each in areas) / pixels
            for code in areas[0].shares
        }
        return ContaminantAreas(pixels, shares)
