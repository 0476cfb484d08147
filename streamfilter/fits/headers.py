"""Checks of the headers of a FITS file, before astropy reads it.

astropy loops over as many axes and columns as a header says, and reads a header to its end, however
far away that is. Source: FITS standard 4.0, sections 4.4.1 and 7.3.1.
"""

import re
import warnings
from collections.abc import Collection
from math import prod
from typing import TYPE_CHECKING

from streamfilter.fits.faults import cards_of, fault_of

if TYPE_CHECKING:
    from astropy.io import fits

_BLOCK_BYTES, _CARD_BYTES = 2880, 80
_END = b"END".ljust(_CARD_BYTES)
_LIKE_END = re.compile(rb"END(?![A-Z0-9_-])")
# The standard's own bound, and one for all HDUs together: LSST's focal plane needs 6,000.
_MOST, _MOST_TOGETHER = 999, 20_000
_BINNINGS = range(1, 65)
_COUNTS = ("NAXIS", "ZNAXIS", "TFIELDS")
_AUXILIARY = re.compile(
    r"([A-Z]*MASK|BPM|MSK|DQ|FLAGS?|QUALITY|ERR|ERROR|VAR|VARIANCE|POISSON|RNOISE|UNC|UNCERT"
    r"|UNCERTAINTY|STDDEV|SIGMA|RMS|NOISE|READNOISE|WEIGHT|WGT|WHT|WT|IVAR|INVVAR|CONF|CONFIDENCE"
    r"|PSF|PSFIMAGE|BKG|BACKGROUND|SKY|BIAS|DARK|FLAT|OVERSCAN|EXP|EXPMAP|EXPOSURE|COVERAGE|AREA"
    r"|CON|CTX|D2IMARR|WCSDVARR|THUMBNAIL|GUIDE[RD]?)\d*"
)
"""Last words of the names of extensions whose images are no science images."""
_NO_WORD = re.compile(r"[^A-Z0-9]+")


class LimitExceeded(Exception):
    """A file has more HDUs or longer headers than its reader allows."""


class HeaderImplausible(Exception):
    """A header is damaged, or announces sizes that would keep astropy busy for ever."""


class _Unreadable(ValueError):
    """A card of which not even the kind can be told."""


def is_auxiliary(name: str, further: Collection[str] = ()) -> bool:
    """Returns whether an extension, such as ``VAR_POISSON`` or ``DQ_1``, is no science image.

    Parameters
    ----------
    further
        More names of such extensions, or the last words of their names.
    """
    name = name.strip().upper()
    words = [word for word in _NO_WORD.split(name) if word and not word.isdecimal()]
    last = words[-1] if words else ""
    if _AUXILIARY.fullmatch(last) is not None:
        return True
    called = {name, last, last.rstrip("0123456789")}
    return not called.isdisjoint(each.upper() for each in further)


def value_of(header: "fits.Header", keyword: str, default: object = None) -> object:
    """Returns a keyword's value; the default where it is missing or cannot be read."""
    try:
        return _value(header, keyword, default)
    except ValueError:
        return default


def readable(header: "fits.Header") -> dict[str, object]:
    """Returns the readable keywords, with the first value of each.

    A card that the standard does not allow, such as ``AIRMASS = NaN``, is left out.
    """
    from astropy.io import fits

    values: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for card in header.cards:
            try:
                values.setdefault(card.keyword, card.value)
            except fits.VerifyError:
                continue
    return values


def binning(*headers: "fits.Header") -> tuple[int, int]:
    """Returns the sensor's rows and columns per pixel, from the first header that has them.

    CCDSUM is ``columns rows`` (NOAO, LCO); XBINNING and YBINNING are SBIG's convention. Without
    any it is (1, 1).
    """
    for header in headers:
        together = str(value_of(header, "CCDSUM", "")).replace(",", " ").split()
        apart = [value_of(header, keyword) for keyword in ("XBINNING", "YBINNING")]
        for columns, rows in (pair for pair in (together, apart) if len(pair) == 2):
            try:
                found = float(str(rows)), float(str(columns))
            except ValueError:
                continue
            if all(number in _BINNINGS for number in found):
                return int(found[0]), int(found[1])
    return 1, 1


def checked_content(content: bytes, *, most_hdus: int, longest_header_bytes: int) -> bytes:
    """Returns the checked HDUs at the start of a file, which astropy may read.

    The rest is left out from the first header that is cut short, or the first bytes that are no
    header: astropy would search it for headers that nobody has checked.

    Raises
    ------
    LimitExceeded
        The file has more HDUs or a longer header than allowed.
    HeaderImplausible
        A header is damaged or announces impossible sizes.
    """
    position = count = together = 0
    while content.startswith((b"SIMPLE  ", b"XTENSION"), position):
        count += 1
        if count > most_hdus:
            raise LimitExceeded(f"over {most_hdus} HDUs")
        try:
            header, end = _header(content, position, longest_header_bytes)
            if header is None:
                break
            numbers = [_whole(header, keyword) for keyword in _COUNTS]
            size = _data_bytes(header)
        except _Unreadable as error:
            fault = fault_of(cards_of(content, position)[0])
            raise HeaderImplausible(f"HDU {count - 1}: {fault or error}") from error
        except ValueError as error:
            raise HeaderImplausible(f"HDU {count - 1}: {str(error)[:100]}") from error
        together += sum(numbers)
        if max(numbers) > _MOST or together > _MOST_TOGETHER or size < 0:
            said = ", ".join(f"{key} {n}" for key, n in zip(_COUNTS, numbers, strict=True))
            raise HeaderImplausible(f"HDU {count - 1} announces {said}; at most {_MOST} of each")
        position = end + size + -size % _BLOCK_BYTES
    return content if position >= len(content) else content[:position]


def _header(content: bytes, start: int, longest: int) -> "tuple[fits.Header | None, int]":
    """Returns the header at a position and where its data begin; None where it is cut short."""
    from astropy.io import fits

    end = _end(content, start, longest)
    if end is None:
        return None, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = fits.Header.fromstring(content[start:end])
        except Exception as error:  # astropy raises nearly anything for bytes that are no text
            raise ValueError("its cards are no text") from error
    end += _CARD_BYTES
    return header, end + (start - end) % _BLOCK_BYTES


def _end(content: bytes, start: int, longest: int) -> int | None:
    """Returns where the card END begins; None where the content ends before it."""
    for at in range(start, len(content), _CARD_BYTES):
        if at - start > longest:
            raise LimitExceeded(f"a header of over {longest} bytes")
        if _LIKE_END.match(content, at):
            # One part of astropy ends the header here, another part reads on.
            if content[at : at + _CARD_BYTES] not in (_END, _END.rstrip()):
                raise ValueError(f"an END with something behind it at byte {at}")
            return at
    return None


def _value(header: "fits.Header", keyword: str, default: object) -> object:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return header.get(keyword, default)
        except fits.VerifyError as error:
            raise _Unreadable(f"{keyword} cannot be read") from error


def _whole(header: "fits.Header", keyword: str, default: int = 0) -> int:
    """Returns a keyword's whole number; the default where the keyword is missing."""
    value = _value(header, keyword, default)
    # Of two cards astropy sometimes takes the first and sometimes the last.
    if keyword in header and header.count(keyword) > 1:
        raise ValueError(f"{keyword} stands twice")
    if not isinstance(value, int):
        raise ValueError(f"{keyword} is {str(value)[:20]!r}; expected a whole number")
    return int(value)


def _data_bytes(header: "fits.Header") -> int:
    """Returns the bytes of an HDU's data by the standard, not rounded up to blocks."""
    axes = min(_whole(header, "NAXIS"), _MOST)
    sides = [_whole(header, f"NAXIS{i + 1}") for i in range(axes)]
    if sides and sides[0] == 0 and _value(header, "GROUPS", False) is True:
        del sides[0]
    pixels = prod(sides) if sides else 0
    groups = _whole(header, "GCOUNT", 1)
    if min((groups, _whole(header, "PCOUNT"), *sides), default=0) < 0:
        raise ValueError("a negative size")
    return abs(_whole(header, "BITPIX")) // 8 * groups * (_whole(header, "PCOUNT") + pixels)
