"""Writes masks as FITS: whose they are, where they lie, and the MaxiMask program's own keywords."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamfilter.contaminants import BY_CODE
from streamfilter.exposures.masking import Bits, MaskRules
from streamfilter.exposures.records import Frame, FrameReason
from streamfilter.fits.headers import value_of

if TYPE_CHECKING:
    from astropy.io import fits

_OF_PIXELS = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|BUNIT"
    r"|DATAMIN|DATAMAX|Z?CHECKSUM|Z?DATASUM|ZHECKSUM|INHERIT|TFIELDS"
    r"|Z(IMAGE|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK|SCALE|ZERO"
    r"|SIMPLE|EXTEND|TENSION|PCOUNT|GCOUNT)|END|CONTINUE|COMMENT|HISTORY|"
)
"""Keywords of how an image is stored, which a mask has of its own, and notes on its making."""
_OF_THE_FILE = re.compile(r"EXTNAME|EXTVER|EXTLEVEL")
"""Keywords that the first HDU has for itself."""
_THIRD_AXIS = re.compile(
    r"WCSAXES[A-Z]?|(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CNAME|CROTA)3[A-Z]?"
    r"|(CD|PC)(3_\d|\d_3)[A-Z]?|P[VS]3_\d+[A-Z]?"
)
"""Keywords of an axis that a cube of classes uses for the classes."""
_OF_PARTS = re.compile(r"(DATA|TRIM|BIAS|AMP|ASEC)SEC[A-Z0-9]?")
"""Sections in pixels of the image as stored; in a part of it they name other pixels."""
_HDU = re.compile(r"\[[^\[\]]+\]$")
"""Which HDU was asked for, behind the name of a file."""
_SIDES = ("NAXIS2", "NAXIS1")
_REFERENCE_PIXEL = re.compile(r"CRPIX([12])[A-Z]?")


def fill(
    header: "fits.Header",
    codes: Sequence[str],
    rules: MaskRules,
    frame: Frame | None = None,
    *,
    priors: bool,
    thresholded: bool,
    single: bool,
    standing_alone: bool = False,
) -> None:
    """Write the keywords of a mask into a header.

    They are those of the image that say which it is and where it lies on the detector and on the
    sky, what it was made of, and the MaxiMask program's own. Of an image that was cut, CRPIX and
    LTV are moved, and sections of the stored image left out; CCDSEC and DETSEC stay, for they name
    the pixels with sky.

    Parameters
    ----------
    codes
        The classes that the mask tells, in the order of its planes.
    frame
        Whose mask it is; None writes the program's keywords alone.
    priors, thresholded, single
        Whether the prior was changed, whether thresholds were applied, and whether the classes
        are bits of one image.
    standing_alone
        Whether the first HDU's keywords are written too, where the image's own header lacks them.
    """
    own = _own(codes, rules, priors=priors, thresholded=thresholded, single=single)
    if frame is not None:
        own.extend(_source(frame))
        # astropy warns of long keywords and of damaged cards, which are left out.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for card in _belonging(frame, standing_alone=standing_alone, single=single):
                if card.keyword not in own:
                    header.append(card, end=True)
            _move(header, frame)
    header.update(own)


def packed(
    bits: Bits, codes: Sequence[str], rules: MaskRules, frame: Frame, words: Mapping[str, str]
) -> bytes:
    """Returns a FITS file: an empty primary HDU, then the mask in Rice-compressed tiles.

    Parameters
    ----------
    codes
        The classes that the mask tells.
    frame
        Whose mask it is; LTV1 and LTV2 (IRAF) say where its first pixel lies.
    words
        Further keywords of at most eight letters, with their values. Characters that FITS cannot
        hold become "?".
    """
    from astropy.io import fits

    hdu = fits.CompImageHDU(bits, name="MASK", compression_type="RICE_1")
    fill(
        hdu.header,
        codes,
        rules,
        frame,
        priors=True,
        thresholded=True,
        single=True,
        standing_alone=True,
    )
    hdu.header["EXTNAME"] = "MASK"
    for keyword in ("LTV1", "LTV2"):
        hdu.header.setdefault(keyword, 0.0)
    for keyword, text in words.items():
        hdu.header[keyword] = _in_ascii(text)[:60]
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out, output_verify="silentfix+ignore")
    return out.getvalue()


def without_mask(header: "fits.Header", reason: FrameReason) -> None:
    """Write into a header why there is no mask."""
    header["NOMASK"] = (str(reason), "Why the image was not searched")


def _own(
    codes: Sequence[str], rules: MaskRules, *, priors: bool, thresholded: bool, single: bool
) -> "fits.Header":
    """Returns the MaxiMask program's keywords, and which network decided about each class."""
    from astropy.io import fits

    header, now = fits.Header(), datetime.now(UTC)
    header["MM_UTC"] = (now.ctime(), "MaxiMask UTC processing date")
    header["MM_LOC"] = (now.astimezone().ctime(), "MaxiMask LOC processing date")
    header["PRIORS"] = (_yes(priors), "Whether prior modification was applied or not")
    header["THRESH"] = (_yes(thresholded), "Whether thresholding was applied or not")
    header["SMASK"] = (_yes(single), "Whether binary power mask was applied or not")
    for number, row in enumerate(BY_CODE[code] for code in codes):
        header[row.code] = f"{row.code}: {row.meaning}"
        header[f"{row.code}_DIM"] = str(number)
        if (network := rules.networks.get(row.code)) is not None:
            header[f"{row.code}_NET"] = (f"{network.name} {network.version}", f"{row.code} network")
            header[f"{row.code}_SHA"] = network.sha256  # of its ONNX; it leaves no room for words
        if priors:
            header[f"{row.code}_PR"] = (f"{rules.priors[row.code]:g}", f"{row.code} prior")
        if thresholded:
            limit = _threshold(rules.thresholds[row.code])
            header[f"{row.code}_TH"] = (limit, f"{row.code} threshold")
        if single:
            header[f"{row.code}_SM"] = (f"{row.bit:.1f}", f"{row.code} binary power value")
    return header


def _source(frame: Frame) -> "Iterator[tuple[str, str | int, str]]":
    """Yields keyword, value and comment of what a mask was made of."""
    path = urlsplit(frame.source).path if "://" in frame.source else frame.source
    name = _HDU.sub("", PurePosixPath(path).name)
    yield "SRCFILE", _in_ascii(name), "File of the image"
    yield "SRCHDU", frame.hdu, "Number of its HDU there, from 0"
    if frame.sha256:
        yield "SRCSHA", frame.sha256, "SHA-256 of that file"


def _belonging(frame: Frame, *, standing_alone: bool, single: bool) -> "Iterator[fits.Card]":
    """Yields copies of the image's cards that hold for its mask too."""
    of_file = frame.headers[1:] if standing_alone else ()
    named: set[str] = set()
    for header in (*frame.headers[:1], *of_file):
        before = frozenset(named)
        for card in header.cards:
            keyword = card.keyword
            if _OF_PIXELS.fullmatch(keyword) or (copied := _copied(card)) is None:
                continue
            if header in of_file and (keyword in before or _OF_THE_FILE.fullmatch(keyword)):
                continue
            if not single and _THIRD_AXIS.fullmatch(keyword):
                continue
            named.add(keyword)
            yield copied


def _copied(card: "fits.Card") -> "fits.Card | None":
    """Returns a card with the same value; None where it has none, or none that can be read."""
    from astropy.io import fits

    try:
        if isinstance(card.value, fits.card.Undefined):
            return None
        return fits.Card(card.keyword, card.value, card.comment)
    except (fits.VerifyError, ValueError):
        return None


def _move(header: "fits.Header", frame: Frame) -> None:
    """Move what is counted in pixels to where the mask's first one lies."""
    first = {"1": float(frame.corner[1]), "2": float(frame.corner[0])}
    stored = tuple(value_of(each, key) for each in frame.headers[:1] for key in _SIDES)
    if stored and stored != frame.image.shape:
        for keyword in [each for each in header if _OF_PARTS.fullmatch(each)]:
            del header[keyword]
    if not any(first.values()):
        return
    for keyword in list(header):
        if (found := _REFERENCE_PIXEL.fullmatch(keyword)) is not None:
            header[keyword] = _number(header, keyword) - first[found[1]]
    for axis, pixels in first.items():
        header[f"LTV{axis}"] = _number(header, f"LTV{axis}") - pixels


def _number(header: "fits.Header", keyword: str) -> float:
    """Returns a keyword's number; 0 where it is missing or none."""
    value = value_of(header, keyword, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _in_ascii(text: str) -> str:
    """Returns a text with "?" for what FITS cannot hold."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _threshold(value: float) -> str:
    """Returns two digits, as the MaxiMask program has them, or as many as the value needs."""
    short = f"{value:.2f}"
    return short if float(short) == value else f"{value:g}"


def _yes(answer: bool) -> str:
    return "Yes" if answer else "No"
