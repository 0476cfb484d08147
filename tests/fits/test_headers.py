"""Headers that would keep astropy busy, and those that would not."""

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from streamfilter.fits.headers import HeaderImplausible, LimitExceeded, binning, checked_content


def file_of(*hdus: Any) -> bytes:
    """A FITS file of these HDUs."""
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    return buffer.getvalue()


def walk(content: bytes) -> bytes:
    """What astropy is given, with the limits of a frame."""
    return checked_content(content, most_hdus=2000, longest_header_bytes=800_000)


def header(*cards: str) -> bytes:
    """A header of these cards, and one block of data."""
    text = "".join(f"{card:80}" for card in ("SIMPLE  =                    T", *cards, "END"))
    return text.encode().ljust(-(-len(text) // 2880) * 2880) + bytes(2880)


IMAGE = np.arange(81, dtype=np.int16).reshape(9, 9)


@pytest.mark.parametrize(
    "hdus",
    [
        (fits.PrimaryHDU(IMAGE),),
        (fits.PrimaryHDU(), fits.CompImageHDU(IMAGE), fits.ImageHDU(IMAGE)),
        (fits.PrimaryHDU(), fits.BinTableHDU(np.zeros(3, [("a", "i4"), ("b", "f8")]))),
        (fits.GroupsHDU(fits.GroupData(IMAGE[None], parnames=["u"], pardata=[np.ones(1)])),),
    ],
    ids=["image", "compressed", "table", "groups"],
)
def test_files_of_every_kind_are_walked_to_their_end(hdus: tuple[Any, ...]) -> None:
    """The sizes are the standard's: what follows the data is found to be a header, or the end."""
    content = file_of(*hdus)
    assert content == walk(content)
    # astropy does not fill the last block of random groups.
    longer = content + bytes(-len(content) % 2880) + file_of(fits.PrimaryHDU())
    with pytest.raises(LimitExceeded, match=f"over {len(hdus)} HDUs"):
        checked_content(longer, most_hdus=len(hdus), longest_header_bytes=80_000)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        (["BITPIX  = 8", "NAXIS   = 2147483647"], "NAXIS 2147483647"),
        (["BITPIX  = 8", "naxis   = 2147483647"], "NAXIS 2147483647"),
        (["BITPIX  = 8", "NAXIS   = 0", "TFIELDS = 1000"], "TFIELDS 1000"),
        (["BITPIX  = 8", "NAXIS   = 0", "ZNAXIS  = 1000"], "ZNAXIS 1000"),
        (["BITPIX  = 8", "NAXIS   = 0", "NAXIS   = 5"], "stands twice"),
        (["BITPIX  = 8", "NAXIS   = 1.5"], "expected a whole number"),
        (["BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 9", "GCOUNT  = -1"], "negative"),
        (["BITPIX  = 8", "NAXIS   = 0", "END     = 1"], "END with something"),
        (["BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 0", "GROUPS  = =x"], "GROUPS cannot be read"),
    ],
)
def test_headers_that_announce_nonsense_are_told(cards: list[str], words: str) -> None:
    """Each of these would be a long loop, or a step backwards, in astropy."""
    with pytest.raises(HeaderImplausible, match=words):
        walk(header(*cards))


def test_very_many_axes_in_all_are_told() -> None:
    """Each header is within the standard; together they take minutes."""
    one = header("BITPIX  = 8", "NAXIS   = 999", *(f"NAXIS{n:<3}= 0" for n in range(1, 1000)))
    later = one.replace(b"SIMPLE  =                    T", b"XTENSION= 'IMAGE   '          ")
    assert one[:-2880] == walk(one[:-2880])
    with pytest.raises(HeaderImplausible, match="announces"):
        walk(one[:-2880] + 30 * later[:-2880])


@pytest.mark.parametrize(("cut", "whole"), [(2900, 2900), (6000, 5760), (9000, 9000)])
def test_of_a_file_that_is_cut_what_stands_before_is_read(cut: int, whole: int) -> None:
    """Data that are cut short stay in, for astropy to report; half a header is left out."""
    content = file_of(fits.PrimaryHDU(IMAGE), fits.ImageHDU(IMAGE))
    assert content[:whole] == walk(content[:cut])


def test_what_is_no_header_is_left_out() -> None:
    """astropy would look in it for one, and find some that nobody has checked."""
    content = file_of(fits.PrimaryHDU(IMAGE))
    hidden = header("BITPIX  = 8", "NAXIS   = 2147483647")
    assert content == walk(content + b"\xa5" * 2880 + hidden)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({}, (1, 1)),
        ({"CCDSUM": "1 2"}, (2, 1)),
        ({"CCDSUM": "2,2"}, (2, 2)),
        ({"XBINNING": 2, "YBINNING": 1}, (1, 2)),
        ({"XBINNING": "4", "YBINNING": 2.0}, (2, 4)),
        ({"XBINNING": 4}, (1, 1)),
        ({"CCDSUM": "1 x"}, (1, 1)),
        ({"CCDSUM": "0 1"}, (1, 1)),
        ({"CCDSUM": "1 99999"}, (1, 1)),
        ({"CCDSUM": "N/A", "XBINNING": 1, "YBINNING": 2}, (2, 1)),
    ],
)
def test_binning_is_what_either_keyword_says(
    cards: dict[str, object], expected: tuple[int, int]
) -> None:
    """Rows, columns; none where it cannot be. A file's first header speaks for the others."""
    empty = fits.Header()
    assert expected == binning(fits.Header(cards), empty) == binning(empty, fits.Header(cards))
