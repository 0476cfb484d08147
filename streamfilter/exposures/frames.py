"""Reads detectors' frames from FITS bytes and files; a failure is a value with its reason."""

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamfilter.errors import plain_words
from streamfilter.exposures import detector_images, purposes
from streamfilter.exposures.purposes import PurposeMap
from streamfilter.exposures.records import Frame, FrameReason, FrameRefused, Mask
from streamfilter.fits import headers as fits_headers
from streamfilter.fits.compressed_tiles import wrong_with
from streamfilter.fits.faults import fault_in
from streamfilter.records import Image

if TYPE_CHECKING:
    from astropy.io import fits

    from streamfilter.exposures.detector_images import ImageHdu

Header = Mapping[str, object]

_GZIP_MAGIC = b"\x1f\x8b"
# Block-wise gzip has a member for each 64 kB; each costs microseconds.
_MOST_GZIP_MEMBERS, _GZIP_PIECE_BYTES = 20_000, 2**16
_OTHER_COMPRESSION = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
    b"\x04\x22\x4d\x18": "lz4",
}
_RUBIN_MASK = "MASK"
"""Rubin's mask extension, whose bits have names."""
_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")
_WITH_HDU = re.compile(r"(.+)\[([^\[\]]+)\]")
_MOST_HDUS = 2000
"""LSST's focal plane has 205 detectors with three images each."""
_LONGEST_HEADER_BYTES = 800_000
"""Of one HDU, 10,000 cards; where keywords repeat, astropy's time grows with their square."""
_FLAT_TOP = (0.02, 10)
"""So many pixels in the highest 2 % above the sky are a plateau, which means saturation."""
_LOWEST_SATURATION = 0.5
"""Share of the sky's level; a smaller value in a header is not a level of saturation."""
_HIGHEST_SKY = 2.0**20
"""Up to this value, float32 has steps of an eighth or finer."""
_EVERY = 7
"""Pixels along each axis from which the sky's level is guessed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRules:
    """What to read of a file, and the limits on its size."""

    max_bytes: int = 512 * 2**20
    """Limit for a file or message, and also for the unpacked content of a gzip file."""
    max_pixels: int = 2**27
    """Limit for one detector: a frame takes about 20 bytes a pixel while it is judged."""
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


def read_frame_file(path: str, rules: FrameRules | None = None) -> Iterator[Frame | FrameRefused]:
    """Yields the frames of a file, one detector at a time.

    Parameters
    ----------
    path
        ``x.fits``, ``x.fits.fz`` or ``x.fits.gz``; ``x.fits[2]`` or ``x.fits[NAME]`` for one HDU.
    """
    rules = rules or FrameRules()
    name, hdu = split_hdu(path)
    try:
        size = Path(name).stat().st_size
        if size > rules.max_bytes:
            detail = f"{size} bytes; the limit is max_bytes = {rules.max_bytes}"
            yield FrameRefused(path, None, FrameReason.TOO_LARGE, detail)
            return
        content = Path(name).read_bytes()
    except FileNotFoundError:
        yield FrameRefused(path, None, FrameReason.REFERENCE_MISSING, "no such file")
        return
    except OSError as error:
        detail = f"the file cannot be read: {plain_words(error)}"
        yield FrameRefused(path, None, FrameReason.REFERENCE_UNREACHABLE, detail)
        return
    yield from read_frames(content, path, rules, hdu)


def split_hdu(path: str) -> tuple[str, str | None]:
    """Splits ``x.fits[2]`` into the path and the HDU; None where no HDU is named."""
    match = _WITH_HDU.fullmatch(path)
    if match is None or Path(path).exists():
        return path, None
    return match[1], match[2]


def read_frames(
    content: bytes, source: str, rules: FrameRules | None = None, hdu: str | None = None
) -> Iterator[Frame | FrameRefused]:
    """Yields the frames in FITS bytes: plain, in gzip, or with Rice-compressed tiles.

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
    rules = rules or FrameRules()
    try:
        content = _unpacked(content, rules.max_bytes)
        hdus = _opened(content)
        with _translated_errors(content):
            detectors = _detectors(hdus, rules)
            chosen = detectors if hdu is None else [_hdu_number(hdus, hdu)]
            names = detector_images.names(hdus, detectors)
            kinds = (*rules.mask_extensions, _RUBIN_MASK)
            masks = detector_images.masks(hdus, sorted({*detectors, *chosen}), kinds)
        if not chosen:
            raise _Refusal(FrameReason.NO_IMAGE, "no HDU holds a detector's image")
    except _Refusal as refusal:
        yield FrameRefused(source, None, refusal.reason, refusal.detail)
        return
    for index in chosen:
        yield _frame(hdus, index, names[index], masks[index], source, rules, content)


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
        content = _unpacked(content, rules.max_bytes)
        hdus = _opened(content)
        with _translated_errors(content):
            detectors = _detectors(hdus, rules)
            names = detector_images.names(hdus, detectors)
            return FileHeaders(
                fits_headers.readable(hdus[0].header),
                tuple(fits_headers.readable(hdus[index].header) for index in detectors),
                tuple(names[index] for index in detectors),
            )
    except _Refusal:
        return FileHeaders({})


class _Refusal(Exception):
    """Carries a reason up to the public functions of this module, which return it as a value."""

    def __init__(self, reason: FrameReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _unpacked(content: bytes, most: int) -> bytes:
    """Returns plain FITS bytes, unpacked where they are in gzip."""
    if not content:
        raise _Refusal(FrameReason.EMPTY, "0 bytes")
    if content.startswith(_GZIP_MAGIC):
        content = _gunzipped(content, most)
    elif len(content) > most:
        raise _Refusal(FrameReason.TOO_LARGE, f"{len(content)} bytes; max_bytes = {most}")
    for magic, name in _OTHER_COMPRESSION.items():
        if content.startswith(magic):
            detail = f"{name}; expected FITS, gzip or tile compression (.fz)"
            raise _Refusal(FrameReason.COMPRESSION_UNKNOWN, detail)
    if not content.startswith(b"SIMPLE  ="):
        raise _Refusal(FrameReason.NOT_FITS, f"starts with {content[:9]!r}, not b'SIMPLE  ='")
    return content


def _gunzipped(content: bytes, most: int) -> bytes:
    """Returns the content of a gzip file of one or more members; checks the checksums."""
    unpacked, position = bytearray(), 0
    for _ in range(_MOST_GZIP_MEMBERS):
        position = _unpack_member(content, position, unpacked, most)
        # Zeros after the last member are padding; no member begins with a zero.
        if content[position : position + 1] in (b"", b"\0") and not content[position:].strip(b"\0"):
            return bytes(unpacked)
    raise _Refusal(FrameReason.MALFORMED, f"gzip of over {_MOST_GZIP_MEMBERS} members")


def _unpack_member(content: bytes, position: int, unpacked: bytearray, most: int) -> int:
    """Append a gzip member's content to ``unpacked``; returns the position behind the member."""
    machine, view = zlib.decompressobj(zlib.MAX_WBITS | 16), memoryview(content)
    while not machine.eof:
        # Piece by piece, because zlib copies all bytes that follow the member's end.
        piece = view[position : position + _GZIP_PIECE_BYTES]
        try:
            unpacked += machine.decompress(piece, most + 1 - len(unpacked))
        except zlib.error as error:
            detail = f"gzip is damaged, after {len(unpacked)} bytes"
            raise _Refusal(FrameReason.MALFORMED, detail) from error
        if len(unpacked) > most:
            raise _Refusal(FrameReason.TOO_LARGE, f"gzip of over max_bytes = {most}")
        position += len(piece) - len(machine.unused_data)
        if not piece and not machine.eof:
            raise _Refusal(FrameReason.TRUNCATED, f"gzip ends early, after {len(unpacked)} bytes")
    return position


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
        except _Refusal:
            raise
        except fits_headers.LimitExceeded as error:
            raise _Refusal(FrameReason.TOO_LARGE, str(error)) from error
        except fits_headers.HeaderImplausible as error:
            raise _Refusal(FrameReason.MALFORMED, str(error)) from error
        except Exception as error:
            raise _Refusal(FrameReason.MALFORMED, fault_in(content, index)) from error


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
        raise _Refusal(FrameReason.NOT_AN_IMAGE, f"no HDU {hdu!r}; there are {len(hdus)}")
    if not detector_images.is_image(hdus[index]):
        raise _Refusal(FrameReason.NOT_AN_IMAGE, f"HDU {hdu} is no image")
    return index


def _frame(
    hdus: "fits.HDUList",
    index: int,
    detector: str,
    masks: Sequence[tuple[str, int]],
    source: str,
    rules: FrameRules,
    content: bytes,
) -> Frame | FrameRefused:
    """Returns one detector's frame or its refusal, so that the other detectors are still read."""
    hdu = hdus[index]
    try:
        with _translated_errors(content, index):
            pixels = _pixels(hdu, rules)
            masked = _masked(hdus, masks, pixels.shape, rules)
            sky = _sky_level(pixels)
            saturation = _saturation(hdu.header, pixels, sky, rules)
            rows, columns, bias = _sections(hdu.header, pixels.shape, rules)
    except _Refusal as refusal:
        return FrameRefused(source, index, refusal.reason, refusal.detail, detector)
    finally:
        if "data" in hdu.__dict__:
            del hdu.data  # the next detector needs the memory
    if bias is not None:
        masked = np.zeros(pixels.shape, np.bool_) if masked is None else masked
        masked[bias] = True
    offset = _offset(pixels.dtype, sky)
    if saturation is not None:
        saturation -= offset
    image = _as_float32(pixels[rows, columns], offset)
    if masked is not None:
        masked = np.ascontiguousarray(masked[rows, columns])
    corner = rows.start or 0, columns.start or 0
    binning = fits_headers.binning(hdu.header, hdus[0].header)
    own, primary = hdu.header, hdus[0].header

    def lookup(keyword: str) -> object:
        found = fits_headers.value_of(own, keyword)
        return fits_headers.value_of(primary, keyword) if found is None else found

    aside = purposes.set_aside(lookup, rules.purposes)
    return Frame(source, index, detector, image, masked, saturation, corner, binning, aside)


def _sky_level(pixels: npt.NDArray[np.number]) -> float | None:
    """Estimates the level of the sky; None where there are no data."""
    sample = pixels[::_EVERY, ::_EVERY]
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else None


def _offset(dtype: np.dtype[Any], sky: float | None) -> float:
    """Returns what to subtract before the change to float32: the sky if it is high, else 0."""
    wide = not np.can_cast(dtype, np.float32)
    return sky if wide and sky is not None and abs(sky) > _HIGHEST_SKY else 0.0


def _as_float32(pixels: npt.NDArray[np.number], offset: float) -> Image:
    """Returns the pixels minus an offset, as float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not offset:
            return np.ascontiguousarray(pixels, dtype=np.float32)
        image = np.empty(pixels.shape, np.float32)
        np.subtract(pixels, offset, out=image, dtype=np.float64, casting="unsafe")
        return image


def _pixels(hdu: "ImageHdu", rules: FrameRules) -> npt.NDArray[np.number]:
    """Returns the stored image, 2-D and scaled; checks its size before memory is allocated."""
    axes = [side for side in hdu.shape if side != 1]
    if len(hdu.shape) > 2 and len(axes) > 2:
        sides = " x ".join(str(side) for side in hdu.shape[::-1])
        raise _Refusal(FrameReason.CUBE, f"{sides} px: {len(hdu.shape)} axes; expected 2")
    if len(hdu.shape) < 2 or 0 in hdu.shape:
        raise _Refusal(FrameReason.MALFORMED, f"an image of shape {hdu.shape}; expected 2 axes")
    size = int(np.prod([int(side) for side in hdu.shape], dtype=object))
    if size > rules.max_pixels:
        raise _Refusal(
            FrameReason.TOO_LARGE, f"{size} pixels; max_frame_pixels = {rules.max_pixels}"
        )
    _require_sound(hdu)
    pixels: npt.NDArray[np.number] = hdu.data
    shape = hdu.shape[-2:]
    if pixels.size != shape[0] * shape[1]:
        raise _Refusal(FrameReason.CUBE, f"an image of shape {hdu.shape}; expected 2 axes")
    return pixels.reshape(shape)


def _require_sound(hdu: "ImageHdu") -> None:
    """Refuse an HDU that announces more bytes than the file has, or whose tiles are damaged."""
    from astropy.io import fits

    # A tile-compressed image keeps the table it came from in a private place.
    stored = getattr(hdu, "_bintable", None) or hdu
    info = stored.fileinfo()
    if info is None:
        return
    available = info["file"].size - info["datLoc"]
    if stored.size > available:
        detail = f"{stored.size} bytes of pixels announced, {max(available, 0)} are there"
        raise _Refusal(FrameReason.TRUNCATED, detail)
    if isinstance(hdu, fits.CompImageHDU) and (wrong := wrong_with(hdu)):
        raise _Refusal(FrameReason.MALFORMED, wrong)


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
        bad = _bad_pixels(hdu, kind, rules)
        if bad is not None:
            masked = bad if masked is None else masked | bad
    return masked


def _bad_pixels(hdu: "ImageHdu", kind: str, rules: FrameRules) -> Mask | None:
    if kind in rules.mask_extensions:
        _require_sound(hdu)
        return np.asarray(hdu.data, bool)
    bits = [fits_headers.value_of(hdu.header, f"MP_{plane}") for plane in rules.mask_planes]
    known = [1 << bit for bit in bits if isinstance(bit, int) and 0 <= bit < 31]
    if not known:
        return None
    _require_sound(hdu)
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


def _sections(
    header: "fits.Header", shape: tuple[int, ...], rules: FrameRules
) -> tuple[slice, slice, tuple[slice, slice] | None]:
    """Returns rows and columns with sky, and the overscan where the header names only that.

    A section that reaches beyond the image was written before the frame was trimmed. Then none
    of the header's sections is used.
    """
    whole = slice(0, shape[0]), slice(0, shape[1])
    if rules.section is not None:
        configured = section(rules.section, shape)
        if configured is None:
            raise _Refusal(FrameReason.MALFORMED, f"section {rules.section} of {shape} px")
        return *configured, None
    keys = ("TRIMSEC", "DATASEC", "BIASSEC")
    named = {key: fits_headers.value_of(header, key) for key in keys}
    sections = {key: section(str(text), shape) for key, text in named.items() if is_section(text)}
    if not rules.use_sections or not sections or None in sections.values():
        return *whole, None
    kept = sections.get("TRIMSEC") or sections.get("DATASEC")
    return (*kept, None) if kept else (*whole, sections["BIASSEC"])


def is_section(text: object) -> bool:
    """Whether a text is a section ``[x1:x2,y1:y2]`` from 1; ``[0:0,0:0]`` means no section."""
    match = _SECTION.fullmatch(text.strip()) if isinstance(text, str) else None
    return match is not None and min(int(number) for number in match.groups()) >= 1


def section(text: str, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Returns rows and columns of ``[x1:x2,y1:y2]`` (from 1, inclusive); None if outside."""
    match = _SECTION.fullmatch(text.strip())
    if match is None:
        return None
    x1, x2, y1, y2 = (int(number) for number in match.groups())
    (left, right), (bottom, top) = sorted((x1, x2)), sorted((y1, y2))
    if left < 1 or bottom < 1 or right > shape[1] or top > shape[0]:
        return None
    return slice(bottom - 1, top), slice(left - 1, right)
