"""Tile-compressed images that would take too much, or crash, when they are unpacked."""

import io
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures import frames
from streamfilter.exposures.records import Frame, FrameReason, FrameRefused
from streamfilter.fits.compressed_tiles import wrong_with
from streamfilter.fits.stamps import read_stamp
from streamfilter.limits import Limits

KINDS = ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS")


def compressed(kind: str, side: int = 16, dtype: str = "int16", tile: int = 16) -> bytearray:
    """A file of one compressed ramp."""
    image = np.arange(side * side, dtype=dtype).reshape(side, side) % 100
    hdu = fits.CompImageHDU(image, compression_type=kind, tile_shape=(tile, tile))
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return bytearray(buffer.getvalue())


def said(data: bytearray) -> str | None:
    """What is wrong with the first extension."""
    with warnings.catch_warnings(action="ignore"), fits.open(io.BytesIO(bytes(data))) as hdus:
        return wrong_with(hdus[1])


def card(data: bytearray, keyword: str, value: object) -> None:
    """Another value in the extension's first card of a keyword."""
    at = data.index(f"{keyword:8}=".encode(), 2880)
    data[at : at + 30] = f"{keyword:8}= {value!s:>20}".encode()


def table(data: bytearray) -> int:
    """Where the rows begin; the heap follows them."""
    end = data.index(b"END".ljust(80), 2880) + 80
    return end + -end % 2880


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
@pytest.mark.parametrize("tile", [16, 10])
def test_what_astropy_writes_is_sound(kind: str, dtype: str, tile: int) -> None:
    """Every algorithm, whole tiles and cut ones, quantised or not."""
    assert said(compressed(kind, dtype=dtype, tile=tile)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_larger_than_the_image_is_cut(kind: str) -> None:
    """Some writers give all images the tiles of the largest."""
    whole = compressed(kind)
    larger = bytearray(whole)
    for keyword in ("ZTILE1", "ZTILE2"):
        card(larger, keyword, 1000)
    (expected,), (found,) = (list(frames.read_frames(bytes(each), "x")) for each in (whole, larger))
    assert isinstance(expected, Frame)
    assert isinstance(found, Frame)
    np.testing.assert_array_equal(expected.image, found.image)


def bomb(data: bytearray) -> None:
    """A tile of 4 million pixels calls itself one of 256."""
    for keyword in ("ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2"):
        card(data, keyword, 16)


def overlap(data: bytearray) -> None:
    """Every tile is the whole heap."""
    at, size = table(data), int(data[table(data) + 3]) * 4
    data[at : at + 32] = (size.to_bytes(4, "big") + bytes(4)) * 4


def wide(data: bytearray) -> None:
    """Rice of 8 bytes a pixel: as much is read of a buffer that is half as large."""
    card(data, "ZVAL2", 8)


def beyond(data: bytearray) -> None:
    """The first tile lies behind the file."""
    data[table(data) + 4 : table(data) + 8] = b"\x7f\xff\xff\x00"


def long_list(data: bytearray) -> None:
    """A pixel list that is longer than its tile."""
    at = table(data) + 8
    data[at + 4 : at + 6] = b"\x7f\xff"


def large(data: bytearray) -> None:
    """Sides within the tile that are not the tile's."""
    at = table(data) + 8
    data[at + 2 : at + 6] = b"\x00\x01\x00\x00"


def many(data: bytearray) -> None:
    """More tiles than rows."""
    card(data, "ZTILE1", 1)


def endless(data: bytearray) -> None:
    """A tile longer than numbers go."""
    card(data, "ZTILE1", 2**62)


def nameless(data: bytearray) -> None:
    """An algorithm that nobody knows."""
    at = data.index(b"'RICE_1")
    data[at : at + 7] = b"'LICE_1"


@pytest.mark.parametrize(
    ("kind", "change", "tile"),
    [
        ("GZIP_1", overlap, 8), ("RICE_1", overlap, 8), ("RICE_1", wide, 16),
        ("RICE_1", beyond, 16), ("PLIO_1", long_list, 16), ("HCOMPRESS_1", large, 16),
        ("RICE_1", many, 16), ("RICE_1", nameless, 16), ("RICE_1", endless, 16),
    ],
)  # fmt: skip
def test_what_could_take_too_much_is_refused(
    kind: str, change: Callable[[bytearray], None], tile: int
) -> None:
    """Both readers refuse it before a tile is unpacked."""
    data = compressed(kind, tile=tile)
    assert said(data) is None
    change(data)
    assert said(data)
    with pytest.raises(MessageRejected) as caught:
        read_stamp(bytes(data), Limits())
    assert Reason.STAMP_MALFORMED == caught.value.reason
    (frame,) = frames.read_frames(bytes(data), "hostile")
    assert isinstance(frame, FrameRefused)


@pytest.mark.parametrize("kind", ["GZIP_1", "GZIP_2"])
def test_a_bomb_in_a_tile_does_not_unpack(kind: str) -> None:
    """Two thousand pixels a side that call themselves sixteen take no memory."""
    data: Any = compressed(kind, side=2048, tile=2048)
    bomb(data)
    tracemalloc.start()
    (frame,) = frames.read_frames(bytes(data), "bomb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(frame, FrameRefused)
    assert FrameReason.MALFORMED == frame.reason
    assert peak < 2**22
