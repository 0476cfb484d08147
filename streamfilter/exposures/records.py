"""Frozen values of the exposure half, from a detector's frame to the focal plane's verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from streamfilter.records import Image, Message, Origin

Mask = npt.NDArray[np.bool_]
"""True where a pixel is not to be used."""


class FrameReason(StrEnum):
    """Why a frame, or what should have been one, was not evaluated: a closed set."""

    EMPTY = "empty"
    NOT_FITS = "not_fits"
    COMPRESSION_UNKNOWN = "compression_unknown"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NO_IMAGE = "no_image"
    NOT_AN_IMAGE = "not_an_image"
    """The HDU that was asked for holds no image, or is not there."""
    CUBE = "cube"
    TOO_LARGE = "too_large"
    REFERENCE_MISSING = "reference_missing"
    REFERENCE_UNREACHABLE = "reference_unreachable"
    REFERENCE_DIFFERS = "reference_differs"
    """Its size or sha256 is not the one announced."""
    TOO_SMALL = "too_small"
    NO_DATA = "no_data"
    NO_VARIATION = "no_variation"
    SATURATED = "saturated"


@dataclass(frozen=True, slots=True)
class FrameReference:
    """A file that is read only if it is the one announced."""

    uri: str
    size: int
    """In bytes."""
    sha256: str
    """64 hexadecimal digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Announced:
    """What a message of the exposure stream says, the frame aside.

    ``detector`` and ``hdu`` are None where the file's HDUs are the detectors.
    """

    exposure_id: str
    instrument: str
    detector: str | None = None
    detectors_expected: int | None = None
    hdu: str | None = None
    mid_exposure_unix_s: float | None = None
    exposure_time_s: float | None = None
    filter: str | None = None


def detector_names(announced: str | None, found: Sequence[str]) -> list[str]:
    """What the detectors of one message are called.

    Parameters
    ----------
    announced
        In the message: a lone detector's name, or what several belong to.
    found
        As the file has them.
    """
    if announced is None:
        return list(found)
    return [announced] if len(found) == 1 else [f"{announced}:{name}" for name in found]


@dataclass(frozen=True, slots=True, eq=False)
class ExposureMessage:
    """A decoded message of the exposure stream; its frame is inside or referred to."""

    message: Message
    announced: Announced
    frame: bytes | FrameReference


@dataclass(frozen=True, slots=True)
class FrameRefused:
    """A frame that could not be read or that says nothing, with the reason."""

    source: str
    """File, URI or topic; for people."""
    hdu: int | None
    """None where it is the whole file."""
    reason: FrameReason
    detail: str
    detector: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One detector's image as read, overscan left out.

    ``image`` is in the file's unit, from its sky where that is too high for float32 (and then
    ``saturation`` too); ``masked`` has its shape, None where no pixel is masked.
    """

    source: str
    hdu: int
    detector: str
    image: Image
    masked: Mask | None = None
    saturation: float | None = None
    """Level in the image's unit from which on pixels are saturated, where it is known."""
    corner: tuple[int, int] = (0, 0)
    """(y, x) of the image's first pixel in the HDU as stored, 0-based."""
    binning: tuple[int, int] = (1, 1)
    """Rows and columns of the sensor in a pixel, where the header says so."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What the stars of a detector look like; None where no star could be measured.

    ``elongation`` is the median of major over minor axis; ``position_angle_deg`` runs from the
    first axis (x) towards y, in [-90, 90); ``coherence`` is the length of the mean vector of
    twice the angle, 0 for random and 1 for parallel stars; ``fwhm_px`` is that of the minor axis.
    Where rows and columns are binned differently, all are of square pixels of the finer side.
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
    """What the network says of one tile, and how much there was to judge by."""

    y: int
    x: int
    """First row and column in the frame, 0-based."""
    probability: float | None
    """Raw network output for a tracking error; None where the tile was not put through."""
    stars: int
    unmasked: float
    """Share of pixels with data."""
    share: float
    """Share of the tile's area that is its own when overlaps are divided evenly."""
    weight: float
    """Of its log-odds in the pool; 0 where it abstains."""

    @property
    def abstains(self) -> bool:
        """Whether the tile has too little to judge by."""
        return self.weight == 0.0


class Decision(StrEnum):
    """What is believed of a detector or an exposure."""

    TRACKING_ERROR = "tracking_error"
    OK = "ok"
    CANNOT_TELL = "cannot_tell"


class Voice(StrEnum):
    """Which evidence spoke for a decision."""

    NETWORK = "network"
    SHAPES = "shapes"
    BOTH = "both"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision, who spoke for it, and the numbers behind it."""

    decision: Decision
    voice: Voice
    probability: float | None
    """Posterior of the pooled log-odds under ``prior``; None where every tile abstained."""
    log_odds: float | None
    """Of the evidence alone, without the prior; positive speaks for a tracking error."""
    weight: float
    """Sum of the tiles' weights; what ``mean_log_odds`` is the mean under."""
    mean_log_odds: float | None
    """Weighted mean over the tiles that did not abstain."""
    reference_mean: float | None
    """Mean of the tiles' posteriors, as the MaxiTrack program has it, abstention or not."""
    prior: float
    tiles_used: int
    tiles_abstained: int
    shapes: Shapes


@dataclass(frozen=True, slots=True)
class ContaminantAreas:
    """How much of a frame, or of an exposure's frames, each class of contaminants has."""

    pixels: int
    """That were searched."""
    shares: Mapping[str, float]
    """Of them, by the class's code; a pixel may be of several classes."""
    mask: str | None = None
    """The file with the mask, where one was written."""


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
    """None where the frame was not searched for them."""


@dataclass(frozen=True, slots=True)
class DetectorArrived:
    """A detector of an exposure, with what the focal plane needs to know."""

    exposure_id: str
    instrument: str
    evidence: DetectorEvidence
    detectors_expected: int | None = None
    """None where the producer does not say: the exposure then closes on time-out."""
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
class ExposureVerdict:
    """All that is known of an exposure; a higher revision replaces a lower one."""

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
    def contaminants(self) -> ContaminantAreas | None:
        """Of all detectors that were searched together; None where none was."""
        found = [each.contaminants for each in self.detectors if each.contaminants is not None]
        if not found:
            return None
        pixels = sum(each.pixels for each in found)
        shares = {
            code: sum(each.pixels * each.shares[code] for each in found) / pixels
            for code in found[0].shares
        }
        return ContaminantAreas(pixels, shares)
