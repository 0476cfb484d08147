"""Which images of a FITS file are detectors', what they are called, and which masks are theirs."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from streamfilter.fits.headers import is_auxiliary, value_of

if TYPE_CHECKING:
    from astropy.io import fits

    ImageHdu: TypeAlias = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU

_NUMBER = re.compile(r"[_ -]?\d*")
_SMALLEST_SHARE = 1 / 20
"""Of the largest image's pixels, below which an image beside it is an overscan or a thumbnail."""


def is_image(hdu: object) -> bool:
    """Whether an HDU holds pixels, of however many axes."""
    from astropy.io import fits

    images = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
    return isinstance(hdu, images) and len(hdu.shape) > 0


def detectors(hdus: "fits.HDUList", most_pixels: int, further: Collection[str] = ()) -> list[int]:
    """Numbers of the HDUs that are a detector's.

    Parameters
    ----------
    most_pixels
        That an image may have; next to a larger one, whose header may be damaged, none is small.
    further
        Extensions that are no detector's, by their names or these names' last words.
    """
    found = [i for i in range(len(hdus)) if is_image(hdus[i]) and len(hdus[i].shape) > 1]
    found = [i for i in found if not is_auxiliary(hdus[i].name, further)]
    pixels = {i: prod(hdus[i].shape) for i in found}
    largest = max((size for size in pixels.values() if size <= most_pixels), default=0)
    least = _SMALLEST_SHARE * largest
    # A cube is no strip; it is a detector's, or its file is not what it should be.
    return [i for i in found if pixels[i] >= least or len(hdus[i].shape) > 2]


def names(hdus: "fits.HDUList", of: Collection[int]) -> list[str]:
    """CCDNUM, EXTNAME with EXTVER, or EXTNAME, whichever tells detectors apart, or the number.

    Parameters
    ----------
    of
        The HDUs that are a detector's.
    """
    chosen = [str(index) for index in range(len(hdus))]
    for keywords in (("CCDNUM",), ("EXTNAME", "EXTVER"), ("EXTNAME",)):
        found = {index: _words(hdus[index], keywords) for index in of}
        count = Counter(found.values())
        for index, name in found.items():
            chosen[index] = name if name and count[name] == 1 else chosen[index]
    # A name may be another HDU's number.
    apart = len({chosen[index] for index in of}) == len(of)
    return chosen if apart else [str(index) for index in range(len(hdus))]


def _words(hdu: "ImageHdu", keywords: tuple[str, ...]) -> str:
    """Values of keywords, joined; empty where one is missing."""
    words = [str(value_of(hdu.header, keyword, "")).strip() for keyword in keywords]
    return ",".join(words) if all(words) else ""


def masks(
    hdus: "fits.HDUList", of: Sequence[int], kinds: Collection[str]
) -> dict[int, list[tuple[str, int]]]:
    """By detector, the kind and number of each HDU that is its mask.

    EXTVER says which is whose where it tells both detectors and masks apart. Else the first mask is
    the first detector's, and so on; and of another number of masks the one that follows its image.

    Parameters
    ----------
    of
        The HDUs that are a detector's, in order.
    kinds
        Names of masks; a number may stand behind them (``BPM2``).
    """
    found: dict[int, list[tuple[str, int]]] = {index: [] for index in of}
    for kind in dict.fromkeys(kinds):
        named = [i for i in range(len(hdus)) if _is_numbered(hdus[i].name, kind.upper())]
        several = [i for i in named if is_image(hdus[i])]
        for index, its in _shared_out(hdus, of, several):
            found[index].append((kind, its))
    return found


def _is_numbered(name: str, kind: str) -> bool:
    return name.startswith(kind) and _NUMBER.fullmatch(name[len(kind) :]) is not None


def _shared_out(
    hdus: "fits.HDUList", of: Sequence[int], several: Sequence[int]
) -> Iterable[tuple[int, int]]:
    """Pairs of a detector and a mask of one kind."""
    if len(of) == 1:
        return [(of[0], each) for each in several]
    # A version that is not given is 1 (FITS standard 4.0, section 4.4.2.6).
    versions = [
        [str(value_of(hdus[i].header, "EXTVER", 1)) for i in each] for each in (of, several)
    ]
    if all(len(set(each)) == len(each) for each in versions):
        whose = dict(zip(versions[0], of, strict=True))
        return [(whose[v], i) for v, i in zip(versions[1], several, strict=True) if v in whose]
    if len(several) == len(of):
        return zip(of, several, strict=True)
    before = [max((i for i in of if i < each), default=-1) for each in several]
    firsts = dict(zip(reversed(before), reversed(several), strict=True))
    return [(index, each) for index, each in firsts.items() if index >= 0]
