"""Finds the card that is at fault in a FITS file that astropy cannot read.

astropy's own message ("ufunc 'multiply' did not contain a loop with signature ...") names neither
the keyword nor its value. This module reads the headers again, without astropy, and reports the
first card that breaks the standard (FITS standard 4.0, sections 4.2, 4.4, 7.3 and 10).
"""

import re
from collections.abc import Mapping
from math import prod

_BLOCK_BYTES, _CARD_BYTES = 2880, 80
_BITPIX = (8, 16, 32, 64, -32, -64)
_LARGEST = 2**63 - 1
# Characters of a value in a message, and of a column's name that fits on a card.
_SHOWN, _LONGEST_NAME = 40, 68
_MOST_HDUS, _MOST_CARDS = 10_000, 20_000

_REAL, _WHOLE, _TEXT, _LOGICAL = "a number", "a whole number", "a text", "T or F"
_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("BSCALE", "BZERO", "TSCAL#", "TZERO#", "ZSCALE", "ZZERO"), _REAL),
    **dict.fromkeys(
        (
            *("BITPIX", "NAXIS", "NAXIS#", "PCOUNT", "GCOUNT", "BLANK", "EXTVER", "EXTLEVEL"),
            *("TFIELDS", "TNULL#", "THEAP", "ZBITPIX", "ZNAXIS", "ZNAXIS#", "ZTILE#", "ZPCOUNT"),
            *("ZGCOUNT", "ZBLANK", "ZDITHER0"),
        ),
        _WHOLE,
    ),
    **dict.fromkeys(
        (
            *("XTENSION", "EXTNAME", "UTYPE", "TFORM#", "TTYPE#", "TDIM#", "ZCMPTYPE", "ZQUANTIZ"),
            *("ZNAME#", "ZTENSION", "CONTINUE"),
        ),
        _TEXT,
    ),
    **dict.fromkeys(("SIMPLE", "GROUPS", "EXTEND", "ZIMAGE", "ZSIMPLE", "ZEXTEND"), _LOGICAL),
}
"""The type of each keyword that says how pixels are stored; # stands for a number."""
_NUMBERED = re.compile(r"[1-9]\d*$")
_VALUE = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<logical>[TF])|(?P<whole>[+-]?\d+)"
    r"|(?P<real>[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?)|(?P<pair>\([^()/]*\)))?\s*(?:/.*)?$"
)
_FITTING: Mapping[str, tuple[str, ...]] = {
    _REAL: ("real", "whole"), _WHOLE: ("whole",), _TEXT: ("text",), _LOGICAL: ("logical",),
}  # fmt: skip

Cards = dict[str, str]
"""The text behind ``=``, by keyword; of several cards the first."""


def fault_in(content: bytes, only: int | None = None) -> str:
    """Returns what is at fault in a file, in words for an operator.

    Parameters
    ----------
    content
        The bytes of the file.
    only
        The number of the only HDU to check; None for all.

    Returns
    -------
    str
        The first fault. If there is none, what the last HDU announces.
    """
    position = 0
    summary = "no HDU that can be read"
    for number in range(_MOST_HDUS):
        if not content.startswith((b"SIMPLE  ", b"XTENSION"), position):
            break
        cards, start = cards_of(content, position)
        if only is None or number == only:
            if fault := fault_of(cards):
                return f"HDU {number}: {fault}"
            summary = f"HDU {number} is no image that can be read: {_announced(cards)}"
        step = _data_bytes(cards)
        if start is None or step is None or number == only:
            break
        position = start + step + -step % _BLOCK_BYTES
    return summary


def fault_of(cards: Cards) -> str | None:
    """Returns the first fault of a header; None if it has none."""
    for keyword, value in cards.items():
        kind = _KINDS.get(keyword) or _KINDS.get(_NUMBERED.sub("#", keyword))
        found = _VALUE.match(value)
        if found is None:
            return f"{keyword} cannot be read: {_shown(value)}; expected {kind or 'a value'}"
        if kind and found.lastgroup is None:
            return f"{keyword} has no value; expected {kind}"
        if kind and found.lastgroup not in _FITTING[kind]:
            return f"{keyword} is {_shown(value)}; expected {kind}"
        if kind is _WHOLE and abs(int(found["whole"])) > _LARGEST:
            return f"{keyword} is {_shown(value)}; expected {kind} of 64 bits"
    return _missing(cards) or _odd(cards)


def _missing(cards: Cards) -> str | None:
    """Returns words for the first required keyword that is missing; None if all are there."""
    wanted = ["BITPIX", "NAXIS", *_numbered("NAXIS", _whole(cards, "NAXIS"))]
    kind = _text(cards, "XTENSION")
    if kind in ("TABLE", "BINTABLE"):
        fields = _whole(cards, "TFIELDS")
        wanted += ["PCOUNT", "GCOUNT", "TFIELDS", *_numbered("TFORM", fields)]
        if "ZIMAGE" in cards:
            wanted += ["ZCMPTYPE", "ZBITPIX", "ZNAXIS"]
            wanted += [*_numbered("ZNAXIS", _whole(cards, "ZNAXIS")), *_numbered("TTYPE", fields)]
    elif kind is not None:
        wanted += ["PCOUNT", "GCOUNT"]
    gone = next((each for each in wanted if each not in cards), None)
    return None if gone is None else f"no {gone}"


def _odd(cards: Cards) -> str | None:
    """Returns the first value that is out of range; None if there is none."""
    if cards.get("SIMPLE", "T").split("/")[0].strip() != "T":
        return f"SIMPLE is {_shown(cards['SIMPLE'])}; expected T"
    if _VALUE.match(cards.get("GROUPS", "F"))["logical"] == "T":  # type: ignore[index]
        return "GROUPS is T: random groups; expected an image"
    for keyword in ("BITPIX", "ZBITPIX"):
        if keyword in cards and _whole(cards, keyword) not in _BITPIX:
            known = ", ".join(map(str, _BITPIX))
            return f"{keyword} is {_shown(cards[keyword])}; expected one of {known}"
    counted = ("NAXIS", "TFIELDS", "PCOUNT", "GCOUNT", "ZNAXIS", "THEAP")
    for keyword in cards:
        stem = _NUMBERED.sub("#", keyword)
        least = 1 if keyword in ("GCOUNT", "ZNAXIS") or stem in ("ZNAXIS#", "ZTILE#") else 0
        if (keyword in counted or stem in ("NAXIS#", "ZNAXIS#", "ZTILE#")) and _whole(
            cards, keyword
        ) < least:
            return f"{keyword} is {_shown(cards[keyword])}; expected {least} or more"
    return _odd_column(cards)


def _odd_column(cards: Cards) -> str | None:
    """Returns the first fault of a compressed image's columns; None if there is none."""
    names = {}
    for keyword in _numbered("TTYPE", _whole(cards, "TFIELDS")):
        name = _text(cards, keyword) or ""
        if len(name) >= _LONGEST_NAME:
            return f"{keyword} has {len(name)} characters; expected fewer than {_LONGEST_NAME}"
        names[name] = keyword.removeprefix("TTYPE")
    if "ZIMAGE" in cards:
        if "COMPRESSED_DATA" not in names:
            return f"no column COMPRESSED_DATA; there are {_shown(', '.join(names)) or 'none'}"
        sides = _numbered("ZTILE", _whole(cards, "ZNAXIS"))
        if gone := next((each for each in sides if each not in cards), None):
            return f"no {gone}"
        number = names["COMPRESSED_DATA"]
        for keyword in (f"TSCAL{number}", f"TZERO{number}", f"TDIM{number}", f"TNULL{number}"):
            if keyword in cards:
                value = _shown(cards[keyword])
                return f"{keyword} is {value}; expected none for compressed tiles"
    return None


def cards_of(content: bytes, start: int) -> tuple[Cards, int | None]:
    """Returns the cards of a header and the position of its data; None if it has no end."""
    cards: Cards = {}
    most = start + _MOST_CARDS * _CARD_BYTES
    for at in range(start, min(len(content) - _CARD_BYTES + 1, most), _CARD_BYTES):
        card = content[at : at + _CARD_BYTES].decode("latin-1")
        keyword = card[:8].rstrip()
        if keyword == "END":
            end = at + _CARD_BYTES
            return cards, end + (start - end) % _BLOCK_BYTES
        if card[8:9] == "=":
            cards.setdefault(keyword, card[9:])
        elif keyword == "CONTINUE":
            cards.setdefault(keyword, card[8:])
    return cards, None


def _data_bytes(cards: Cards) -> int | None:
    sides = [_whole(cards, each) for each in _numbered("NAXIS", _whole(cards, "NAXIS"))]
    groups, heap = _whole(cards, "GCOUNT", 1), _whole(cards, "PCOUNT")
    size = abs(_whole(cards, "BITPIX")) // 8 * groups * (heap + (prod(sides) if sides else 0))
    return size if size >= 0 else None


def _numbered(stem: str, count: int) -> list[str]:
    return [f"{stem}{i + 1}" for i in range(min(max(count, 0), 999))]


def _whole(cards: Cards, keyword: str, default: int = 0) -> int:
    found = _VALUE.match(cards.get(keyword, ""))
    return int(found["whole"]) if found and found["whole"] else default


def _text(cards: Cards, keyword: str) -> str | None:
    found = _VALUE.match(cards.get(keyword, ""))
    return found["text"][1:-1].rstrip() if found and found["text"] else None


def _shown(value: str) -> str:
    """Returns the value of a card without comment and padding, shortened."""
    value = " ".join(value.split())
    quoted = re.match(r"'((?:[^']|'')*)'", value)
    if quoted:
        value = f"'{quoted[1].rstrip()}'"
    elif not value.startswith("'"):
        value = value.partition("/")[0].rstrip()
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."


def _announced(cards: Cards) -> str:
    """Returns what a header announces about its data."""
    keywords = (
        *("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2"),
        *("ZCMPTYPE", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZQUANTIZ"),
        *("ZNAME1", "ZVAL1", "ZNAME2", "ZVAL2"),
    )
    said = [f"{each} {_shown(cards[each])}" for each in keywords if each in cards]
    return ", ".join(said) or "an empty header"
