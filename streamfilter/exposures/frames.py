"""FITS bytes and files to detectors' frames; what cannot be read is a value with a reason."""

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamfilter.errors import told
from streamfilter.exposures import detector_images
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
_PLANES = "MASK"
"""Extension of Rubin's, whose bits have names."""
_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")
_WITH_HDU = re.compile(r"(.+)\[([^\[\]]+)\]")
_MOST_HDUS = 2000
"""LSST's focal plane has 205 detectors with three images each."""
_LONGEST_HEADER_BYTES = 800_000
"""Of one HDU, 10,000 cards; where keywords repeat, astropy's time grows with their square."""
_FLAT_TOP = (0.02, 10)
"""So many pixels in the highest 2 % above the sky are a plateau: saturation no header tells."""
_LOWEST_SATURATION = 0.5
"""Of the sky's level, below which what a header says is no level of saturation."""
_HIGHEST_SKY = 2.0**20
"""Up to which float32 has steps of an eighth or finer."""
_EVERY = 7
"""Pixels along each axis from which the sky's level is guessed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRules:
    """What is read of a file, and what it may cost."""

    max_bytes: int = 512 * 2**20
    """Of a file or message, and again of what a gzip holds."""
    max_pixels: int = 2**27
    """Of one detector: a frame takes about 20 bytes a pixel while it is judged."""
    auxiliary_extensions: tuple[str, ...] = ()
    """Further extensions whose images are no detector's, by name or a name's last word."""
    use_sections: bool = True
    """Leave out what TRIMSEC, DATASEC and BIASSEC say is no sky."""
    section: str | None = None
    """Instead of the header's, such as ``[17:528,1:520]`` (x then y, from 1, inclusive)."""
    mask_extensions: tuple[str, ...] = ("BPM",)
    """Extensions whose non-zero pixels are bad."""
    mask_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Planes of an extension MASK with ``MP_`` keywords (Rubin) that are bad."""
    saturation_keywords: tuple[str, ...] = ("SATURATE", "SATLEVEL", "MAXLIN")
    saturation: float | None = None
    """Level in the image's unit, instead of the header's."""


def read_frame_file(path: str, rules: FrameRules | None = None) -> Iterator[Frame | FrameRefused]:
    """The frames of a file, one detector at a time.

    Parameters
    ----------
    path
        ``x.fits``, ``x.fits.fz``, ``x.fits.gz``; with ``[2]`` or ``[NAME]`` behind it that HDU
        alone.
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
        detail = f"the file cannot be read: {told(error)}"
        yield FrameRefused(path, None, FrameReason.REFERENCE_UNREACHABLE, detail)
        return
    yield from read_frames(content, path, rules, hdu)


def split_hdu(path: str) -> tuple[str, str | None]:
    """A path and the HDU named behind it in brackets, where there is one."""
    found = _WITH_HDU.fullmatch(path)
    if found is None or Path(path).exists():
        return path, None
    return found[1], found[2]


def read_frames(
    content: bytes, source: str, rules: FrameRules | None = None, hdu: str | None = None
) -> Iterator[Frame | FrameRefused]:
    """The frames in FITS bytes, plain, in gzip or with Rice-compressed tiles.

    Parameters
    ----------
    source
        Named in what comes back.
    hdu
        Number or name of the only HDU to read; all images that are a detector's otherwise.

    Yields
    ------
    frame or refusal
        At least one; nothing is raised, whatever the bytes.
    """
    rules = rules or FrameRules()
    try:
        content = _unpacked(content, rules.max_bytes)
        hdus = _opened(content)
        with _quiet(content):
            detectors = _detectors(hdus, rules)
            wanted = detectors if hdu is None else [_chosen(hdus, hdu)]
            names = detector_images.names(hdus, detectors)
            kinds = (*rules.mask_extensions, _PLANES)
            masks = detector_images.masks(hdus, sorted({*detectors, *wanted}), kinds)
        if not wanted:
            raise _Refusal(FrameReason.NO_IMAGE, "no HDU holds a detector's image")
    except _Refusal as refusal:
        yield FrameRefused(source, None, refusal.reason, refusal.detail)
        return
    for index in wanted:
        yield _frame(hdus, index, names[index], masks[index], source, rules, content)


@dataclass(frozen=True, slots=True)
class FileHeaders:
    """What a file says of itself; all empty where it cannot be read."""

    primary: Header
    detectors: tuple[Header, ...] = ()
    names: tuple[str, ...] = ()
    """Of the detectors, as ``read_frames`` has them."""


def headers(content: bytes, rules: FrameRules | None = None) -> FileHeaders:
    """The headers of FITS bytes; keywords that cannot be read are left out."""
    rules = rules or FrameRules()
    try:
        content = _unpacked(content, rules.max_bytes)
        hdus = _opened(content)
        with _quiet(content):
            found = _detectors(hdus, rules)
            names = detector_images.names(hdus, found)
            return FileHeaders(
                fits_headers.readable(hdus[0].header),
                tuple(fits_headers.readable(hdus[index].header) for index in found),
                tuple(names[index] for index in found),
            )
    except _Refusal:
        return FileHeaders({})


class _Refusal(Exception):
    """Carries a reason to the rim of this room."""

    def __init__(self, reason: FrameReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _unpacked(content: bytes, most: int) -> bytes:
    """Plain FITS bytes."""
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
    """The content of a gzip file of one or more members, checksums checked."""
    unpacked, position = bytearray(), 0
    for _ in range(_MOST_GZIP_MEMBERS):
        position = _member(content, position, unpacked, most)
        # Zeros after the last member are fill; a member begins otherwise.
        if content[position : position + 1] in (b"", b"\0") and not content[position:].strip(b"\0"):
            return bytes(unpacked)
    raise _Refusal(FrameReason.MALFORMED, f"gzip of over {_MOST_GZIP_MEMBERS} members")


def _member(content: bytes, position: int, unpacked: bytearray, most: int) -> int:
    """Append what a member of a gzip file holds; where it ends."""
    machine, view = zlib.decompressobj(zlib.MAX_WBITS | 16), memoryview(content)
    while not machine.eof:
        # Piece by piece: what follows the member's end is copied.
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
def _quiet(content: bytes, index: int | None = None) -> Iterator[None]:
    """Refusals as they are; of whatever else astropy raises, which card is at fault.

    Parameters
    ----------
    content
        The file.
    index
        Of the one HDU that is looked at.
    """
    # astropy warns of what it then raises, or mends; both are reported here in words of ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except _Refusal:
            raise
        except fits_headers.TooMuch as error:
            raise _Refusal(FrameReason.TOO_LARGE, str(error)) from error
        except fits_headers.Nonsense as error:
            raise _Refusal(FrameReason.MALFORMED, str(error)) from error
        except Exception as error:
            raise _Refusal(FrameReason.MALFORMED, fault_in(content, index)) from error


def _opened(content: bytes) -> "fits.HDUList":
    from astropy.io import fits

    with _quiet(content):
        content = fits_headers.walked(
            content, most_hdus=_MOST_HDUS, longest_header_bytes=_LONGEST_HEADER_BYTES
        )
        return fits.open(io.BytesIO(content), memmap=False)


def _detectors(hdus: "fits.HDUList", rules: FrameRules) -> list[int]:
    further = (*rules.auxiliary_extensions, *rules.mask_extensions)
    return detector_images.detectors(hdus, rules.max_pixels, further)


def _chosen(hdus: "fits.HDUList", hdu: str) -> int:
    """Number of the HDU that is asked for by number or name."""
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
    """One detector; a damaged one does not take the others with it."""
    hdu = hdus[index]
    try:
        with _quiet(content, index):
            pixels = _pixels(hdu, rules)
            masked = _masked(hdus, masks, pixels.shape, rules)
            sky = _sky(pixels)
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
    image = _single(pixels[rows, columns], offset)
    if masked is not None:
        masked = np.ascontiguousarray(masked[rows, columns])
    corner = rows.start or 0, columns.start or 0
    binning = fits_headers.binning(hdu.header, hdus[0].header)
    return Frame(source, index, detector, image, masked, saturation, corner, binning)


def _sky(pixels: npt.NDArray[np.number]) -> float | None:
    """About the level of the sky; None where there are no data."""
    sample = pixels[::_EVERY, ::_EVERY]
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else None


def _offset(dtype: np.dtype[Any], sky: float | None) -> float:
    """What is taken off pixels of more digits than float32 has: their sky where it is high."""
    wide = not np.can_cast(dtype, np.float32)
    return sky if wide and sky is not None and abs(sky) > _HIGHEST_SKY else 0.0


def _single(pixels: npt.NDArray[np.number], offset: float) -> Image:
    """Pixels less an offset, as float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not offset:
            return np.ascontiguousarray(pixels, dtype=np.float32)
        image = np.empty(pixels.shape, np.float32)
        np.subtract(pixels, offset, out=image, dtype=np.float64, casting="unsafe")
        return image


def _pixels(hdu: "ImageHdu", rules: FrameRules) -> npt.NDArray[np.number]:
    """The image as stored, 2-D, scaled; checked before anything is allocated."""
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
    """Refuse an HDU that announces more bytes than there are, or whose tiles hold too much."""
    from astropy.io import fits

    # A tile-compressed image keeps the table it came from in a private place.
    stored = getattr(hdu, "_bintable", None) or hdu
    info = stored.fileinfo()
    if info is None:
        return
    there = info["file"].size - info["datLoc"]
    if stored.size > there:
        detail = f"{stored.size} bytes of pixels announced, {max(there, 0)} are there"
        raise _Refusal(FrameReason.TRUNCATED, detail)
    if isinstance(hdu, fits.CompImageHDU) and (wrong := wrong_with(hdu)):
        raise _Refusal(FrameReason.MALFORMED, wrong)


def _masked(
    hdus: "fits.HDUList",
    masks: Sequence[tuple[str, int]],
    shape: tuple[int, ...],
    rules: FrameRules,
) -> Mask | None:
    """Bad pixels from the masks that go with an image, by kind and number."""
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
    """Level from the rules or the header, or a plateau at the highest value."""
    if rules.saturation is not None:
        return rules.saturation
    for keyword in rules.saturation_keywords:
        level = fits_headers.value_of(header, keyword)
        if isinstance(level, bool) or not isinstance(level, int | float):
            continue
        # The sky of a frame is hardly above what its pixels hold: T, 60 and 1.0 are no levels.
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
    """Rows and columns with sky, and the overscan where only that is named.

    A section that reaches beyond the image was written before the frame was trimmed: then none
    of the header's sections is believed.
    """
    whole = slice(0, shape[0]), slice(0, shape[1])
    if rules.section is not None:
        given = section(rules.section, shape)
        if given is None:
            raise _Refusal(FrameReason.MALFORMED, f"section {rules.section} of {shape} px")
        return *given, None
    keys = ("TRIMSEC", "DATASEC", "BIASSEC")
    named = {key: fits_headers.value_of(header, key) for key in keys}
    found = {key: section(str(text), shape) for key, text in named.items() if is_section(text)}
    if not rules.use_sections or not found or None in found.values():
        return *whole, None
    kept = found.get("TRIMSEC") or found.get("DATASEC")
    return (*kept, None) if kept else (*whole, found["BIASSEC"])


def is_section(text: object) -> bool:
    """Whether it reads ``[x1:x2,y1:y2]``, from 1: ``[0:0,0:0]`` stands for none."""
    found = _SECTION.fullmatch(text.strip()) if isinstance(text, str) else None
    return found is not None and min(int(number) for number in found.groups()) >= 1


def section(text: str, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns of ``[x1:x2,y1:y2]`` (from 1, inclusive); None where it does not fit."""
    found = _SECTION.fullmatch(text.strip())
    if found is None:
        return None
    x1, x2, y1, y2 = (int(number) for number in found.groups())
    (left, right), (bottom, top) = sorted((x1, x2)), sorted((y1, y2))
    if left < 1 or bottom < 1 or right > shape[1] or top > shape[0]:
        return None
    return slice(bottom - 1, top), slice(left - 1, right)
