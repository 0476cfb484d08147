"""Real alerts for training: their planes, what is known of their cores, and which part they are in.

The parts are a fixed rule: exposures or visits for alerts, the index for cosmic-ray hits. No
exposure and no hit is in two parts.
"""

import csv
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.normalise import background, has_data
from streamfilter.alerts.packets import read_packets
from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Settings
from streamfilter.inference.cache import default_home
from streamfilter.records import FROM_FILES, Image, Message, Origin, Plane, Rejected, Stamp
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.service.assembly.alerts import schema_sources

Reals = npt.NDArray[np.float64]

GAIN = {"ztf": 6.2, "lsst": 1.65, "hsc": 3.0}
"""Electrons per unit of a stamp, to paint hits at the charge at which they were recorded."""
UNKNOWN_GAIN = 3.0
SKY_AWAY_PX = 8.0
"""The core itself tells nothing of the sign of a difference: there the source is bright in both."""
TRAIN_TENTHS, VALIDATION_TENTHS = 6, 7
"""Of ten tenths of the exposures: below the first training, below the second validation."""


class Part(StrEnum):
    """What an alert or a hit is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Core(StrEnum):
    """What is known of the alert itself, within 2 px of its place."""

    REAL = "real"
    """A known asteroid, or seen three times and scored as real: no contaminant."""
    LIKELY = "likely"
    """Scored as real, but by the score alone, which takes one hit in forty for real."""
    BOGUS = "bogus"
    """Scored as no source: some contaminant or residual."""
    DIPOLE = "dipole"
    """The survey's own fit says so: a subtraction residual."""
    UNKNOWN = "unknown"
    FLAGGED = "flagged"
    """The survey says that there are hits, and not where: no pixel is known."""
    NONE = "none"
    """There is no alert: a piece of a frame, all of whose pixels are known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planes:
    """One alert; the planes are in the survey's units, (height, width), NaN without data.

    ``difference`` is science minus template. ``positive`` says that the source brightened.
    """

    survey: str
    alert_id: str
    exposure: str
    part: Part
    core: Core
    science: Image
    template: Image | None = None
    difference: Image | None = None
    variance: Image | None = None
    positive: bool = True
    once: bool = False
    """Detected once only, at no star and no known asteroid."""
    score: float = float("nan")
    """The survey's deep-learning score or reliability; NaN without."""
    profile: Reals | None = None
    """Point-spread function of the exposure, of sum 1; None where no stamp of it has a star."""
    electrons_per_unit: float | None = None

    @property
    def gain(self) -> float:
        """Electrons per unit of the planes."""
        return self.electrons_per_unit or GAIN.get(self.survey, UNKNOWN_GAIN)


def part_of(key: str) -> Part:
    """Returns the part of an exposure, visit or hit: by the tenth that its CRC-32 falls into."""
    tenth = zlib.crc32(key.encode()) % 10
    if tenth < TRAIN_TENTHS:
        return Part.TRAIN
    return Part.VALIDATION if tenth < VALIDATION_TENTHS else Part.TEST


def samples(folder: Path) -> list[Planes]:
    """Returns every alert of the samples' tables, in the tables' order."""
    return [*_ztf(folder), *_ztf_with_history(folder), *_lsst(folder), *_lsst_packets(folder)]


def hits(folder: Path, part: Part) -> list[Reals]:
    """Returns the recorded cosmic-ray hits of a part, in electrons, one small image each."""
    return [hit for i, hit in enumerate(all_hits(folder)) if part_of(f"hit {i}") is part]


def all_hits(folder: Path) -> list[Reals]:
    """Returns every recorded hit in electrons, one small image each, in the file's order."""
    path = folder / "cosmic_rays" / "cosmic_rays_itl_2017.fits.gz"
    spans: dict[int, list[tuple[int, int, Reals]]] = {}
    with gzip.open(path) as file:
        for span in fits.getdata(file, 1):
            values = np.asarray(span["pixel_values"], np.float64)
            spans.setdefault(int(span["fp_id"]), []).append(
                (int(span["x0"]), int(span["y0"]), values)
            )
    images = []
    for parts in spans.values():
        left, top = min(p[0] for p in parts), min(p[1] for p in parts)
        shape = (max(p[1] for p in parts) - top + 1, max(p[0] + p[2].size for p in parts) - left)
        image = np.zeros(shape)
        for x, y, values in parts:
            image[y - top, x - left : x - left + values.size] += values
        images.append(image)
    return [image for image in images if image.max() > 0]


def difference_sign(science: Image, template: Image, difference: Image) -> int:
    """Returns -1 where a difference is template minus science, else 1.

    Away from the core the difference goes with the science stamp's own residual, which is science
    minus a linear fit of the template. Measured on 514 ZTF alerts whose packets state the sign.
    """
    usable = has_data(science) & has_data(template) & has_data(difference)
    y, x = np.indices(science.shape)
    middle = [(side - 1) / 2 for side in science.shape]
    usable &= np.hypot(y - middle[0], x - middle[1]) > SKY_AWAY_PX
    if np.count_nonzero(usable) < SKY_AWAY_PX**2:
        return 1
    s, t, d = (plane[usable].astype(np.float64) for plane in (science, template, difference))
    level = background(s)
    if level is not None:  # bright stars leave residuals that are no linear fit's
        faint = np.abs(s - level.level) < 20 * level.sigma
        s, t, d = s[faint], t[faint], d[faint]
    if s.size < 3 or np.ptp(d) == 0:
        return 1
    t = t - t.mean()
    residual = s - s.mean() - t * float(t @ s) / max(float(t @ t), 1e-30)
    return -1 if float(residual @ (d - d.mean())) < 0 else 1


# ---- the samples' tables --------------------------------------------------------------------


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(row: dict[str, str], key: str) -> float:
    return float(row.get(key) or "nan")


def _whole(image: Image) -> Image:
    """Returns a stamp without the padding of the archive file, which pads at the upper right."""
    valid = has_data(image)
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if rows.size == 0:
        return image
    return np.ascontiguousarray(image[: rows[-1] + 1, : columns[-1] + 1])


def _triplet(planes: Image, sign: int | None) -> tuple[Image, Image, Image]:
    """Returns science, template and difference of one shape; ``sign`` None: measure it."""
    height, width = _whole(planes[0]).shape
    science, template, difference = (
        np.ascontiguousarray(plane[:height, :width]) for plane in planes
    )
    turn = difference_sign(science, template, difference) if sign is None else sign
    return science, template, difference * np.float32(turn)


def _exposure(alert_id: str) -> str:
    """Returns the exposure of a ZTF alert: the first ten digits of its number are the time."""
    return alert_id[:10]


def _ztf(folder: Path) -> Iterator[Planes]:
    """Alerts without history: the score says what is known, and objects that came again."""
    rows = _table(folder / "stamps" / "ztf.csv")
    stamps = np.load(folder / "stamps" / "ztf.npz")["stamps"]
    times = Counter(row["objectId"] for row in rows)
    for row, planes in zip(rows, stamps, strict=True):
        rb, drb = _number(row, "rb"), _number(row, "drb")
        if drb <= 0.5 or (not drb > 0 and rb < 0.3):
            core = Core.BOGUS
        elif drb > 0.9 or (not drb > 0 and rb > 0.65):
            core = Core.REAL if times[row["objectId"]] > 1 else Core.LIKELY
        else:
            core = Core.UNKNOWN
        exposure = _exposure(row["id"])
        science, template, difference = _triplet(planes, None)
        yield Planes(
            survey="ztf", alert_id=row["id"], exposure=exposure, part=part_of(exposure), core=core,
            science=science, template=template, difference=difference,
            score=drb if drb > 0 else rb,
        )  # fmt: skip


def _ztf_with_history(folder: Path) -> Iterator[Planes]:
    """Alerts whose history is an independent truth; exposures with once-only bogus are test."""
    rows = _table(folder / "stamps" / "ztf_more.csv")
    stamps = np.load(folder / "stamps" / "ztf_more.npz")["stamps"]
    cores = [_by_history(row) for row in rows]
    # There are so few that all of them judge, and with them all alerts of their exposures.
    kept = {_exposure(row["id"]) for row, core in zip(rows, cores, strict=True) if core[1]}
    for row, planes, (core, once) in zip(rows, stamps, cores, strict=True):
        exposure, positive = _exposure(row["id"]), row["isdiffpos"] in ("t", "1")
        science, template, difference = _triplet(planes, 1 if positive else -1)
        yield Planes(
            survey="ztf", alert_id=row["id"], exposure=exposure,
            part=Part.TEST if exposure in kept else part_of(exposure),
            core=core, once=once, positive=positive,
            score=_number(row, "drb") if _number(row, "drb") > 0 else _number(row, "rb"),
            science=science, template=template, difference=difference,
        )  # fmt: skip


def _by_history(row: dict[str, str]) -> tuple[Core, bool]:
    """Returns what history and score say, and whether it is once only and scored as bogus."""
    away = _number(row, "ssdistnr")
    asteroid = 0 <= away < 3 and abs(_number(row, "magpsf") - _number(row, "ssmagnr")) < 1.5
    star = 0 <= _number(row, "distpsnr1") < 1.5
    drb, seen = _number(row, "drb"), _number(row, "ndethist")
    scored = drb > 0
    good = drb > 0.5 if scored else _number(row, "rb") > 0.5
    bad = drb <= 0.5 if scored else _number(row, "rb") < 0.3
    if (asteroid or seen >= 3) and good:
        return Core.REAL, False
    if bad:
        return Core.BOGUS, seen == 1 and not star and not asteroid
    return (Core.LIKELY if drb > 0.9 else Core.UNKNOWN), False


HSC_TEST_VISIT = "59160"
"""Ten of the twenty dipoles; the other visit's are learned from."""
LSSTCAM_VALIDATION_VISIT = "2025090500225"


def _lsst(folder: Path) -> Iterator[Planes]:
    """Alerts in LSST's schema. Most of low reliability show nothing at all: they teach nothing."""
    rows = _table(folder / "stamps" / "lsst_more.csv")
    archive = np.load(folder / "stamps" / "lsst_more.npz")
    for number, row in enumerate(rows):
        science, template, difference, variance = archive[f"s{number}"]
        reliability, flags, visit = _number(row, "reliability"), row["flags"].split(), row["visit"]
        if "isDipole" in flags:
            core = Core.DIPOLE
        elif "pixelFlags_cr" in flags:
            core = Core.FLAGGED
        elif reliability > 0.9:
            core = Core.REAL
        else:
            core = Core.UNKNOWN
        part = {HSC_TEST_VISIT: Part.TEST, LSSTCAM_VALIDATION_VISIT: Part.VALIDATION}
        yield Planes(
            survey="hsc" if row["set"] == "hsc" else "lsst", alert_id=row["id"], exposure=visit,
            part=part.get(visit, Part.TRAIN), core=core, science=science, template=template,
            difference=difference, variance=variance, positive="isNegative" not in flags,
            score=reliability,
        )  # fmt: skip


def _lsst_packets(folder: Path) -> Iterator[Planes]:
    """The single packets, of other months: test."""
    rows = json.loads((folder / "lsst" / "manifest.json").read_text())
    facts = {str(row["file"]).removesuffix(".bin"): row for row in rows}
    for planes in packets(sorted((folder / "lsst").glob("*.bin")), {}):
        row = facts.get(planes.alert_id)
        score = float("nan") if row is None else float(row["reliability"] or "nan")
        core = Core.REAL if score > 0.9 else Core.UNKNOWN
        if row is not None and row["pixelFlags_cr"]:
            core = Core.FLAGGED
        yield replace(planes, part=Part.TEST, core=core, score=score)


# ---- packets of any survey ------------------------------------------------------------------


def labels(table: Path) -> dict[str, tuple[str, Core]]:
    """Returns exposure and core by the alert's id, from a CSV of ``id,exposure,core``."""
    return {row["id"]: (row["exposure"], Core(row["core"] or "unknown")) for row in _table(table)}


def packets(paths: Sequence[Path], known: dict[str, tuple[str, Core]]) -> Iterator[Planes]:
    """Yields the alerts in packets of a survey that has a field map.

    Parameters
    ----------
    paths
        Files, folders or archives of packets.
    known
        Exposure and core by alert id. An alert that is not there is an exposure of its own and
        its core unknown: contaminants are painted on it, and its core teaches nothing.
    """
    settings = Settings()
    finder = SchemaFinder(schema_sources(settings, default_home(os.environ)), settings.limits)
    decoder = Decoder(finder, Surveys.load(), settings.limits)
    for number, packet in enumerate(read_packets(paths)):
        origin = Origin(packet.source, 0, number)
        alert = decoder.decode(Message(origin, packet.value, headers=FROM_FILES))
        if isinstance(alert, Rejected) or Plane.SCIENCE not in alert.stamps:
            continue
        exposure, core = known.get(alert.alert_id, (alert.alert_id, Core.UNKNOWN))
        stamps = alert.stamps
        yield Planes(
            survey=alert.survey, alert_id=alert.alert_id, exposure=exposure,
            part=part_of(exposure), core=core, science=stamps[Plane.SCIENCE].image,
            variance=stamps[Plane.SCIENCE].variance,
            template=_like(stamps, Plane.TEMPLATE), difference=_like(stamps, Plane.DIFFERENCE),
        )  # fmt: skip


def _like(stamps: Mapping[Plane, Stamp], plane: Plane) -> Image | None:
    """Returns a plane of the science stamp's shape; None where there is none."""
    other = stamps.get(plane)
    if other is None or other.image.shape != stamps[Plane.SCIENCE].image.shape:
        return None
    return other.image
