"""What an exposure is for, by its header: trails mean nothing where they are meant.

A map has, by reason, conditions on FITS keywords: ``OBSTYPE=*FLAT*`` (``*`` and ``?`` stand for
any characters; case does not matter) or ``RATRACK!=0`` (a number that is not zero). One that holds
is enough. Sources of the maps: headers of LCO's own frames (``HDRVER LCOGT-HDR-1.4.0``); Rubin's
user guide of LSSTCam (observation types); the NOIRLab archive's observation types of DECam; the
ZTF Science Data System's image types; the ``IMAGETYP`` convention of MaxIm DL and SBFITSEXT 1.0.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from streamfilter.exposures.records import NotJudged, SetAside

_CONDITION = re.compile(r"([A-Za-z0-9_ -]+?)\s*(?:(!=)\s*0|=\s*(.+))")

Lookup = Callable[[str], object]
"""Returns a keyword's value; None where the header has none."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What one keyword must be."""

    keyword: str
    pattern: str | None
    """In capitals; None: any number but zero."""

    def holds(self, value: object) -> bool:
        """Whether a keyword's value is as expected; a missing one is not."""
        if self.pattern is not None:
            return value is not None and fnmatchcase(str(value).strip().upper(), self.pattern)
        try:
            return float(str(value)) != 0.0
        except ValueError:
            return False


PurposeMap = Mapping[NotJudged, tuple[Condition, ...]]


def condition(text: str) -> Condition:
    """Returns the condition that a text such as ``OBSTYPE=*FLAT*`` or ``RATRACK!=0`` states.

    Raises
    ------
    ValueError
        What was found, and what is expected.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r}: expected KEYWORD=value (with * and ?), or KEYWORD!=0")
    pattern = match[3]
    return Condition(match[1].upper(), None if pattern is None else pattern.strip().upper())


def purpose_map(conditions: Mapping[NotJudged, Iterable[str]]) -> PurposeMap:
    """Returns a map from the texts of its conditions; raises ValueError as ``condition`` does."""
    return {reason: tuple(map(condition, texts)) for reason, texts in conditions.items()}


def joined(*maps: PurposeMap) -> PurposeMap:
    """Returns a map with the conditions of all."""
    return {r: tuple(c for each in maps for c in each.get(r, ())) for r in NotJudged}


def set_aside(lookup: Lookup, chosen: PurposeMap) -> SetAside | None:
    """Returns why a frame's tracking is not to be judged; None where it is."""
    for reason, conditions in chosen.items():
        for each in conditions:
            value = lookup(each.keyword)
            if each.holds(value):
                return SetAside(reason, f"{each.keyword} is {value!r}")
    return None


def _each(keywords: Iterable[str], patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{keyword}={pattern}" for keyword in keywords for pattern in patterns)


_MOSAIC = {NotJudged.COLOUR_MOSAIC: ("BAYERPAT=[RGB][RGB][RGB][RGB]",)}
"""Pixels of three colours side by side make a star's shape."""
_TYPES = ("OBSTYPE", "IMAGETYP", "IMGTYPE", "OBS-TYPE", "FRAME", "EXPTYPE", "ESO DPR TYPE")
_MOVING = ("MINOR?PLANET", "MINORPLANET", "COMET", "ASTEROID", "MAJORPLANET", "NON?SIDEREAL")
_RATES = ("RATRACK!=0", "DECTRACK!=0")
_LCO_NON_SIDEREAL = (*_each(("SRCTYPE",), (*_MOVING, "SATELLITE")), *_RATES)

_MAPS: dict[str, Mapping[NotJudged, tuple[str, ...]]] = {
    "generic": {
        NotJudged.NON_SIDEREAL: (*_LCO_NON_SIDEREAL, *_each(_TYPES, _MOVING)),
        NotJudged.CALIBRATION: _each(
            _TYPES,
            ("*FLAT*", "*BIAS*", "*DARK*", "ZERO", "ZERO *", "ARC", "LAMP*", "*COMPARISON*"),
        ),
        NotJudged.FOCUS: _each(_TYPES, ("*FOCUS*", "CWFS")),
        **_MOSAIC,
    },
    "lco": {
        NotJudged.NON_SIDEREAL: _LCO_NON_SIDEREAL,
        NotJudged.CALIBRATION: _each(("OBSTYPE",), ("BIAS", "DARK", "SKYFLAT", "LAMPFLAT", "ARC")),
        NotJudged.FOCUS: ("OBSTYPE=AUTO_FOCUS", "OBSTYPE=FOCUS"),
        **_MOSAIC,
    },
    "decam": {
        NotJudged.CALIBRATION: _each(
            ("OBSTYPE",), ("ZERO", "BIAS", "DARK", "DOME FLAT", "SKY FLAT", "FLAT")
        ),
        NotJudged.FOCUS: ("OBSTYPE=FOCUS",),
    },
    "lsstcam": {
        # ACQ and ENGTEST track the sky.
        NotJudged.CALIBRATION: _each(
            ("IMGTYPE",),
            ("BIAS", "DARK", "FLAT", "SFLAT", "DFLAT", "CBP", "INDOME", "SPOT", "STUTTERED"),
        ),
        NotJudged.FOCUS: ("IMGTYPE=FOCUS", "IMGTYPE=CWFS"),
    },
    "ztf": {
        NotJudged.CALIBRATION: _each(("IMGTYPE",), ("BIAS", "DARK", "*FLAT*")),
        NotJudged.FOCUS: ("IMGTYPE=FOCUS", "IMGTYPE=GUIDE*"),
    },
    "none": {},
}
MAPS: Mapping[str, PurposeMap] = {name: purpose_map(texts) for name, texts in _MAPS.items()}
"""By name; ``generic`` fits most FITS files, ``none`` sets nothing aside."""
