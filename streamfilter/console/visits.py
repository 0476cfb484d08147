"""The newest exposures and their detectors, from the tracking topics; bounded in number."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isnan, nan
from struct import Struct
from typing import Any

from streamfilter.contaminants import BY_CODE, CODES

MOST = 200
TILES_OF = 40
"""Of so many of the newest exposures the tiles are held; LSSTCam has 20,000 in each."""
_MOST_DETECTORS = 512  # of one exposure; a message more is somebody's mistake
_MOST_TILES = 1024
_TILE = Struct("<iifH")  # y, x, probability (NaN: none), stars
_MOST_STARS = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Tile:
    """What was found in one tile: its first row and column, and what is in it."""

    y: int
    x: int
    probability: float | None
    """The network's of a tracking error; None where the tile was not put through."""
    stars: int


@dataclass(frozen=True, slots=True)
class Detector:
    """What is known of one detector of an exposure."""

    name: str
    decision: str
    probability: float | None
    elongation: float | None
    angle_deg: float | None
    stars: int | None
    why: str
    """Why it was not evaluated or not judged; empty where it was."""
    contaminated: float | None
    """Share of the pixels that a contaminant has; None where the frame was not searched."""
    coherence: float | None = None
    fwhm_px: float | None = None
    shares: tuple[tuple[str, float], ...] = ()
    """Of the pixels, by class of contaminant; those without any are left out."""
    mask: str = ""
    """File of the mask, where the worker wrote it; empty: none."""
    packed: bytes = b""

    def tiles(self) -> list[Tile]:
        """Returns the tiles, as far as they are held."""
        return [
            Tile(y, x, None if isnan(probability) else probability, stars)
            for y, x, probability, stars in _TILE.iter_unpack(self.packed)
        ]


@dataclass(frozen=True, slots=True)
class Visit:
    """One exposure; ``decision`` is empty until the exposure itself was judged."""

    instrument: str
    exposure_id: str
    decision: str = ""
    probability: float | None = None
    elongation: float | None = None
    revision: int = 0
    expected: int | None = None
    closing: str = ""
    filter: str = ""
    at: datetime | None = None
    """Middle of the exposure; where that is not known, when it was judged."""
    why: str = ""
    irregularities: tuple[str, ...] = ()
    detectors: Mapping[str, Detector] = field(default_factory=dict)


class Visits:
    """The newest exposures; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._visits: OrderedDict[tuple[str, str], Visit] = OrderedDict()

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record of the tracking topic, or of the contaminants'.

        Raises
        ------
        KeyError, ValueError, TypeError
            It is no such record.
        """
        key = (record["instrument"], record["exposure_id"])
        times = record["times"]
        with self._lock:
            visit = self._visits.get(key, Visit(*key))
            visit = replace(
                visit,
                filter=record["filter"] or visit.filter,
                at=visit.at or times["mid_exposure"] or times["judged"],
            )
            if record["kind"] == "detector":
                visit = _with_detector(visit, record)
            elif record["revision"] >= visit.revision:
                visit = _judged(visit, record)
            self._visits[key] = visit
            if len(self._visits) > MOST:
                self._visits.popitem(last=False)
            keys = list(self._visits)
            # The one that has just become old; and one that was old, where something came late.
            for old in {*keys[-TILES_OF - 1 : -TILES_OF], key} - {*keys[-TILES_OF:]}:
                self._forget_tiles(old)

    def _forget_tiles(self, key: tuple[str, str]) -> None:
        visit = self._visits[key]
        if any(each.packed for each in visit.detectors.values()):
            bare = {name: replace(each, packed=b"") for name, each in visit.detectors.items()}
            self._visits[key] = replace(visit, detectors=bare)

    def newest(self, most: int) -> list[Visit]:
        """Returns exposures, the newest first."""
        with self._lock:
            return list(self._visits.values())[::-1][:most]

    def at(self, instrument: str, exposure_id: str) -> Visit | None:
        """Returns one exposure; None where it is not held."""
        with self._lock:
            return self._visits.get((instrument, exposure_id))


def _with_detector(visit: Visit, record: Mapping[str, Any]) -> Visit:
    name = record["detector"]
    before = visit.detectors.get(name)
    if before is None and len(visit.detectors) >= _MOST_DETECTORS:
        return visit
    judgement, found = record["judgement"], record["contaminants"]
    shapes, packed = judgement["shapes"], _packed(record["tiles"])
    detector = Detector(
        name=name,
        decision=judgement["decision"],
        probability=judgement["probability"],
        elongation=shapes["elongation"],
        angle_deg=shapes["position_angle_deg"],
        stars=shapes["stars"],
        why=record["not_evaluated"] or record["not_judged"] or "",
        contaminated=_contaminated(found),
        coherence=shapes["coherence"],
        fwhm_px=shapes["fwhm_px"],
        shares=_shares(found),
        mask=(found or {}).get("mask") or "",
        packed=packed,
    )
    if before is not None:
        detector = _together(before, detector)
    return replace(visit, detectors={**visit.detectors, name: detector})


def _judged(visit: Visit, record: Mapping[str, Any]) -> Visit:
    judgement = record["judgement"]
    detectors = dict(visit.detectors)
    for row in record["detectors"][:_MOST_DETECTORS]:
        name, why = row["detector"], row["not_evaluated"] or row["not_judged"] or ""
        if name not in detectors:  # its own message says more, and may be older than the page
            bare = (row["decision"], row["probability"], None, None, None, why, None)
            detectors[name] = Detector(name, *bare)
    return replace(
        visit,
        decision=judgement["decision"],
        probability=judgement["probability"],
        elongation=judgement["shapes"]["elongation"],
        revision=record["revision"],
        expected=record["detectors_expected"],
        closing=record["closing"] or "",
        why=record["not_judged"] or "",
        irregularities=tuple(record["irregularities"]),
        detectors=detectors,
    )


def _together(before: Detector, now: Detector) -> Detector:
    """The newer record; what the frame has comes with another one than its tracking."""
    if now.contaminated is None:
        now = replace(now, contaminated=before.contaminated, shares=before.shares, mask=before.mask)
    return now if now.packed else replace(now, packed=before.packed)


def _contaminated(shares: Mapping[str, Any] | None) -> float | None:
    """Returns the share of the pixels that contaminants have; a pixel may have several."""
    return None if shares is None else float(min(1.0, sum(share for _, share in _shares(shares))))


def _shares(shares: Mapping[str, Any] | None) -> tuple[tuple[str, float], ...]:
    codes = [code for code in CODES if not BY_CODE[code].normal]
    found = ((code, float((shares or {}).get(code.lower()) or 0.0)) for code in codes)
    return tuple(each for each in found if each[1] > 0)


def _packed(tiles: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(
        _TILE.pack(
            each["y"],
            each["x"],
            nan if each["probability"] is None else min(max(each["probability"], 0.0), 1.0),
            min(max(each["stars"], 0), _MOST_STARS),
        )
        for each in tiles[:_MOST_TILES]
    )
