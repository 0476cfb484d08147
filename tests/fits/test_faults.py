"""Cards that are not as the standard has them are named, with what stands there."""

import gzip
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from foreign_words import foreign_words

from streamfilter.errors import MessageRejected
from streamfilter.exposures import frames
from streamfilter.exposures.records import FrameRefused
from streamfilter.fits.faults import fault_in
from streamfilter.fits.stamps import read_stamp
from streamfilter.limits import Limits

RAMP = np.arange(81 * 81, dtype=np.int16).reshape(81, 81)
KEYWORDS = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "GROUPS"),
    *("EXTEND", "BSCALE", "BZERO", "BLANK", "EXTNAME", "EXTVER", "UTYPE", "TFIELDS", "TFORM1"),
    *("TTYPE1", "TDIM1", "TSCAL1", "TZERO1", "TNULL1", "THEAP", "ZIMAGE", "ZCMPTYPE", "ZBITPIX"),
    *("ZNAXIS", "ZNAXIS1", "ZTILE1", "ZNAME1", "ZVAL1", "ZSCALE", "ZZERO", "ZBLANK", "ZQUANTIZ"),
    *("ZDITHER0", "CONTINUE", "SATURATE", "TRIMSEC", "CCDSUM", "MP_BAD", "ZSIMPLE"),
)
VALUES = (*("'1.0     '", "5", "T", "", "(1.0, 2.0)", "-1", "9" * 23, "??"),)


def file_of(*hdus: Any) -> bytes:
    out = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(out)
    return out.getvalue()


FILES = {
    "float": lambda: file_of(fits.PrimaryHDU(RAMP.astype(">f4"))),
    "scaled": lambda: file_of(fits.PrimaryHDU(RAMP.astype("uint16"))),
    "extension": lambda: file_of(fits.PrimaryHDU(), fits.ImageHDU(RAMP, name="SCI")),
    "rice": lambda: file_of(fits.PrimaryHDU(), fits.CompImageHDU(RAMP)),
    "quantised": lambda: file_of(
        fits.PrimaryHDU(), fits.CompImageHDU(RAMP.astype(">f4") + np.float32(0.5))
    ),
}


def card(keyword: str, value: str) -> bytes:
    return f"{keyword:<8}= {value}".ljust(80)[:80].encode()


def changed(content: bytes, keyword: str, value: str) -> Iterator[bytes]:
    """The file with this card in one of its headers, and without it where it was there."""
    position, heads = 0, []
    while content.startswith((b"SIMPLE  ", b"XTENSION"), position):
        end = content.index(b"END".ljust(80), position)
        header = fits.Header.fromstring(content[position:end])
        sides = [header[f"NAXIS{i + 1}"] for i in range(header["NAXIS"])]
        size = int(np.prod(sides)) if sides else 0
        size = abs(header["BITPIX"]) // 8 * (size + header.get("PCOUNT", 0))
        start = end + 80 + (position - end - 80) % 2880
        heads.append((position, end, start))
        position = start + size + -size % 2880
    for begin, end, start in heads:
        cards = [content[at : at + 80] for at in range(begin, end, 80)]
        there = [each for each in cards if each[:8].rstrip() == keyword.encode()]
        new = card(keyword, value)
        kinds = [[new if each in there else each for each in cards] + ([] if there else [new])]
        kinds += [[each for each in cards if each not in there]] if there else []
        for kind in kinds:
            header_bytes = b"".join(kind) + b"END".ljust(80)
            header_bytes += b" " * (-len(header_bytes) % 2880)
            yield content[:begin] + header_bytes + content[start:]


def said_of(content: bytes) -> Iterator[str]:
    """Whatever is said of the bytes as a stamp and as a frame."""
    try:
        read_stamp(content, Limits())
    except MessageRejected as rejected:
        yield rejected.detail
    for found in frames.read_frames(content, "f", frames.FrameRules()):
        if isinstance(found, FrameRefused):
            yield found.detail


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["float", "scaled", "rice"])
def test_no_card_is_answered_in_a_librarys_words(name: str) -> None:
    """Any keyword that says how pixels are stored, of any kind, or gone."""
    said: set[str] = set()
    content = FILES[name]()
    for keyword in KEYWORDS:
        for value in VALUES:
            for each in changed(content, keyword, value):
                said.update(said_of(each))
    assert len(said) > 50
    assert {} == {text: words for text in said if (words := foreign_words(text))}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "keyword", "value", "words"),
    [
        ("float", "BSCALE", "'1.0     '", "HDU 0: BSCALE is '1.0'; expected a number"),
        ("scaled", "BZERO", "'32768'", "HDU 0: BZERO is '32768'; expected a number"),
        ("float", "BSCALE", "", "HDU 0: BSCALE has no value; expected a number"),
        ("float", "BZERO", "(1.0, 2.0)", "HDU 0: BZERO is (1.0, 2.0); expected a number"),
        ("extension", "BSCALE", "T", ""),
        ("rice", "TSCAL1", "'1'", "HDU 1: TSCAL1 is '1'; expected a number"),
        ("rice", "BLANK", "'x'", "HDU 1: BLANK is 'x'; expected a whole number"),
        ("rice", "BLANK", "9" * 23, f"HDU 1: BLANK is {'9' * 23}; expected a whole number of 64"),
        ("extension", "EXTNAME", "??", "HDU 1: EXTNAME cannot be read: ??; expected a text"),
    ],
)
def test_a_card_is_named_with_what_stands_there(
    name: str, keyword: str, value: str, words: str
) -> None:
    """As CFITSIO names it; a logical value that is read as a number stays one."""
    content = next(changed(FILES[name](), keyword, value))
    if name == "extension":
        content = [*changed(FILES[name](), keyword, value)][1]
    if name == "rice":
        content = [*changed(FILES[name](), keyword, value)][-1]
    said = [*said_of(content)]
    assert [] == said if not words else all(words in each for each in said) and said


@pytest.mark.filterwarnings("ignore")
def test_one_detector_s_card_takes_no_other_with_it() -> None:
    """And is said of its own HDU."""
    hdus = (fits.ImageHDU(RAMP + n, name=f"CCD{n}") for n in range(3))
    content = file_of(fits.PrimaryHDU(), *hdus)
    odd = [*changed(content, "BSCALE", "'1'")][2]
    found = [*frames.read_frames(odd, "f", frames.FrameRules())]
    (refused,) = (each for each in found if isinstance(each, FrameRefused))
    assert "HDU 2: BSCALE is '1'; expected a number" == refused.detail
    assert 3 == len(found)


@pytest.mark.parametrize("content", [b"", b"SIMPLE  =", b"XTENSION" * 400, bytes(9000)])
def test_what_has_no_header_is_said_so(content: bytes) -> None:
    """The search itself never fails."""
    assert [] == foreign_words(fault_in(content))


@pytest.mark.parametrize("at", [20, 500])
def test_a_damaged_gzip_is_said_in_our_words(at: int) -> None:
    """zlib's number of its error helps nobody."""
    data = bytearray(gzip.compress(FILES["float"]()))
    data[at : at + 8] = b"\xff" * 8
    assert [] == [word for each in said_of(bytes(data)) for word in foreign_words(each)]
