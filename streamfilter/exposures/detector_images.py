"""Finds the detectors' images in a FITS file, their names and their masks."""

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
"""Share of the largest image's pixels; a smaller image is an overscan or a thumbnail."""


def is_image(hdu: object) -> bool:
    """Whether an HDU holds an image, with any number of axes."""
    from astropy.io import fits

    image_types = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
    return isinstance(hdu, image_types) and len(hdu.shape) > 0


def detectors(hdus: "fits.HDUList", most_pixels: int, further: Collection[str] = ()) -> list[int]:
    """Returns the numbers of the HDUs that hold a detector's image.

    Parameters
    ----------
    most_pixels
        Limit for one image. A larger image may have a damaged header, so no other image counts
        as small beside it.
    further
        More names of extensions that hold no detector; the last word of a name is enough.
    """
    images = [i for i in range(len(hdus)) if is_image(hdus[i]) and len(hdus[i].shape) > 1]
    images = [i for i in images if not is_auxiliary(hdus[i].name, further)]
    pixels = {i: prod(hdus[i].shape) for i in images}
    largest = max((size for size in pixels.values() if size <= most_pixels), default=0)
    least = _SMALLEST_SHARE * largest
    # A cube is never a strip: it belongs to a detector, or the file is wrong and is refused later.
    return [i for i in images if pixels[i] >= least or len(hdus[i].shape) > 2]


def names(hdus: "fits.HDUList", detector_hdus: Collection[int]) -> list[str]:
    """Returns a name for each HDU, unique among the detectors.

    The name is CCDNUM, EXTNAME with EXTVER, or EXTNAME: the last of these that is unique. Where
    none is, the name is the HDU's number; HDUs of no detector also have their number.

    Parameters
    ----------
    detector_hdus
        Numbers of the HDUs that hold a detector's image.
    """
    chosen = [str(index) for index in range(len(hdus))]
    for keywords in (("CCDNUM",), ("EXTNAME", "EXTVER"), ("EXTNAME",)):
        labels = {index: _words(hdus[index], keywords) for index in detector_hdus}
        count = Counter(labels.values())
        for index, name in labels.items():
            chosen[index] = name if name and count[name] == 1 else chosen[index]
    # One HDU's name can equal another HDU's number.
    unique = len({chosen[index] for index in detector_hdus}) == len(detector_hdus)
    return chosen if unique else [str(index) for index in range(len(hdus))]


def _words(hdu: "ImageHdu", keywords: tuple[str, ...]) -> str:
    """Returns the values of keywords joined by commas; empty where one is missing."""
    words = [str(value_of(hdu.header, keyword, "")).strip() for keyword in keywords]
    return ",".join(words) if all(words) else ""


def masks(
    hdus: "fits.HDUList", detector_hdus: Sequence[int], kinds: Collection[str]
) -> dict[int, list[tuple[str, int]]]:
    """Returns the masks of each detector, as kind and HDU number.

    A lone detector has all masks. Otherwise masks are matched to detectors by EXTVER, where it is
    unique among both. Otherwise, with as many masks as detectors, they are matched in order. With
    another number of masks, each detector has the first mask that follows its image.

    Parameters
    ----------
    detector_hdus
        Numbers of the HDUs that hold a detector's image, in order.
    kinds
        Names of mask extensions; a number may follow the name (``BPM2``).
    """
    by_detector: dict[int, list[tuple[str, int]]] = {index: [] for index in detector_hdus}
    for kind in dict.fromkeys(kinds):
        named = [i for i in range(len(hdus)) if _is_numbered(hdus[i].name, kind.upper())]
        candidates = [i for i in named if is_image(hdus[i])]
        for index, mask in _matched(hdus, detector_hdus, candidates):
            by_detector[index].append((kind, mask))
    return by_detector


def _is_numbered(name: str, kind: str) -> bool:
    return name.startswith(kind) and _NUMBER.fullmatch(name[len(kind) :]) is not None


def _matched(
    hdus: "fits.HDUList", detector_hdus: Sequence[int], mask_hdus: Sequence[int]
) -> Iterable[tuple[int, int]]:
    """Returns pairs of a detector's HDU and a mask's HDU, for masks of one kind."""
    if len(detector_hdus) == 1:
        return [(detector_hdus[0], each) for each in mask_hdus]
    # A missing EXTVER means 1 (FITS standard 4.0, section 4.4.2.6).
    versions = [
        [str(value_of(hdus[i].header, "EXTVER", 1)) for i in each]
        for each in (detector_hdus, mask_hdus)
    ]
    if all(len(set(each)) == len(each) for each in versions):
        whose = dict(zip(versions[0], detector_hdus, strict=True))
        return [(whose[v], i) for v, i in zip(versions[1], mask_hdus, strict=True) if v in whose]
    if len(mask_hdus) == len(detector_hdus):
        return zip(detector_hdus, mask_hdus, strict=True)
    before = [max((i for i in detector_hdus if i < each), default=-1) for each in mask_hdus]
    firsts = dict(zip(reversed(before), reversed(mask_hdus), strict=True))
    return [(index, each) for index, each in firsts.items() if index >= 0]
