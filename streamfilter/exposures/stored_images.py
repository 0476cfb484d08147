"""Reads the pixels of an image from a FITS file, after it was checked that they are there."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.refusal import Refusal
from streamfilter.fits.compressed_tiles import wrong_with
from streamfilter.records import Image

if TYPE_CHECKING:
    from streamfilter.exposures.detector_images import ImageHdu

_HIGHEST_SKY = 2.0**20
"""Up to this value, float32 has steps of an eighth or finer."""


def require_sound(hdu: "ImageHdu") -> None:
    """Refuse an HDU without all its bytes, with damaged tiles, or of which nobody knows the scale.

    Raises
    ------
    Refusal
        What was found.
    """
    from astropy.io import fits

    for keyword in ("BSCALE", "BZERO", "BLANK"):
        header = hdu.header
        count = header.count(keyword) if keyword in header else 0
        values = {str(header[keyword, number]) for number in range(count)}
        if len(values) > 1:
            detail = f"{keyword} stands {count} times, as {' and '.join(sorted(values))[:60]}"
            raise Refusal(FrameReason.MALFORMED, detail)

    # A tile-compressed image keeps the table it came from in a private place.
    stored = getattr(hdu, "_bintable", None) or hdu
    info = stored.fileinfo()
    if info is None:
        return
    available = info["file"].size - info["datLoc"]
    if stored.size > available:
        detail = f"{stored.size} bytes of pixels announced, {max(available, 0)} are there"
        raise Refusal(FrameReason.TRUNCATED, detail)
    if isinstance(hdu, fits.CompImageHDU) and (wrong := wrong_with(hdu)):
        raise Refusal(FrameReason.MALFORMED, wrong)


def pixels_of(hdu: "ImageHdu", plane: int | None) -> npt.NDArray[np.number]:
    """Returns an image or one of its planes, 2-D and scaled."""
    if plane is None:
        pixels: npt.NDArray[np.number] = hdu.data
    else:
        place = np.unravel_index(plane - 1, hdu.shape[:-2])
        pixels = hdu.section[tuple(int(number) for number in place)]
    return pixels.reshape(hdu.shape[-2:])


def forget_data(hdu: "ImageHdu") -> None:
    """Give back the memory of an HDU's pixels; they are read anew when they are asked for."""
    if "data" in hdu.__dict__:
        del hdu.data


def offset_of(dtype: np.dtype[Any], sky: float | None) -> float:
    """Returns what to subtract before the change to float32: the sky if it is high, else 0."""
    wide = not np.can_cast(dtype, np.float32)
    return sky if wide and sky is not None and abs(sky) > _HIGHEST_SKY else 0.0


def as_float32(pixels: npt.NDArray[np.number], offset: float) -> Image:
    """Returns the pixels minus an offset, as float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not offset:
            return np.ascontiguousarray(pixels, dtype=np.float32)
        image = np.empty(pixels.shape, np.float32)
        np.subtract(pixels, offset, out=image, dtype=np.float64, casting="unsafe")
        return image
