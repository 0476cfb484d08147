"""Reads detectors' frames from FITS bytes and files; a failure is a value with its reason."""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from streamfilter.errors import plain_words
from streamfilter.exposures import detector_images, purposes
from streamfilter.exposures.compressed_files import unpacked
from streamfilter.exposures.purposes import PurposeMap
from streamfilter.exposures.records import Frame, FrameReason, FrameRefused, Mask
from streamfilter.exposures.refusal import NO_MEMORY, Refusal, too_many_bytes
from streamfilter.exposures.sections import with_sky
from streamfilter.exposures.stored_images import (
    as_float32,
    forget_data,
    offset_of,
    pixels_of,
    require_sound,
)
from streamfilter.fits import headers as fits_headers
from streamfilter.fits.faults import fault_in

if TYPE_CHECKING:
    from astropy.io import fits

    from streamfilter.exposures.detector_images import ImageHdu

Header = Mapping[str, object]

_MIB = 2**20
_COPIES = 2
"""Of a file in memory: as it is, and unpacked or the pixels of its largest image."""
_PIXEL_BYTES = 20
"""Memory that one pixel takes while a frame is judged; measured with 16 bits a pixel."""
_MOST_COLOURS = 4
"""A side of so few pixels is an axis of colours: red, green, blue and one more."""
MOST_PLANES = 10_000
"""Of one cube, at most; an integral-field spectrograph's have up to 4,000."""
_RUBIN_MASK = "MASK"
"""Rubin's mask extension, whose bits have names."""
_WITH_HDU = re.compile(r"(.+)\[([^\[\]]+)\]")
_MOST_HDUS = 2000
"""LSST's focal plane has 205 detectors with three images each."""
_LONGEST_HEADER_BYTES = 800_000
"""Of one HDU, 10,000 cards; where keywords repeat, astropy's time grows with their square."""
_FLAT_TOP = (0.02, 10)
"""So many pixels in the highest 2 % above the sky are a plateau, which means saturation."""
_LOWEST_SATURATION = 0.5
"""Share of the sky's level; a smaller value in a header is not a level of saturation."""
_EVERY = 7
"""Pixels along each axis from which the sky's level is guessed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRules:
    """What to read of a file, and the limits on its size."""

    max_bytes: int = 512 * 2**20
    """Limit for a file or message, and also for the unpacked content of a compressed one."""
    max_pixels: int = 2**27
    """Limit for one detector, or one plane of a cube."""
    memory_bytes: int | None = None
    """What there is for one frame; None: not known. A file or frame that takes more is refused."""
    most_planes: int = 1
    """An image of more than two axes is read plane by plane, if it has no more planes."""
    auxiliary_extensions: tuple[str, ...] = ()
    """More extensions whose images are not a detector's, by name or the last word of a name."""
    use_sections: bool = True
    """Leave out the pixels that, by TRIMSEC, DATASEC and BIASSEC, hold no sky."""
    section: str | None = None
    """Used instead of the header's; such as ``[17:528,1:520]`` (x then y, from 1, inclusive)."""
    mask_extensions: tuple[str, ...] = ("BPM",)
    """Extensions whose non-zero pixels are bad."""
    mask_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Planes that mark bad pixels, in an extension MASK with ``MP_`` keywords (Rubin)."""
    saturation_keywords: tuple[str, ...] = ("SATURATE", "SATLEVEL", "MAXLIN")
    saturation: float | None = None
    """Level in the image's unit, used instead of the header's."""
    purposes: PurposeMap = field(default_factory=dict)
    """Which headers say that tracking is not to be judged."""


class FrameFile:
    """An opened FITS file: the frames of its detectors, and all else that it holds."""

    def __init__(self, content: bytes, source: str, rules: FrameRules, hdu: str | None) -> None:
        """Open FITS bytes; see ``opened``.

        Raises
        ------
        Refusal
            Nothing of it can be read.
        """
        self.source = source
        self.sha256 = hashlib.sha256(content).hexdigest()
        """Of the file as it is, 64 hexadecimal digits."""
        self._rules = rules
        self._content = unpacked(content, rules.max_bytes)
        self._hdus = _opened(self._content)
        with _translated_errors(self._content):
            detectors = _detectors(self._hdus, rules)
            self.chosen = tuple(detectors if hdu is None else [_hdu_number(self._hdus, hdu)])
            """Numbers of the HDUs whose frames are read."""
            self._names = detector_images.names(self._hdus, detectors)
            self._masks = detector_images.masks(
                self._hdus,
                sorted({*detectors, *self.chosen}),
                (*rules.mask_extensions, _RUBIN_MASK),
            )
        if not self.chosen:
            raise Refusal(FrameReason.NO_IMAGE, "no HDU holds a detector's image")

    def __len__(self) -> int:
        """The number of HDUs."""
        return len(self._hdus)

    @property
    def pixels(self) -> int:
        """Number of pixels of the chosen HDUs, in all planes; without those over the limit."""
        shapes = [self.shape(index) for index in self.chosen]
        return sum(prod(each) for each in shapes if prod(each[-2:]) <= self._rules.max_pixels)

    def shape(self, index: int) -> tuple[int, ...]:
        """Returns the shape of an HDU's image as stored, the slowest axis first."""
        return tuple(self._hdus[index].shape)

    def copy(self, index: int) -> "fits.ImageHDU | FrameRefused":
        """Returns a copy of an HDU, without compressed tiles; a refusal where it is damaged."""
        from astropy.io import fits

        hdu = self._hdus[index]
        try:
            with _translated_errors(self._content, index):
                if not isinstance(hdu, fits.CompImageHDU):
                    return hdu.copy()
                _require_bounded(hdu, self._rules)
                require_sound(hdu)
                return fits.ImageHDU(hdu.data, hdu.header.copy(strip=True), hdu.name)
        except Refusal as refusal:
            return FrameRefused(self.source, index, refusal.reason, refusal.detail)
        finally:
            forget_data(hdu)

    def frames(self) -> Iterator[Frame | FrameRefused]:
        """Yields the frames of the chosen HDUs; a refusal does not take the others with it."""
        for index in self.chosen:
            yield from self.frames_of(index)

    def frames_of(self, index: int) -> Iterator[Frame | FrameRefused]:
        """Yields the frame of one HDU, or those of its planes."""
        hdu, name = self._hdus[index], self._names[index]
        try:
            with _translated_errors(self._content, index):
                planes = _planes(hdu, self._rules)
                require_sound(hdu)
        except Refusal as refusal:
            yield FrameRefused(self.source, index, refusal.reason, refusal.detail, name)
            return
        for number in planes:
            detector = name if number is None else f"{name} plane {number}"
            try:
                frame: Frame | FrameRefused = self._frame(index, number, detector)
            except Refusal as refusal:
                why, detail = refusal.reason, refusal.detail
                frame = FrameRefused(self.source, index, why, detail, detector)
            yield replace(frame, planes=len(planes))

    def _frame(self, index: int, plane: int | None, detector: str) -> Frame:
        """Returns one detector's frame, or that of one of its planes."""
        hdu, rules = self._hdus[index], self._rules
        try:
            with _translated_errors(self._content, index):
                pixels = pixels_of(hdu, plane)
                masked = _masked(self._hdus, self._masks[index], pixels.shape, rules)
                sky = _sky_level(pixels)
                saturation = _saturation(hdu.header, pixels, sky, rules)
                rows, columns, bias = with_sky(
                    hdu.header, pixels.shape, rules.section, believed=rules.use_sections
                )
        finally:
            forget_data(hdu)  # the next detector needs the memory
        if bias is not None:
            masked = np.zeros(pixels.shape, np.bool_) if masked is None else masked
            masked[bias] = True
        offset = offset_of(pixels.dtype, sky)
        if saturation is not None:
            saturation -= offset
        if masked is not None:
            masked = np.ascontiguousarray(masked[rows, columns])
        headers = (hdu.header,) if index == 0 else (hdu.header, self._hdus[0].header)

        def lookup(keyword: str) -> object:
            values = (fits_headers.value_of(each, keyword) for each in headers)
            return next((each for each in values if each is not None), None)

        return Frame(
            self.source,
            index,
            detector,
            as_float32(pixels[rows, columns], offset),
            masked,
            saturation,
            corner=(rows.start or 0, columns.start or 0),
            binning=fits_headers.binning(*headers),
            set_aside=purposes.set_aside(lookup, rules.purposes),
            plane=plane,
            headers=headers,
            sha256=self.sha256,
        )


def open_file(path: str, rules: FrameRules | None = None) -> FrameFile | FrameRefused:
    """Opens a file of frames.

    Parameters
    ----------
    path
        ``x.fits``, ``x.fits.fz``, ``x.fits.gz``, ``.bz2``, ``.xz`` or ``.Z``; ``x.fits[2]`` or
        ``x.fits[NAME]`` for one HDU.
    """
    rules = rules or FrameRules()
    name, hdu = split_hdu(path)
    try:
        size = Path(name).stat().st_size
        if size > rules.max_bytes:
            raise too_many_bytes(f"{size} bytes", rules.max_bytes)
        _require_memory(f"{size} bytes", _COPIES * size, rules)
        content = Path(name).read_bytes()
        return FrameFile(content, path, rules, hdu)
    except Refusal as refusal:
        return FrameRefused(path, None, refusal.reason, refusal.detail)
    except FileNotFoundError:
        return FrameRefused(path, None, FrameReason.REFERENCE_MISSING, "no such file")
    except OSError as error:
        detail = f"the file cannot be read: {plain_words(error)}"
        return FrameRefused(path, None, FrameReason.REFERENCE_UNREACHABLE, detail)
    except MemoryError:
        return FrameRefused(path, None, FrameReason.TOO_LARGE, NO_MEMORY)


def read_frame_file(path: str, rules: FrameRules | None = None) -> Iterator[Frame | FrameRefused]:
    """Yields the frames of a file, one detector at a time; see ``open_file``."""
    file = open_file(path, rules)
    if isinstance(file, FrameRefused):
        yield file
    else:
        yield from file.frames()


def split_hdu(path: str) -> tuple[str, str | None]:
    """Splits ``x.fits[2]`` into the path and the HDU; None where no HDU is named."""
    match = _WITH_HDU.fullmatch(path)
    if match is None or Path(path).exists():
        return path, None
    return match[1], match[2]


def read_frames(
    content: bytes, source: str, rules: FrameRules | None = None, hdu: str | None = None
) -> Iterator[Frame | FrameRefused]:
    """Yields the frames in FITS bytes: plain, compressed as a whole, or in compressed tiles.

    Parameters
    ----------
    source
        Name of the file or topic, for the results' ``source``.
    hdu
        Number or name of the only HDU to read; None reads every detector's image.

    Yields
    ------
    frame or refusal
        At least one. Damaged bytes raise no exception.
    """
    try:
        file = FrameFile(content, source, rules or FrameRules(), hdu)
    except Refusal as refusal:
        yield FrameRefused(source, None, refusal.reason, refusal.detail)
    except MemoryError:
        yield FrameRefused(source, None, FrameReason.TOO_LARGE, NO_MEMORY)
    else:
        yield from file.frames()


@dataclass(frozen=True, slots=True)
class FileHeaders:
    """The headers of a file; all fields are empty where it cannot be read."""

    primary: Header
    detectors: tuple[Header, ...] = ()
    names: tuple[str, ...] = ()
    """Names of the detectors, the same as in the frames of ``read_frames``."""


def headers(content: bytes, rules: FrameRules | None = None) -> FileHeaders:
    """Returns the headers in FITS bytes; keywords that cannot be read are left out."""
    rules = rules or FrameRules()
    try:
        content = unpacked(content, rules.max_bytes)
        hdus = _opened(content)
        with _translated_errors(content):
            detectors = _detectors(hdus, rules)
            names = detector_images.names(hdus, detectors)
            return FileHeaders(
                fits_headers.readable(hdus[0].header),
                tuple(fits_headers.readable(hdus[index].header) for index in detectors),
                tuple(names[index] for index in detectors),
            )
    except Refusal:
        return FileHeaders({})


@contextmanager
def _translated_errors(content: bytes, index: int | None = None) -> Iterator[None]:
    """Turns every exception of the block but a refusal into one that names the card at fault.

    Parameters
    ----------
    content
        The file.
    index
        The one HDU that is read.
    """
    # astropy warns of damage that it then raises or repairs; our own reason replaces the warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Refusal:
            raise
        except MemoryError as error:
            raise Refusal(FrameReason.TOO_LARGE, NO_MEMORY) from error
        except fits_headers.LimitExceeded as error:
            raise Refusal(FrameReason.TOO_LARGE, str(error)) from error
        except fits_headers.HeaderImplausible as error:
            raise Refusal(FrameReason.MALFORMED, str(error)) from error
        except Exception as error:
            raise Refusal(FrameReason.MALFORMED, fault_in(content, index)) from error


def _opened(content: bytes) -> "fits.HDUList":
    from astropy.io import fits

    with _translated_errors(content):
        content = fits_headers.checked_content(
            content, most_hdus=_MOST_HDUS, longest_header_bytes=_LONGEST_HEADER_BYTES
        )
        return fits.open(io.BytesIO(content), memmap=False)


def _detectors(hdus: "fits.HDUList", rules: FrameRules) -> list[int]:
    further = (*rules.auxiliary_extensions, *rules.mask_extensions)
    return detector_images.detectors(hdus, rules.max_pixels, further)


def _hdu_number(hdus: "fits.HDUList", hdu: str) -> int:
    """Returns the number of the HDU that a user asks for by number or name."""
    number, names = hdu.strip(), [item.name for item in hdus]
    index = int(number) if number.isdecimal() else -1
    if index < 0 and number.upper() in names:
        index = names.index(number.upper())
    if not 0 <= index < len(hdus):
        raise Refusal(FrameReason.NOT_AN_IMAGE, f"no HDU {hdu!r}; there are {len(hdus)}")
    if not detector_images.is_image(hdus[index]):
        raise Refusal(FrameReason.NOT_AN_IMAGE, f"HDU {hdu} is no image")
    return index


def _sky_level(pixels: npt.NDArray[np.number]) -> float | None:
    """Estimates the level of the sky; None where there are no data."""
    sample = pixels[::_EVERY, ::_EVERY]
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else None


def _planes(hdu: "ImageHdu", rules: FrameRules) -> Sequence[int | None]:
    """Returns the numbers of an image's planes, from 1; of an image of two axes only None.

    Sizes are checked before memory is allocated. The planes of a fourth axis follow each other.
    """
    shape = tuple(int(side) for side in hdu.shape)
    sides = " x ".join(str(side) for side in shape[::-1])
    if len(shape) < 2 or 0 in shape:
        raise Refusal(FrameReason.MALFORMED, f"an image of shape {shape}; expected 2 axes")
    planes, plane = prod(shape[:-2]), prod(shape[-2:])
    if planes > 1 and min(shape[-2:]) <= _MOST_COLOURS:
        detail = f"{sides} px: expected planes of two sides, and colours along the third axis"
        raise Refusal(FrameReason.CUBE, detail)
    if planes > rules.most_planes:
        reason = FrameReason.TOO_LARGE if rules.most_planes > 1 else FrameReason.CUBE
        limit = f"exposures.max_frame_planes = {rules.most_planes}"
        if rules.most_planes == MOST_PLANES:
            limit = f"at most {MOST_PLANES} are read"
        raise Refusal(reason, f"{sides} px: {planes} planes; {limit}")
    if plane > rules.max_pixels:
        detail = f"{plane} pixels; exposures.max_frame_pixels = {rules.max_pixels}"
        raise Refusal(FrameReason.TOO_LARGE, detail)
    _require_memory(f"{plane} pixels", _PIXEL_BYTES * plane, rules)
    if planes == 1:
        return (None,)
    _require_bounded(hdu, rules)
    return range(1, planes + 1)


def _require_memory(found: str, needed: int, rules: FrameRules) -> None:
    """Refuse what takes more memory than there is."""
    if rules.memory_bytes is not None and needed > rules.memory_bytes:
        there = f"{rules.memory_bytes // _MIB} MiB are free"
        detail = f"{found} take about {-(-needed // _MIB)} MiB of memory; {there}"
        raise Refusal(FrameReason.TOO_LARGE, detail)


def _require_bounded(hdu: "ImageHdu", rules: FrameRules) -> None:
    """Refuse an image of more bytes than a file may have; in tiles of one value it takes few."""
    size = prod(int(side) for side in hdu.shape) * abs(int(hdu.header["BITPIX"])) // 8
    if size > rules.max_bytes:
        raise too_many_bytes(f"an image of {size} bytes", rules.max_bytes)


def _masked(
    hdus: "fits.HDUList",
    masks: Sequence[tuple[str, int]],
    shape: tuple[int, ...],
    rules: FrameRules,
) -> Mask | None:
    """Returns the bad pixels that an image's masks mark; None where no mask fits the image.

    Parameters
    ----------
    masks
        Kind and HDU number of each.
    """
    masked: Mask | None = None
    for kind, index in masks:
        hdu = hdus[index]
        if tuple(hdu.shape) != tuple(shape):
            continue
        bad = _badpixels_of(hdu, kind, rules)
        if bad is not None:
            masked = bad if masked is None else masked | bad
    return masked


def _badpixels_of(hdu: "ImageHdu", kind: str, rules: FrameRules) -> Mask | None:
    if kind in rules.mask_extensions:
        require_sound(hdu)
        return np.asarray(hdu.data, bool)
    bits = [fits_headers.value_of(hdu.header, f"MP_{plane}") for plane in rules.mask_planes]
    known = [1 << bit for bit in bits if isinstance(bit, int) and 0 <= bit < 31]
    if not known:
        return None
    require_sound(hdu)
    return np.asarray(np.asarray(hdu.data).astype(np.int64) & sum(known), bool)


def _saturation(
    header: "fits.Header", pixels: npt.NDArray[np.number], sky: float | None, rules: FrameRules
) -> float | None:
    """Returns the level of saturation: from the rules, the header, or a plateau at the top."""
    if rules.saturation is not None:
        return rules.saturation
    for keyword in rules.saturation_keywords:
        level = fits_headers.value_of(header, keyword)
        if isinstance(level, bool) or not isinstance(level, int | float):
            continue
        # A level below the frame's own sky is a mistake in the header: T, 60 and 1.0 occur.
        if isfinite(level) and level > max(0.0, _LOWEST_SATURATION * (sky or 0.0)):
            return float(level)
    finite = np.isfinite(pixels)
    if not finite.any():
        return None
    top = float(np.max(pixels, where=finite, initial=0))
    sky = top if sky is None else sky
    edge = top - _FLAT_TOP[0] * (top - sky)
    if top <= 0 or np.count_nonzero(pixels >= edge) < _FLAT_TOP[1]:
        return None
    return edge
