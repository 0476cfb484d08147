"""Writes small PNG files: grey with transparency, or nothing but a hole where no data are."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_ALPHA = 4  # colour type of PNG: two bytes a pixel


def grey_png(grey: npt.NDArray[np.uint8], opaque: npt.NDArray[np.bool_]) -> bytes:
    """Returns a PNG (RFC 2083) of an image.

    Parameters
    ----------
    grey
        (height, width), 0 black, 255 white; the first row is drawn at the top.
    opaque
        The same shape; other pixels are left out.
    """
    height, width = grey.shape
    pixels = np.zeros((height, 1 + 2 * width), np.uint8)  # each row begins with its filter, none
    pixels[:, 1::2] = np.where(opaque, grey, 0)
    pixels[:, 2::2] = np.where(opaque, 255, 0)
    head = struct.pack(">IIBBBBB", width, height, 8, _GREY_ALPHA, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(pixels.tobytes(), 6)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
