"""Checks that a tile-compressed FITS image is safe to unpack, before astropy unpacks it.

astropy inflates a gzip tile to any size, and gives other tiles to C code that trusts the bytes.
Source: FITS standard 4.0, section 10 (tiled image compression).
"""

import re
import zlib
from collections.abc import Callable, Mapping
from math import ceil, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfilter.fits.faults import fault_in

Words = npt.NDArray[np.int64]

# A 10k detector has 10,000 tiles of one row; each takes some microseconds.
_MOST_TILES = 200_000
_LONGEST_TILE = 2**31 - 1  # beyond it astropy's indices overflow
_LARGEST_PIXEL_BYTES = 8
_PLIO_HEAD_WORDS = 3
_HCOMPRESS_HEAD_BYTES = 10
_FORM = re.compile(r"(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_BITS: Mapping[str, int] = {
    "L": 8, "X": 1, "B": 8, "I": 16, "J": 32, "K": 64, "A": 8, "E": 32, "D": 64, "C": 64, "M": 128,
}  # fmt: skip
_PACKED = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")


class _Unsafe(Exception):
    """The image is not safe to unpack; ``wrong_with`` returns the message."""


def wrong_with(hdu: Any) -> str | None:
    """Returns why a ``CompImageHDU`` read from a file is not safe to unpack; None if it is.

    Its tiles must lie in its heap without overlap, be as many as the image has, and unpack to no
    more bytes than their pixels take.
    """
    # Since astropy 7 the table is a private attribute; before, the HDU is the table.
    table = getattr(hdu, "_bintable", None) or hdu
    info = table.fileinfo()
    if info is None:
        return None  # made in memory
    try:
        info["file"].seek(info["datLoc"])
        _require_bounded(dict(table._header), info["file"].read(int(table.size)))
    except _Unsafe as error:
        return str(error)
    # Keywords that are missing or of another type.
    except (KeyError, TypeError, ValueError, OverflowError):
        info["file"].seek(info["hdrLoc"])
        header = info["file"].read(info["datLoc"] - info["hdrLoc"])
        return fault_in(header, 0).partition(": ")[2]
    return None


def _require_bounded(cards: Mapping[str, Any], data: bytes) -> None:
    sides = [int(cards[f"ZNAXIS{i + 1}"]) for i in range(cards["ZNAXIS"])]
    tile = [int(cards.get(f"ZTILE{i + 1}", 1 if i else side)) for i, side in enumerate(sides)]
    if not sides or min(tile) <= 0 or max(tile) > _LONGEST_TILE:
        raise _Unsafe(f"tiles of {tile} px in {sides} px")
    # A tile may be larger than the image.
    tile = [min(inner, side) for inner, side in zip(tile, sides, strict=True)]
    rows, width = int(cards["NAXIS2"]), int(cards["NAXIS1"])
    tiles = prod(ceil(side / inner) for inner, side in zip(tile, sides, strict=True))
    if tiles != rows or rows > _MOST_TILES:
        raise _Unsafe(f"{rows} compressed tiles; expected {tiles}, and at most {_MOST_TILES}")
    kind = str(cards["ZCMPTYPE"])
    if kind in ("RICE_1", "RICE_ONE"):
        _require_rice(cards)
    elif kind not in ("GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"):
        raise _Unsafe(f"compression {kind[:20]!r} is not known")
    start = int(cards.get("THEAP", rows * width))
    if width <= 0 or not rows * width <= start <= len(data):
        raise _Unsafe(f"a heap at byte {start} of {len(data)}, behind {rows} rows of {width} bytes")
    table = np.frombuffer(data, np.uint8, rows * width).reshape(rows, width)
    heap = memoryview(data)[start:]
    packed = 0
    for name, where, item in _columns(cards):
        sizes, offsets = _descriptors(table, where)
        sizes = sizes * item
        # Overlaps would let few bytes unpack to very much.
        packed += int(sizes.sum())
        inside = (sizes >= 0) & (offsets >= 0) & (offsets <= len(heap) - sizes)
        if not inside.all() or packed > len(heap):
            raise _Unsafe(f"tiles of {packed} bytes that do not lie in a heap of {len(heap)}")
        check = _CHECKS.get("GZIP_1" if name == "GZIP_COMPRESSED_DATA" else kind)
        if check is not None and name != "UNCOMPRESSED_DATA":
            for size, offset in zip(sizes.tolist(), offsets.tolist(), strict=True):
                check(heap[offset : offset + size], prod(tile))


def _require_rice(cards: Mapping[str, Any]) -> None:
    """Refuse other Rice parameters: the C code writes as many bytes a pixel as the header says."""
    named = {
        str(cards[f"ZNAME{i}"]).upper(): cards.get(f"ZVAL{i}")
        for i in range(1, 10)
        if f"ZNAME{i}" in cards
    }
    if named.get("BYTEPIX", 4) not in (1, 2, 4) or named.get("BLOCKSIZE", 32) not in (16, 32, 64):
        raise _Unsafe(f"Rice with {named}; expected BYTEPIX 1, 2 or 4 and BLOCKSIZE 16 or 32")


def _columns(cards: Mapping[str, Any]) -> list[tuple[str, tuple[int, str], int]]:
    """Returns of each column in the heap: name, its descriptor's byte and kind, bytes per item."""
    columns, at = [], 0
    for i in range(1, int(cards["TFIELDS"]) + 1):
        form = _FORM.match(str(cards[f"TFORM{i}"]).strip())
        if form is None:
            raise _Unsafe(f"a column of the form {str(cards[f'TFORM{i}'])[:20]!r}")
        count, letter, item = int(form[1] or 1), form[2], form[3]
        name = str(cards.get(f"TTYPE{i}", "")).strip().upper()
        if letter in "PQ":
            if count == 1 and name in _PACKED:
                columns.append((name, (at, letter), _BITS[item] // 8))
            at += count * (8 if letter == "P" else 16)
        else:
            at += ceil(count * _BITS[letter] / 8)
    if at > int(cards["NAXIS1"]):
        raise _Unsafe(f"columns of {at} bytes in rows of {cards['NAXIS1']}")
    return columns


def _descriptors(table: npt.NDArray[np.uint8], where: tuple[int, str]) -> tuple[Words, Words]:
    """Returns the number of items and the first byte of each tile, from the rows."""
    at, letter = where
    kind, width = (">i4", 8) if letter == "P" else (">i8", 16)
    pairs = np.ascontiguousarray(table[:, at : at + width]).view(kind).astype(np.int64)
    return pairs[:, 0], pairs[:, 1]


def _require_gzip(tile: memoryview, pixels: int) -> None:
    if not tile:
        return
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    most = pixels * _LARGEST_PIXEL_BYTES
    try:
        content = decompressor.decompress(tile, most + 1)
    except zlib.error as error:
        raise _Unsafe(f"gzip in a tile of {len(tile)} bytes is damaged") from error
    if len(content) > most or not decompressor.eof or decompressor.unused_data.strip(b"\0"):
        raise _Unsafe(
            f"gzip in a tile of {pixels} px: over {most} bytes, cut short, or more members"
        )


def _require_plio(tile: memoryview, pixels: int) -> None:
    """Refuse a wrong length, in word 3 or words 4 and 5: the C code reads up to it."""
    words = np.frombuffer(tile, ">i2", len(tile) // 2).astype(np.int64)
    if not len(words):
        return
    long = len(words) > _PLIO_HEAD_WORDS + 1 and words[2] <= 0
    length = (words[4] << 15) + words[3] if long else words[2] if len(words) > 2 else 0
    if not _PLIO_HEAD_WORDS <= length <= len(words) or (long and words[1] < 0):
        raise _Unsafe(f"a pixel list of {length} words in {len(words)}")


def _require_hcompress(tile: memoryview, pixels: int) -> None:
    """Refuse sides, which bytes 2 to 9 repeat, that are larger than the tile."""
    if not tile:
        return
    sides = np.frombuffer(tile[2:_HCOMPRESS_HEAD_BYTES].tobytes().ljust(8, b"\0"), ">i4")
    if min(sides) <= 0 or prod(sides.tolist()) > pixels:
        raise _Unsafe(f"an hcompress tile of {sides.tolist()} px; expected at most {pixels}")


_CHECKS: Mapping[str, Callable[[memoryview, int], None]] = {
    "GZIP_1": _require_gzip,
    "GZIP_2": _require_gzip,
    "PLIO_1": _require_plio,
    "HCOMPRESS_1": _require_hcompress,
}
