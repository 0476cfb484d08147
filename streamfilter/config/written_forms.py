"""Forms that some texts of the settings must have."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from streamfilter.contaminants import CODES

_SECTION = re.compile(r"\[\d+:\d+,\d+:\d+\]")
_CONDITION = re.compile(r"[A-Za-z0-9_ -]+(!=\s*0|=.+)")


def _section(text: str) -> str:
    if text and not _SECTION.fullmatch(text):
        raise ValueError(f"{text!r}: expected [x1:x2,y1:y2] in pixels from 1, or nothing")
    return text


def _condition(text: str) -> str:
    if not _CONDITION.fullmatch(text.strip()):
        raise ValueError(f"{text!r}: expected KEYWORD=value (with * and ?), or KEYWORD!=0")
    return text


def _known(code: str) -> str:
    if code not in CODES:
        raise ValueError(f"no class {code}; the classes are {', '.join(CODES)}")
    return code


ImageSection = Annotated[str, AfterValidator(_section)]
"""``[x1:x2,y1:y2]`` of a FITS image, or nothing."""
HeaderCondition = Annotated[str, AfterValidator(_condition)]
"""What a FITS keyword must be: ``OBSTYPE=*FLAT*``, ``RATRACK!=0``."""
Class = Annotated[str, AfterValidator(_known)]
"""The code of a class of contaminants."""
NotJudged = Literal["non_sidereal", "calibration", "focus"]
"""Why the tracking of an exposure is not judged."""
