"""Headers of FITS files to announcements of exposures, by the keywords of an instrument."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from streamfilter import frames
from streamfilter.exposure_records import Announced, FrameReference

_FITS = re.compile(r"\.(fits?|fts)(\.(fz|gz))?$", re.IGNORECASE)
_MJD_UNIX = 40_587.0
"""The modified Julian date of 1 January 1970."""
_DAY_S = 86_400.0
_TAI_S = 37.0
_NOTHING = ("UNSPECIFIED", "UNKNOWN", "NONE", "N/A", "NA")
_CLOCK = re.compile(r"\d{1,2}:\d{2}:\d{2}(\.\d+)?")

Header = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keywords:
    """Which keywords say what; the first that a header has counts."""

    exposure_id: tuple[str, ...] = ("EXPID", "EXPNUM", "OBSID", "ORIGNAME")
    """Without any the file's name is taken."""
    instrument: tuple[str, ...] = ("INSTRUME", "CAMERA", "TELESCOP")
    detector: tuple[str, ...] = ()
    """Of files with one detector each; without any the file names its detectors."""
    mid_exposure: tuple[str, ...] = ("DATE-AVG", "DATE-MID", "MJD-AVG", "MJD-MID")
    start: tuple[str, ...] = ("DATE-OBS", "DATE-BEG", "MJD-BEG", "MJD-OBS")
    """Where the middle is not given: the start, to which half the exposure time is added."""
    start_time: tuple[str, ...] = ("UTSTART", "TIME-OBS", "UTC-OBS", "UT")
    """Time of day, where the start is a date alone."""
    exposure_time_s: tuple[str, ...] = ("EXPTIME", "EXPOSURE", "XPOSURE")
    filter: tuple[str, ...] = ("FILTER", "BAND", "FILTER1")


INSTRUMENTS: dict[str, Keywords] = {
    "default": Keywords(),
    "decam": Keywords(exposure_id=("EXPNUM",), detector=("CCDNUM",)),
    "lco": Keywords(exposure_id=("ORIGNAME", "REQNUM")),
    "lsstcam": Keywords(exposure_id=("EXPID", "OBSID"), detector=("DETECTOR", "DET_NAME")),
    "ztf": Keywords(exposure_id=("EXPID", "FRAMENUM"), detector=("CCDID", "CCD_ID")),
}
"""Field maps by name; ``default`` fits most FITS files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What the producer says in place of headers; None leaves it to them."""

    instrument: str | None = None
    exposure_id: str | None = None
    """All files are of one exposure."""
    detectors_expected: int | None = None
    """Counted over the files of an exposure otherwise."""
    keywords: Keywords = field(default_factory=Keywords)


@dataclass(frozen=True, slots=True)
class Readout:
    """What the headers of a file say."""

    announced: Announced
    detectors: int
    """In the file; 1 where it cannot be read."""


def read(path: str, content: bytes, given: Given) -> Readout:
    """What the headers of a file say; a damaged file is announced by its name.

    Parameters
    ----------
    path
        Names the exposure where no keyword does.
    """
    primary, images = frames.headers(content)
    merged = {**(images[0] if images else {}), **primary}
    keys = given.keywords
    exposure_time_s = _number(merged, keys.exposure_time_s)
    announced = Announced(
        exposure_id=given.exposure_id or _text(merged, keys.exposure_id) or _stem(path),
        instrument=given.instrument or _text(merged, keys.instrument) or "unknown",
        # Of several images each has its own keyword, which names it when it is read.
        detector=(_text(merged, keys.detector) or None) if len(images) == 1 else None,
        mid_exposure_unix_s=_mid_exposure(merged, keys, exposure_time_s),
        exposure_time_s=exposure_time_s,
        filter=_text(merged, keys.filter) or None,
    )
    return Readout(announced, max(len(images), 1))


def expecting(readouts: Sequence[Readout], given: Given) -> list[Announced]:
    """Announcements that say how many detectors their exposure has."""
    counts: Counter[tuple[str, str]] = Counter()
    for each in readouts:
        counts[each.announced.instrument, each.announced.exposure_id] += each.detectors
    return [
        replace(
            each.announced,
            detectors_expected=given.detectors_expected
            or counts[each.announced.instrument, each.announced.exposure_id],
        )
        for each in readouts
    ]


def refer(path: str, content: bytes) -> FrameReference:
    """A file as a message refers to it."""
    digest = hashlib.sha256(content).hexdigest()
    return FrameReference(Path(path).resolve().as_uri(), len(content), digest)


def with_keywords(keywords: Keywords, changes: Mapping[str, str]) -> Keywords:
    """A field map with some words read from other keywords.

    Parameters
    ----------
    changes
        Keyword by word of ``Keywords``.

    Raises
    ------
    ValueError
        There is no such word.
    """
    known = [each.name for each in fields(Keywords)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"no word {unknown[0]!r}; there are {', '.join(known)}")
    return replace(keywords, **{name: (keyword,) for name, keyword in changes.items()})


def _mid_exposure(header: Header, keys: Keywords, exposure_time_s: float | None) -> float | None:
    """Unix seconds (UTC) of the middle; None where no keyword dates it."""
    # Leap seconds have stood at 37 since 2017.
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
    """Unix seconds of an ISO date or a modified Julian date; a date alone needs a clock."""
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
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _text(header: Header, keywords: Sequence[str]) -> str:
    """The first keyword's value that says something; empty where none does."""
    for keyword in keywords:
        value = header.get(keyword)
        text = str(value).strip() if isinstance(value, str | int | float) else ""
        if text and text.upper() not in _NOTHING:
            return text
    return ""


def _number(header: Header, keywords: Sequence[str]) -> float | None:
    for keyword in keywords:
        value = header.get(keyword)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None


def _stem(path: str) -> str:
    return _FITS.sub("", Path(path).name)
