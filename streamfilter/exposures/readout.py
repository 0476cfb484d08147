"""Headers of FITS files to announcements of exposures, by the keywords of an instrument."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from streamfilter.exposures import frames
from streamfilter.exposures.records import Announced, FrameReference, detector_names

_FITS = re.compile(r"\.(fits?|fts)(\.(fz|gz))?$", re.IGNORECASE)
_MJD_UNIX = 40_587.0
"""The modified Julian date of 1 January 1970."""
_DAY_S = 86_400.0
_TAI_S = 37.0
_NOTHING = ("UNSPECIFIED", "UNKNOWN", "NONE", "N/A", "NA")
_CLOCK = re.compile(r"\d{1,2}:\d{2}:\d{2}(\.\d+)?")

_JOINED = "+"
"""Between keywords that say something together; no keyword has it."""

Header = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keywords:
    """Which keywords say what; the first that a header has counts."""

    exposure_id: tuple[str, ...] = ("EXPID", "EXPNUM", "OBSID", "ORIGNAME")
    """Without any the file's name is taken."""
    instrument: tuple[str, ...] = ("INSTRUME", "CAMERA", "TELESCOP")
    detector: tuple[str, ...] = ()
    """Of a file, in its primary header where it has several images; without any the file names
    its detectors. ``RAFTBAY+CCDSLOT`` are two keywords that name one together."""
    mid_exposure: tuple[str, ...] = ("DATE-AVG", "DATE-MID", "MJD-AVG", "MJD-MID")
    start: tuple[str, ...] = ("DATE-OBS", "DATE-BEG", "MJD-BEG", "MJD-OBS")
    """Where the middle is not given: the start, to which half the exposure time is added."""
    start_time: tuple[str, ...] = ("UTSTART", "TIME-OBS", "UTC-OBS", "UT")
    """Time of day, where the start is a date alone."""
    exposure_time_s: tuple[str, ...] = ("EXPTIME", "EXPOSURE", "XPOSURE")
    filter: tuple[str, ...] = ("FILTER", "BAND", "FILTER1")


# Raw files have RAFTBAY and CCDSLOT, of which `R22_S11` is made; what is made of them a number.
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

    path: str
    announced: Announced
    names: tuple[str, ...]
    """Of its detectors, as the file has them; one without a name where it cannot be read."""

    @property
    def detectors(self) -> int:
        """In the file; 1 where it cannot be read."""
        return len(self.names)


def read_header(path: str, content: bytes, given: Given) -> Readout:
    """What the headers of a file say; a damaged file is announced by its name.

    Parameters
    ----------
    path
        Names the exposure where no keyword does.
    """
    found = frames.headers(content)
    primary, images = found.primary, found.detectors
    merged = {**(images[0] if images else {}), **primary}
    keys = given.keywords
    exposure_time_s = _number(merged, keys.exposure_time_s)
    announced = Announced(
        exposure_id=given.exposure_id or _text(merged, keys.exposure_id) or _stem(path),
        instrument=given.instrument or _text(merged, keys.instrument) or "unknown",
        # What an extension says is true of it alone; it is named so when it is read.
        detector=_text(merged if len(images) == 1 else primary, keys.detector) or None,
        mid_exposure_unix_s=_mid_exposure(merged, keys, exposure_time_s),
        exposure_time_s=exposure_time_s,
        filter=_text(merged, keys.filter) or None,
    )
    return Readout(path, announced, found.names or ("",))


def expecting(readouts: Sequence[Readout], given: Given) -> list[Announced]:
    """Announcements that say how many detectors their exposure has, each under its own name.

    Where two files of an exposure would have a detector of one name, or more files are to come, and
    no keyword tells the detector, the files' names do.

    Raises
    ------
    ValueError
        Two files have a detector of one name all the same; which, and what to give.
    """
    exposures: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, each in enumerate(readouts):
        exposures[each.announced.instrument, each.announced.exposure_id].append(index)
    found = [each.announced for each in readouts]
    for indices in exposures.values():
        files = [readouts[index] for index in indices]
        here = sum(each.detectors for each in files)
        expected = given.detectors_expected or here
        # What files that are announced later call their detectors nobody knows.
        if expected > here or _shared(files) is not None:
            files = _told_apart(files)
        for index, each in zip(indices, files, strict=True):
            found[index] = replace(each.announced, detectors_expected=expected)
    return found


def _told_apart(files: list[Readout]) -> list[Readout]:
    """The files of an exposure, by their own names where no keyword says the detector."""
    named = [
        each
        if each.announced.detector
        else replace(each, announced=replace(each.announced, detector=_stem(each.path)))
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
    """A detector's name and the first two files that have it."""
    seen: dict[str, str] = {}
    for each in files:
        for name in detector_names(each.announced.detector, each.names):
            if name in seen:
                return name, seen[name], each.path
            seen[name] = each.path
    return None


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


def _stem(path: str) -> str:
    return _FITS.sub("", Path(path).name)
