"""Limits of dropping rules, chosen on labelled alerts.

The limit of a rule stands above the highest number of any real alert, by a margin, and is lowered
only where that finds artefacts.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.records import Rule, Statistic

Reals = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SILENT = -1.0
"""Number of an alert on which a rule cannot speak, whatever its limit: it is below every limit."""
NEVER = math.inf
"""Limit of a rule that drops nothing."""
REACH = math.log(20)
"""Most by which a limit is lowered, as ``Step.margin`` counts: labels have few alerts of kinds that
are rare, and what loses those would not be noticed."""
_SURE = 1e-6  # a probability nearer to 1 is no limit: float32 has few numbers left
_FAINT = 1e-9
_DIGITS = 2  # of the odds, behind the first


@dataclass(frozen=True, slots=True)
class Step:
    """How careful limits are chosen."""

    margin: float
    """By which a limit is above the highest real alert: log-odds, of pixels the logarithm."""
    spent: float = 0.0
    """Share of the allowed loss that may be spent on the alerts at hand."""


STEPS = (
    *(Step(margin) for margin in (3.0, 2.0, 1.0, 0.5, 0.0)),
    *(Step(0.0, spent) for spent in (0.25, 0.5, 0.75, 1.0)),
)


def dropped(values: Reals, limits: Reals) -> Mask:
    """Returns which alerts (N,) some rule drops, by values (R, N) and limits (R,)."""
    return np.asarray((values > limits[:, None]).any(axis=0), bool)


def choose(
    rules: tuple[Rule, ...], values: Reals, real: Mask, step: Step, lose_at_most: float
) -> Reals:
    """Returns a limit for each rule (R,), by values (R, N) of labelled alerts.

    A limit is lowered only where that finds artefacts, no further than these need, and at most by
    ``REACH``.
    """
    reals, artefacts = values[:, real], values[:, ~real]
    now = np.array([rule.above for rule in rules])
    highest = reals.max(axis=1, initial=SILENT)
    lowest = np.array(
        [_above(rule, top, step.margin) for rule, top in zip(rules, highest, strict=True)]
    )
    lowest = np.maximum(lowest, floors(rules))
    limits: Reals = np.maximum(lowest, now)
    for number in np.flatnonzero(lowest < now):
        limits = _moved(rules, limits, int(number), float(lowest[number]), artefacts)
    left = math.floor(step.spent * lose_at_most * reals.shape[1])
    # What is below the lowest limits costs nothing: few alerts are left to try moves on.
    reals, artefacts = (each[:, dropped(each, floors(rules))] for each in (reals, artefacts))
    while step.spent:
        move = _best_move(rules, limits, now, reals, artefacts, left)
        if move is None:
            break
        limits, cost = move
        left -= cost
    return limits


def _moved(
    rules: tuple[Rule, ...], limits: Reals, number: int, lowest: float, artefacts: Reals
) -> Reals:
    """Returns limits of which one is lowered as far as the artefacts that it gains need."""
    lower = limits.copy()
    lower[number] = lowest
    gained = artefacts[number, dropped(artefacts, lower) & ~dropped(artefacts, limits)]
    if not gained.size:
        return limits
    lower[number] = max(lowest, _below(rules[number], float(gained.min())))
    return lower


def _best_move(
    rules: tuple[Rule, ...],
    limits: Reals,
    now: Reals,
    reals: Reals,
    artefacts: Reals,
    most: int,
) -> tuple[Reals, int] | None:
    """Returns limits that lose some more real alerts, and how many: those that find most for it."""
    lost, found = dropped(reals, limits), int(dropped(artefacts, limits).sum())
    bottoms, moves = floors(rules), []
    for number, rule in enumerate(rules):
        kept = reals[number, ~lost]
        top = float(kept.max(initial=SILENT))
        following = float(kept[kept < top].max(initial=SILENT))
        raised = limits[number] > now[number]
        for value in (top, following):  # the first costs nothing, where another rule moved
            lowest = max(_above(rule, value, 0.0), bottoms[number])
            if raised:
                lower = limits.copy()
                lower[number] = max(lowest, now[number])
            else:
                lower = _moved(rules, limits, number, lowest, artefacts)
            if lower[number] >= limits[number]:
                continue
            cost = int((dropped(reals, lower) & ~lost).sum())
            gain = int(dropped(artefacts, lower).sum()) - found
            if cost <= most and (gain > 0 or raised):
                moves.append((gain, raised, -cost, -number, lower))
    if not moves:
        return None
    _, _, spared, _, lower = max(moves, key=lambda move: move[:4])
    return lower, -spared


def _above(rule: Rule, value: float, margin: float) -> float:
    """Returns a short number at or above a value by a margin, or ``NEVER``."""
    if rule.statistic is Statistic.PIXELS:
        return float(math.ceil(max(value, 0.0) * math.exp(margin)))
    clipped = min(max(value, _FAINT), 1 - _FAINT)
    odds = clipped / (1 - clipped) * math.exp(margin)
    p = odds / (1 + odds)
    if 1 - p < _SURE:
        return NEVER
    scale = _scale(p)
    return math.ceil(p * scale) / scale


def floors(rules: tuple[Rule, ...]) -> Reals:
    """Returns the lowest limit that each rule may have, (R,)."""
    return np.array([_above(rule, rule.above, -REACH) for rule in rules])


def _below(rule: Rule, value: float) -> float:
    """Returns a short number below a value."""
    if rule.statistic is Statistic.PIXELS:
        return value - 1
    p = min(value, 1 - _SURE)
    scale = _scale(p)
    short = math.floor(p * scale) / scale
    return short if short < value else short - 1 / scale


def _scale(p: float) -> float:
    """Returns the power of ten that leaves three digits of the odds."""
    return float(10 ** (_DIGITS - math.floor(math.log10(max(min(p, 1 - p), _FAINT)))))
