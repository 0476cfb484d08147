"""Writes masks as FITS: the header of the MaxiMask program, and one detector's mask as bytes."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streamfilter.contaminants import BY_CODE
from streamfilter.exposures.masking import Bits, MaskRules

if TYPE_CHECKING:
    from astropy.io import fits


def fill(
    header: "fits.Header",
    codes: Sequence[str],
    rules: MaskRules,
    *,
    priors: bool,
    thresholded: bool,
    single: bool,
) -> None:
    """Write the MaxiMask program's keywords into a header.

    Parameters
    ----------
    codes
        The engine's classes, in the order of its outputs.
    priors, thresholded, single
        Whether the prior was changed, whether thresholds were applied, and whether the classes
        are bits of one image.
    """
    now = datetime.now(UTC)
    header["MM_UTC"] = (now.ctime(), "MaxiMask UTC processing date")
    header["MM_LOC"] = (now.astimezone().ctime(), "MaxiMask LOC processing date")
    header["PRIORS"] = (_yes(priors), "Whether prior modification was applied or not")
    header["THRESH"] = (_yes(thresholded), "Whether thresholding was applied or not")
    header["SMASK"] = (_yes(single), "Whether binary power mask was applied or not")
    for number, row in enumerate(BY_CODE[code] for code in codes):
        header[row.code] = f"{row.code}: {row.meaning}"
        header[f"{row.code}_DIM"] = str(number)
        if priors:
            header[f"{row.code}_PR"] = (f"{rules.priors[row.code]:g}", f"{row.code} prior")
        if thresholded:
            limit = f"{rules.thresholds[row.code]:.2f}"
            header[f"{row.code}_TH"] = (limit, f"{row.code} threshold")
        if single:
            header[f"{row.code}_SM"] = (f"{row.bit:.1f}", f"{row.code} binary power value")


def packed(
    bits: Bits,
    codes: Sequence[str],
    rules: MaskRules,
    corner: tuple[int, int],
    words: Mapping[str, str],
) -> bytes:
    """Returns a FITS file: an empty primary HDU, then the mask in Rice-compressed tiles.

    Parameters
    ----------
    codes
        The engine's classes, in the order of its outputs.
    corner
        (y, x) of the mask's first pixel in the frame as stored; written as LTV1 and LTV2 (IRAF).
    words
        Further keywords of at most eight letters, with their values. Characters that FITS cannot
        hold become "?".
    """
    from astropy.io import fits

    hdu = fits.CompImageHDU(bits, name="MASK", compression_type="RICE_1")
    fill(hdu.header, codes, rules, priors=True, thresholded=True, single=True)
    hdu.header["LTV1"], hdu.header["LTV2"] = -float(corner[1]), -float(corner[0])
    for keyword, text in words.items():
        hdu.header[keyword] = "".join(c if " " <= c <= "~" else "?" for c in text)[:60]
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out)
    return out.getvalue()


def _yes(answer: bool) -> str:
    return "Yes" if answer else "No"
