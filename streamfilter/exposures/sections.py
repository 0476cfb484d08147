"""Reads sections such as ``[17:528,1:520]``: which part of a frame holds sky, by its header."""

import re
from typing import TYPE_CHECKING

from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.refusal import Refusal
from streamfilter.fits.headers import value_of

if TYPE_CHECKING:
    from astropy.io import fits

_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")


def with_sky(
    header: "fits.Header", shape: tuple[int, ...], configured: str | None, *, believed: bool
) -> tuple[slice, slice, tuple[slice, slice] | None]:
    """Returns rows and columns with sky, and the overscan where the header names only that.

    A section that reaches beyond the image was written before the frame was trimmed. Then none
    of the header's sections is used.

    Parameters
    ----------
    configured
        The section to keep, whatever the header says.
    believed
        Whether the header's sections are used.

    Raises
    ------
    Refusal
        The configured section is not within the image.
    """
    whole = slice(0, shape[0]), slice(0, shape[1])
    if configured is not None:
        chosen = section(configured, shape)
        if chosen is None:
            raise Refusal(FrameReason.MALFORMED, f"section {configured} of {shape} px")
        return *chosen, None
    keys = ("TRIMSEC", "DATASEC", "BIASSEC")
    named = {key: value_of(header, key) for key in keys}
    sections = {key: section(str(text), shape) for key, text in named.items() if is_section(text)}
    if not believed or not sections or None in sections.values():
        return *whole, None
    kept = sections.get("TRIMSEC") or sections.get("DATASEC")
    return (*kept, None) if kept else (*whole, sections["BIASSEC"])


def is_section(text: object) -> bool:
    """Whether a text is a section ``[x1:x2,y1:y2]`` from 1; ``[0:0,0:0]`` means no section."""
    match = _SECTION.fullmatch(text.strip()) if isinstance(text, str) else None
    return match is not None and min(int(number) for number in match.groups()) >= 1


def section(text: str, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Returns rows and columns of ``[x1:x2,y1:y2]`` (from 1, inclusive); None if outside."""
    match = _SECTION.fullmatch(text.strip())
    if match is None:
        return None
    x1, x2, y1, y2 = (int(number) for number in match.groups())
    (left, right), (bottom, top) = sorted((x1, x2)), sorted((y1, y2))
    if left < 1 or bottom < 1 or right > shape[1] or top > shape[0]:
        return None
    return slice(bottom - 1, top), slice(left - 1, right)
