"""Writes stamps as the surveys do: FITS of one image (ZTF, gzip) or of three (LSST).

Source: FITS Standard 4.0, sections 3 and 4.
"""

import gzip
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from streamfilter.records import Image, Plane
from streamfilter.simulate.contaminants import Truth
from streamfilter.simulate.sky import Triplet

Pixels = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Cards = dict[str, bool | int | float | str]

_BLOCK = 2880
_CARD = 80
_BITPIX = {4: -32, 8: -64}


def hdu(pixels: Pixels, cards: Cards, extension: str | None = None) -> bytes:
    """Returns one header-data unit; the primary one where no extension name is given."""
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    structure: Cards = {"SIMPLE": True} if extension is None else {"XTENSION": "IMAGE   "}
    structure |= {"BITPIX": _BITPIX[pixels.itemsize], "NAXIS": 2}
    structure |= {"NAXIS1": pixels.shape[1], "NAXIS2": pixels.shape[0]}
    if extension is not None:
        structure |= {"PCOUNT": 0, "GCOUNT": 1}
    header = [_card(key, value) for key, value in (structure | cards).items()]
    if extension is not None:
        header.append(_card("EXTNAME", extension))
    text = "".join([*header, "END".ljust(_CARD)]).encode("ascii")
    data = big_endian.tobytes()
    return _padded(text, b" ") + _padded(data, b"\0")


def ztf_stamp(image: Image, unit: str = "DN") -> bytes:
    """Returns FITS of one image in gzip."""
    return gzip.compress(hdu(image, {"BUNIT": unit}), compresslevel=6, mtime=0)


def lsst_stamp(triplet: Triplet, plane: Plane, cards: Cards) -> bytes:
    """Returns FITS with the image, its variance (``UNCERT``), the PSF (``PSFIMAGE``, float64)."""
    return b"".join(
        (
            hdu(triplet.images[plane], {"EXTEND": True, **cards}),
            hdu(triplet.variances[plane], {"UTYPE": "VarianceUncertainty"}, "UNCERT"),
            hdu(triplet.psfs[plane], {}, "PSFIMAGE"),
        )
    )


def at_the_edge(
    rng: np.random.Generator, triplet: Triplet, truth: Truth | None
) -> tuple[Triplet, Truth | None]:
    """Remove pixels of some stamps, as in ZTF: a stamp is cut, or blocks have no data.

    One stamp in fifty is cut at its top or right edge: it is no longer square, and the source
    stays on pixel (31, 31). One in ten has NaN at a saturated star or behind the chip's edge. The
    13 px at the centre always have data.
    """
    images = {plane: image.copy() for plane, image in triplet.images.items()}
    mask = None if truth is None else truth.mask.copy()
    side = images[Plane.SCIENCE].shape[0]
    kept = np.s_[:side, :side]
    draw = rng.random()
    if draw < 0.02:
        cut = int(rng.integers(side // 2 + 8, side))
        kept = np.s_[:cut, :side] if rng.random() < 0.5 else np.s_[:side, :cut]
    elif draw < 0.12:
        missing = _missing(rng, side)
        for image in images.values():
            image[missing] = np.nan
        if mask is not None:
            mask[missing] = False
    images = {plane: np.ascontiguousarray(image[kept]) for plane, image in images.items()}
    variances = {plane: np.ascontiguousarray(v[kept]) for plane, v in triplet.variances.items()}
    if truth is not None and mask is not None:
        truth = replace(truth, mask=mask[kept])
    return Triplet(images, variances, triplet.psfs), truth


def _missing(rng: np.random.Generator, side: int) -> npt.NDArray[np.bool_]:
    """Draws the pixels without data: blocks of 11 px (masked stars), or a strip along one side."""
    missing = np.zeros((side, side), dtype=bool)
    if rng.random() < 0.3:
        missing[side - int(rng.integers(2, side // 2 - 8)) :, :] = True
        return np.rot90(missing, int(rng.integers(0, 4)))
    for _ in range(rng.integers(1, 4)):
        row, column = rng.integers(0, side - 5, 2)
        missing[row : row + 11, column : column + 11] = True
    middle = slice(side // 2 - 6, side // 2 + 7)
    missing[middle, middle] = False
    return missing


def _card(key: str, value: bool | float | str) -> str:
    """Returns one header card in fixed format."""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = f"'{value:<8}'"
    else:
        text = f"{value:>20}" if isinstance(value, int) else f"{value:>20.13E}"
    return f"{key:<8}= {text}".ljust(_CARD)


def _padded(data: bytes, filler: bytes) -> bytes:
    return data + filler * (-len(data) % _BLOCK)
