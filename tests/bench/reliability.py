"""How well an engine's probabilities say what they mean, on painted alerts of a known prior."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from stamp_judges import BATCH, Maps, Masks, log_odds
from stamp_tables import SAID, Row

from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import OutputClass
from training.data import Planes, Reals
from training.examples import Batch, brushes, examples

BINS = 15
FLOOR = 0.01
"""Empty sky is nearly all pixels and surely nothing: with it every error is small."""
DRAWS = 400
SIDES_PX = {"ztf": 64, "lsst": 32}


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The pixels of one class whose truth is known, each under the set's own prior."""

    p: Maps
    truth: Masks
    stamp: npt.NDArray[np.intp]
    """Which stamp each pixel is of: the pixels of one contaminant are right or wrong together."""


def reliability_rows(
    engine: Engine, alerts: Sequence[Planes], hits: Sequence[Reals], count: int, seed: int
) -> list[Row]:
    """Calibration error and reliability of each class, by survey.

    Every alert of a survey is drawn as often as any other, and painted as in training.
    """
    rows = []
    for survey, side in SIDES_PX.items():
        members = [each for each in alerts if (each.survey == "ztf") == (survey == "ztf")]
        n = count * 64 // side  # of small stamps more, each of which shows less
        made = examples(members, np.full(len(members), 1 / len(members)), brushes(hits), n, side,
                        seed + side)  # fmt: skip
        found = inferred(engine, made)
        for index, row in enumerate(engine.manifest.classes):
            known = known_pixels(made, found, index, row, side)
            rows += class_rows(survey, row.code, known, n, np.random.default_rng(seed))
    return rows


def inferred(engine: Engine, made: Batch) -> npt.NDArray[np.float32]:
    """The engine's outputs, channels last."""
    parts = [
        engine.infer(made.images[i : i + BATCH].astype(np.float32).transpose(0, 3, 1, 2).copy())
        for i in range(0, len(made), BATCH)
    ]
    return np.concatenate(parts).transpose(0, 2, 3, 1)


def known_pixels(
    made: Batch, found: npt.NDArray[np.float32], index: int, row: OutputClass, side: int
) -> Known:
    """The pixels whose class is known, after the change to the prior that the painted set has."""
    inside = made.weight[..., index] > 0
    truth = made.target[..., index][inside] > 0
    share = np.clip(truth.mean(), 1e-9, 1 - 1e-9)
    trained = row.trained_at(side)
    change = np.log(share / (1 - share)) - np.log(trained / (1 - trained))
    p = 1 / (1 + np.exp(-(log_odds(found[..., index][inside]) + change)))
    return Known(p, truth, np.nonzero(inside)[0])


def class_rows(
    survey: str, code: str, known: Known, count: int, random: np.random.Generator
) -> list[Row]:
    """The errors of one class with 95 % of those of stamps drawn anew, and its curve."""
    stamps = len(np.unique(known.stamp[known.truth]))
    rows = []
    for floor in (0.0, FLOOR):
        sums = by_stamp(known, floor, count)
        drawn = random.multinomial(count, np.full(count, 1 / count), DRAWS)
        low, high = np.quantile([error(each, sums) for each in drawn], (0.025, 0.975))
        whole = error(np.ones(count), sums)
        rows.append(Row(f"calibration error, p >= {floor:g}", survey, code, stamps, whole,
                        float(low), float(high)))  # fmt: skip
    for low, high in SAID:
        inside = (known.p >= low) & ((known.p < high) | (high == 1))
        if len(np.unique(known.stamp[inside])) >= 5:
            true, said = float(known.truth[inside].mean()), float(known.p[inside].mean())
            # Not an interval: what was said, beside what is.
            rows.append(Row(f"said {low:g} to {high:g}", survey, code, int(inside.sum()), true,
                            said, said))  # fmt: skip
    return rows


def by_stamp(known: Known, floor: float, count: int) -> Maps:
    """Pixels, and those of the class less those that were said to be, by stamp and bin."""
    inside = known.p >= floor
    cell = np.minimum((known.p[inside] * BINS).astype(int), BINS - 1)
    cell += BINS * known.stamp[inside]
    off = known.truth[inside] - known.p[inside]
    sums = [np.bincount(cell, each, count * BINS) for each in (np.ones(off.size), off)]
    stacked: Maps = np.stack(sums).reshape(2, count, BINS).astype(np.float64)
    return stacked


def error(weights: npt.NDArray[np.generic], sums: Maps) -> float:
    """Expected calibration error of stamps that count so many times."""
    pixels, off = weights @ sums[0], weights @ sums[1]
    return float(np.abs(off).sum() / max(pixels.sum(), 1))
