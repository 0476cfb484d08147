"""Makes announcements of exposures from FITS headers, by the keywords of an instrument."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from streamfilter.exposures import frames
from streamfilter.exposures.frame_paths import stem
from streamfilter.exposures.records import Announced, FrameReference, detector_names

_MJD_UNIX = 40_587.0
"""The modified Julian date of 1 January 1970."""
_DAY_S = 86_400.0
_TAI_S = 37.0
_NOTHING = ("UNSPECIFIED", "UNKNOWN", "NONE", "N/A", "NA")
_CLOCK = re.compile(r"\d{1,2}:\d{2}:\d{2}(\.\d+)?")

_JOINED = "+"
"""Joins keywords whose values form one word together; no keyword contains it."""

Header = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keywords:
    """The FITS keywords for each field; of several keywords, the first in the header counts."""

    exposure_id: tuple[str, ...] = ("EXPID", "EXPNUM", "OBSID", "ORIGNAME")
    """Where a header has none of them, the file's name is used."""
    instrument: tuple[str, ...] = ("INSTRUME", "CAMERA", "TELESCOP")
    detector: tuple[str, ...] = ()
    """Looked up in the primary header where a file has several images. Where it has none of them,
    the names of the images are used. ``RAFTBAY+CCDSLOT``: two keywords make one name."""
    mid_exposure: tuple[str, ...] = ("DATE-AVG", "DATE-MID", "MJD-AVG", "MJD-MID")
    start: tuple[str, ...] = ("DATE-OBS", "DATE-BEG", "MJD-BEG", "MJD-OBS")
    """Used where the middle is missing: the start, to which half the exposure time is added."""
    start_time: tuple[str, ...] = ("UTSTART", "TIME-OBS", "UTC-OBS", "UT")
    """Time of day, used where the start is only a date."""
    exposure_time_s: tuple[str, ...] = ("EXPTIME", "EXPOSURE", "XPOSURE")
    filter: tuple[str, ...] = ("FILTER", "BAND", "FILTER1")


# Processed files have a detector number; raw files have RAFTBAY and CCDSLOT, as in `R22_S11`.
_LSST_DETECTORS = ("DETECTOR", "DET_NAME", "RAFTBAY+CCDSLOT")
# A science file is a quadrant (RCID, 0 to 63), a raw one a CCD with four of them.
_ZTF_DETECTORS = ("RCID", "CCDID+QID", "CCD_ID", "CCDID")
INSTRUMENTS: dict[str, Keywords] = {
    "default": Keywords(),
    "decam": Keywords(exposure_id=("EXPNUM",), detector=("CCDNUM",)),
    "lco": Keywords(exposure_id=("ORIGNAME", "REQNUM")),
    "lsstcam": Keywords(exposure_id=("EXPID", "OBSID"), detector=_LSST_DETECTORS),
    "ztf": Keywords(exposure_id=("EXPID", "FRAMENUM"), detector=_ZTF_DETECTORS),
}
"""Keywords by instrument; ``default`` fits most FITS files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnouncementOptions:
    """What the producer states instead of the headers; None means that the headers count."""

    instrument: str | None = None
    exposure_id: str | None = None
    """One for all files."""
    detectors_expected: int | None = None
    """None: counted over the files of an exposure."""
    keywords: Keywords = field(default_factory=Keywords)


@dataclass(frozen=True, slots=True)
class Readout:
    """The announcement that the headers of a file give."""

    path: str
    announced: Announced
    names: tuple[str, ...]
    """Names of the detectors in the file; one empty name where the file cannot be read."""

    @property
    def detectors(self) -> int:
        """Number of detectors in the file; 1 where it cannot be read."""
        return len(self.names)


def read_header(path: str, content: bytes, options: AnnouncementOptions) -> Readout:
    """Returns the announcement of a file; a damaged file is announced under its name.

    Parameters
    ----------
    path
        Its name is the exposure's where no keyword has one.
    """
    headers = frames.headers(content)
    primary, images = headers.primary, headers.detectors
    merged = {**(images[0] if images else {}), **primary}
    keys = options.keywords
    exposure_time_s = _number(merged, keys.exposure_time_s)
    announced = Announced(
        exposure_id=options.exposure_id or _text(merged, keys.exposure_id) or stem(path),
        instrument=options.instrument or _text(merged, keys.instrument) or "unknown",
        # An extension's keyword holds for that extension alone; the reader names it later.
        detector=_text(merged if len(images) == 1 else primary, keys.detector) or None,
        mid_exposure_unix_s=_mid_exposure(merged, keys, exposure_time_s),
        exposure_time_s=exposure_time_s,
        filter=_text(merged, keys.filter) or None,
    )
    return Readout(path, announced, headers.names or ("",))


def announcements(readouts: Sequence[Readout], options: AnnouncementOptions) -> list[Announced]:
    """Returns the files' announcements with the number of detectors of their exposure.

    Detectors of an exposure get distinct names. Where two files share one, or more files are to
    come, the file's name becomes the detector's, unless a keyword names the detector.

    Raises
    ------
    ValueError
        Two files still share a detector name; says which, and which options help.
    """
    exposures: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, each in enumerate(readouts):
        exposures[each.announced.instrument, each.announced.exposure_id].append(index)
    result = [each.announced for each in readouts]
    for indices in exposures.values():
        files = [readouts[index] for index in indices]
        here = sum(each.detectors for each in files)
        expected = options.detectors_expected or here
        # Files that come later may use the same detector names.
        if expected > here or _shared(files) is not None:
            files = _with_file_names(files)
        for index, each in zip(indices, files, strict=True):
            result[index] = replace(each.announced, detectors_expected=expected)
    return result


def _with_file_names(files: list[Readout]) -> list[Readout]:
    """Returns the files of an exposure, named after the file where no keyword has a detector."""
    named = [
        each
        if each.announced.detector
        else replace(each, announced=replace(each.announced, detector=stem(each.path)))
        for each in files
    ]
    if (shared := _shared(named)) is not None:
        name, first, second = shared
        raise ValueError(
            f"{first} and {second} are both detector {name!r} of the exposure "
            f"{files[0].announced.exposure_id!r}; name keywords that tell them apart: "
            "--keyword detector=KEYWORD or --keyword exposure_id=KEYWORD"
        )
    return named


def _shared(files: Sequence[Readout]) -> tuple[str, str, str] | None:
    """Returns a detector name that two files share, and these files; None if there is none."""
    file_of: dict[str, str] = {}
    for each in files:
        for name in detector_names(each.announced.detector, each.names):
            if name in file_of:
                return name, file_of[name], each.path
            file_of[name] = each.path
    return None


def refer(path: str, content: bytes) -> FrameReference:
    """Returns the reference to a file that a message carries instead of its content."""
    digest = hashlib.sha256(content).hexdigest()
    return FrameReference(Path(path).resolve().as_uri(), len(content), digest)


def with_keywords(keywords: Keywords, changes: Mapping[str, str]) -> Keywords:
    """Returns a copy of keywords in which some fields are read from other keywords.

    Parameters
    ----------
    changes
        New keyword by field name of ``Keywords``.

    Raises
    ------
    ValueError
        ``Keywords`` has no such field.
    """
    known = [each.name for each in fields(Keywords)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"no word {unknown[0]!r}; there are {', '.join(known)}")
    return replace(keywords, **{name: (keyword,) for name, keyword in changes.items()})


def _mid_exposure(header: Header, keys: Keywords, exposure_time_s: float | None) -> float | None:
    """Returns Unix seconds (UTC) of mid-exposure; None where no keyword has a date."""
    # TAI has been 37 s ahead of UTC since 2017.
    late_s = _TAI_S if _text(header, ("TIMESYS",)).upper() == "TAI" else 0.0
    for keyword in keys.mid_exposure:
        if (moment := _moment(header, keyword, "")) is not None:
            return moment - late_s
    clock = _text(header, keys.start_time)
    for keyword in keys.start:
        if (moment := _moment(header, keyword, clock)) is not None:
            return moment - late_s + (exposure_time_s or 0.0) / 2
    return None


def _moment(header: Header, keyword: str, clock: str) -> float | None:
    """Returns Unix seconds of an ISO or modified Julian date; a plain date needs ``clock``."""
    value = header.get(keyword)
    if keyword.startswith("MJD"):
        days = value if isinstance(value, int | float) and value > 0 else None
        return None if days is None else (days - _MJD_UNIX) * _DAY_S
    text = str(value or "").strip()
    if len(text) == len("2026-01-01"):
        if _CLOCK.fullmatch(clock) is None:
            return None
        text = f"{text}T{clock.zfill(8) if '.' not in clock else clock}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _text(header: Header, keywords: Sequence[str]) -> str:
    """Returns the value of the first keyword that has one; empty where none has."""
    for keyword in keywords:
        words = [_word(header.get(part)) for part in keyword.split(_JOINED)]
        if all(words):
            return "_".join(words)
    return ""


def _word(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return "" if text.upper() in _NOTHING else text


def _number(header: Header, keywords: Sequence[str]) -> float | None:
    for keyword in keywords:
        value = header.get(keyword)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None
