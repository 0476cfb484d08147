"""Reads stamps to float32 planes: a fast path for usual stamps, astropy for all others.

A test compares the fast path with astropy on every sample stamp. Source of the layout:
FITS standard 4.0, sections 3.3 (blocks of 2,880 bytes), 4.4.1 (order of the first keywords).
"""

import io
import re
import warnings
import zlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from streamfilter.errors import MessageRejected, Reason
from streamfilter.fits import headers
from streamfilter.fits.compressed_tiles import wrong_with
from streamfilter.fits.faults import fault_in
from streamfilter.limits import Limits

if TYPE_CHECKING:
    from astropy.io import fits

Image = npt.NDArray[np.float32]

VARIANCE, PSF = "UNCERT", "PSFIMAGE"
EXTENSIONS = (VARIANCE, PSF)
"""Names of the extensions that are read beside the image."""

_BLOCK_BYTES = 2880
_CARD_BYTES = 80
_GZIP_MAGIC = b"\x1f\x8b"
# Real stamps have one member. Each further one copies the rest of the data, hence a limit.
_MOST_GZIP_MEMBERS = 4
_MOST_AXES = 999
# LSST's stamps have 4 HDUs of 60 cards; astropy's time grows with the square of repeated ones.
_MOST_HDUS, _LONGEST_HEADER_BYTES = 64, 2_000 * 80
_BITPIX = (8, 16, 32, 64, -32, -64)
_END = b"END".ljust(_CARD_BYTES)
# Bytes that may follow a file: its own fill, and what tools append.
_FILL = b"\0 \t\r\n"
# Side of a PSF; Rubin's have 41 px. A larger one would only take memory while its alert waits.
_LARGEST_PSF_PX = 128
# The first cards in the order that the standard demands; ZTF's SIMPLE is not at column 30.
_HEAD = re.compile(
    rb"(?=(SIMPLE)  = +T[ /]|XTENSION= 'IMAGE   ')[^\0]{80}"
    rb"(?=BITPIX  = +(-32|-64)[ /])[^\0]{80}(?=NAXIS   = +2[ /])[^\0]{80}"
    rb"(?=NAXIS1  = +(\d{1,9})[ /])[^\0]{80}(?=NAXIS2  = +(\d{1,9})[ /])[^\0]{80}"
)
# Short headers repeat from stamp to stamp, so they are cached; headers with a WCS all differ.
_REPEATED_BYTES = 12 * _CARD_BYTES
_NO_HEAP = re.compile(rb"(?=PCOUNT  = +0[ /])[^\0]{80}(?=GCOUNT  = +1[ /])")
_WIDTHS: Mapping[bytes, "np.dtype[np.floating]"] = {
    b"-32": np.dtype(">f4"),
    b"-64": np.dtype(">f8"),
}
# A card begins with a keyword of eight bytes; as whole numbers all of a header are read at once.
_KEYWORD = np.dtype("<u8")
_EXTNAME, _UTYPE = (int.from_bytes(each, "little") for each in (b"EXTNAME ", b"UTYPE   "))
# Each of these changes the meaning of the bytes, so astropy reads such a file.
_SCALED = frozenset(
    int.from_bytes(each, "little")
    for each in (b"BSCALE  ", b"BZERO   ", b"GROUPS  ", b"INHERIT ", b"CONTINUE")
)


class Planes(NamedTuple):
    """The arrays of one stamp.

    All are native, C-contiguous float32 (height, width); NaN where there are no data. ``variance``
    has the image's shape and its unit squared. ``psf`` is the kernel as sent; None where a side is
    over 128 px. Both are None where they are not wanted or not sent.
    """

    image: Image
    variance: Image | None
    psf: Image | None


class _Head(NamedTuple):
    """The header of a plain image; ``size`` is its length in bytes with the fill."""

    primary: bool
    dtype: "np.dtype[np.floating]"
    width: int
    height: int
    size: int
    name: str
    uncertainty: str


class _Plane(NamedTuple):
    """One array of a file, unchanged, with the name of its extension."""

    name: str
    uncertainty: str
    pixels: npt.NDArray[np.generic]


def read_stamp(data: bytes, limits: Limits, extensions: Collection[str] = EXTENSIONS) -> Planes:
    """Returns the planes of a stamp: the first image, and extensions.

    Other extensions are ignored; a mask, weights and the like are never taken for the image.

    Parameters
    ----------
    data
        FITS, plain or in gzip.
    limits
        Bounds on the decompressed bytes and on the side of an image, checked before any
        allocation.
    extensions
        Those of ``EXTENSIONS`` that are wanted; the planes of others are None.

    Raises
    ------
    MessageRejected
        STAMP_COMPRESSION, STAMP_MALFORMED (also for a cube, one axis or no image) or
        STAMP_TOO_LARGE.
    """
    if data.startswith(_GZIP_MAGIC):
        data = _decompress(data, limits.max_decompressed_bytes)
    elif len(data) > limits.max_decompressed_bytes:
        raise _too_large(f"{len(data)} bytes", "max_decompressed_bytes")
    planes = _read_plain(data, limits)
    if planes is None:
        _require_sound(data, limits)
        planes = _read_with_astropy(_checked(data), limits)
    return _arranged(planes, limits, extensions)


def read_stamp_with_astropy(data: bytes, limits: Limits) -> Planes:
    """The slow equivalent of ``read_stamp``, for comparison."""
    if data.startswith(_GZIP_MAGIC):
        data = _decompress(data, limits.max_decompressed_bytes)
    _require_sound(data, limits)
    return _arranged(_read_with_astropy(_checked(data), limits), limits, EXTENSIONS)


def _malformed(detail: str) -> MessageRejected:
    return MessageRejected(Reason.STAMP_MALFORMED, f"stamp: {detail}")


def _too_large(found: str, limit: str) -> MessageRejected:
    return MessageRejected(Reason.STAMP_TOO_LARGE, f"stamp: {found}; the limit is limits.{limit}")


def _decompress(data: bytes, most: int) -> bytes:
    """Returns the content of a gzip file; checksums are verified."""
    content = b""
    for _ in range(_MOST_GZIP_MEMBERS):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content += member.decompress(data, most + 1 - len(content))
        except zlib.error as error:
            detail = f"stamp: gzip of {len(data)} bytes is damaged"
            raise MessageRejected(Reason.STAMP_COMPRESSION, detail) from error
        if len(content) > most:
            raise _too_large(f"gzip of over {most} bytes", "max_decompressed_bytes")
        if not member.eof:
            raise MessageRejected(
                Reason.STAMP_COMPRESSION, f"stamp: gzip ends early, after {len(content)} bytes"
            )
        data = member.unused_data
        if not data.strip(_FILL):
            return content
        if not data.startswith(_GZIP_MAGIC):
            break
    raise MessageRejected(
        Reason.STAMP_COMPRESSION, f"stamp: {len(data)} bytes after the gzip file; expected none"
    )


def _read_plain(data: bytes, limits: Limits) -> list[_Plane] | None:
    """Returns all images of an unscaled floating-point file; None where astropy has to read it."""
    planes: list[_Plane] = []
    position = 0
    while position < len(data):
        end = data.find(_END, position)
        if end < 0 and planes and not data[position:].strip(_FILL):
            break
        header = data[position:end] if end >= 0 else b""
        head = _known_head(header) if len(header) <= _REPEATED_BYTES else _head(header)
        if head is None or head.primary != (position == 0):
            return None
        start = position + head.size
        pixels = head.width * head.height
        size = pixels * head.dtype.itemsize
        if start + size > len(data):
            raise _malformed(f"{size} bytes of pixels announced, {len(data) - start} are there")
        image = np.frombuffer(data, head.dtype, pixels, start).reshape(head.height, head.width)
        planes.append(_Plane(head.name, head.uncertainty, image))
        position = start + size + -size % _BLOCK_BYTES
    return planes or None


@lru_cache(maxsize=256)
def _known_head(header: bytes) -> _Head | None:
    return _head(header)


def _head(header: bytes) -> _Head | None:
    """Returns a plain header, read up to END; None where it is not plain or scales the pixels."""
    first = _HEAD.match(header)
    if first is None or len(header) % _CARD_BYTES:
        return None
    primary = first[1] is not None
    if not primary and not _NO_HEAP.match(header, 5 * _CARD_BYTES):
        return None
    keywords = np.frombuffer(header, _KEYWORD)[:: _CARD_BYTES // _KEYWORD.itemsize].tolist()
    if not _SCALED.isdisjoint(keywords):
        return None
    size = len(header) + _CARD_BYTES
    return _Head(
        primary,
        _WIDTHS[first[2]],
        int(first[3]),
        int(first[4]),
        size + -size % _BLOCK_BYTES,
        _word(header, keywords, _EXTNAME),
        _word(header, keywords, _UTYPE),
    )


def _word(header: bytes, keywords: list[int], keyword: int) -> str:
    """Returns the text value of a card; empty where there is none."""
    if keyword not in keywords:
        return ""
    card = _CARD_BYTES * keywords.index(keyword)
    value = header[card + 10 : card + _CARD_BYTES].split(b"'", 2)
    return value[1].decode("latin-1").rstrip() if len(value) == 3 else ""


def _f4(pixels: npt.NDArray[np.generic]) -> Image:
    """Returns a native float32 copy; values beyond float32 become infinite."""
    if pixels.dtype.itemsize <= 4 and pixels.dtype.kind == "f":
        return pixels.astype(np.float32, order="C")
    with np.errstate(over="ignore", invalid="ignore"):
        return pixels.astype(np.float32, order="C")


@lru_cache(maxsize=256)
def _is_auxiliary(name: str) -> bool:
    return headers.is_auxiliary(name)


def _require_side(width: int, height: int, limits: Limits) -> None:
    if min(width, height) < 1:
        raise _malformed(f"an image of {width} x {height} px")
    if max(width, height) > limits.max_stamp_side_px:
        raise _too_large(
            f"{width} x {height} px", f"max_stamp_side_px = {limits.max_stamp_side_px}"
        )


def _arranged(planes: list[_Plane], limits: Limits, extensions: Collection[str]) -> Planes:
    image = variance = psf = None
    others = []
    for plane in planes:
        name, shape = plane.name.upper(), plane.pixels.shape
        if len(shape) != 2:
            others.append(" x ".join(str(side) for side in reversed(shape)))
        elif name == VARIANCE:
            variance = plane
        elif name == PSF:
            psf = plane if max(shape) <= _LARGEST_PSF_PX else None
        elif image is None and not _is_auxiliary(name):
            image = plane
    if image is None:
        found = f"; there are arrays of {', '.join(others[:3])} px" if others else ""
        raise _malformed(f"no image of two axes{found}")
    if variance is not None and variance.pixels.shape != image.pixels.shape:
        raise _malformed(
            f"a variance of {variance.pixels.shape} for an image of {image.pixels.shape}"
        )
    _require_side(image.pixels.shape[1], image.pixels.shape[0], limits)
    return Planes(
        _f4(image.pixels),
        None if variance is None or VARIANCE not in extensions else _as_variance(variance),
        None if psf is None or PSF not in extensions else _f4(psf.pixels),
    )


def _as_variance(plane: _Plane) -> Image | None:
    """Returns UNCERT as a variance; astropy names the kind in UTYPE, LSST writes variances."""
    if plane.uncertainty == "StdDevUncertainty":
        return np.square(_f4(plane.pixels))
    return _f4(plane.pixels) if plane.uncertainty in ("VarianceUncertainty", "") else None


def _require_sound(data: bytes, limits: Limits) -> None:
    """Refuse a file whose headers announce more than its bytes hold or the limits allow."""
    position = 0
    while position < len(data):
        first = data[position : position + 9]
        if first != (b"XTENSION=" if position else b"SIMPLE  ="):
            if position and not data[position:].strip(_FILL):
                return
            if not position:
                raise _malformed(f"begins with {data[:8]!r}; expected FITS, plain or in gzip")
            raise _malformed(f"no FITS header at byte {position}")
        cards, start = _cards(data, position)
        axes = [_number(cards, f"NAXIS{i + 1}") for i in range(_axes(cards))]
        pixels = 1 if axes else 0
        for side in axes:
            pixels *= side
        if _number(cards, "BITPIX", 8) not in _BITPIX:
            raise _malformed(f"BITPIX {cards.get('BITPIX')!r}")
        groups, heap = _number(cards, "GCOUNT", 1), _number(cards, "PCOUNT", 0)
        size = abs(_number(cards, "BITPIX", 8)) // 8 * groups * (heap + pixels)
        if min(groups, heap, *axes) < 0 or size > len(data) - start:
            raise _malformed(f"{size} bytes of data announced, {len(data) - start} are there")
        position = start + size + -size % _BLOCK_BYTES


def _checked(data: bytes) -> bytes:
    """Returns the part of a file that astropy may read."""
    try:
        return headers.checked_content(
            data, most_hdus=_MOST_HDUS, longest_header_bytes=_LONGEST_HEADER_BYTES
        )
    except headers.LimitExceeded as error:
        raise MessageRejected(Reason.STAMP_TOO_LARGE, f"stamp: {error}") from error
    except headers.HeaderImplausible as error:
        raise _malformed(str(error)) from error


def _require_sound_tiles(hdu: "fits.CompImageHDU", limits: Limits) -> None:
    """Refuse a compressed image that is too large or malformed, before it is unpacked."""
    if len(hdu.shape) != 2:
        raise _malformed(f"a compressed image of {len(hdu.shape)} axes; expected 2")
    _require_side(hdu.shape[1], hdu.shape[0], limits)
    if wrong := wrong_with(hdu):
        raise _malformed(wrong)


def _cards(data: bytes, position: int) -> tuple[dict[str, str], int]:
    """Returns the values by keyword, as text, and the position of the data."""
    cards: dict[str, str] = {}
    for at in range(position, len(data) - _CARD_BYTES + 1, _CARD_BYTES):
        card = data[at : at + _CARD_BYTES].decode("latin-1")
        if card[:8].rstrip() == "END":
            end = at + _CARD_BYTES
            return cards, end + (position - end) % _BLOCK_BYTES
        if card[8:9] == "=":
            cards.setdefault(card[:8].rstrip(), card[9:].partition("/")[0].strip())
    raise _malformed(f"the header at byte {position} has no END")


def _axes(cards: Mapping[str, str]) -> int:
    axes = _number(cards, "NAXIS")
    if not 0 <= axes <= _MOST_AXES:
        raise _malformed(f"NAXIS {axes}")
    return axes


def _number(cards: Mapping[str, str], keyword: str, default: int | None = None) -> int:
    text = cards.get(keyword)
    if text is None and default is not None:
        return default
    # Python refuses to read numbers of thousands of digits; a card has at most 70.
    if text is None or not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise _malformed(f"{keyword} is {text!r}; expected a whole number")
    return int(text)


def _read_with_astropy(data: bytes, limits: Limits) -> list[_Plane]:
    from astropy.io import fits

    planes = []
    # Whatever astropy raises on damaged bytes says only that they cannot be read.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(data), memmap=False) as hdus:
                for hdu in hdus:
                    if isinstance(hdu, fits.CompImageHDU):
                        if headers.is_auxiliary(hdu.name):
                            continue
                        _require_sound_tiles(hdu, limits)
                    if isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
                        plane = _plane_of(hdu)
                        planes += [plane] if plane else []
    except MessageRejected:
        raise
    except Exception as error:
        raise _malformed(fault_in(data)) from error
    return planes


def _plane_of(hdu: "object") -> _Plane | None:
    pixels = hdu.data  # type: ignore[attr-defined]
    if pixels is None:
        return None
    while pixels.ndim > 2 and len(pixels) == 1:
        pixels = pixels[0]
    header = hdu.header  # type: ignore[attr-defined]
    return _Plane(str(header.get("EXTNAME", "")), str(header.get("UTYPE", "")), pixels)
