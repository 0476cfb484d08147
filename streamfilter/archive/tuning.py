"""Chooses the limits of dropping rules on labelled alerts, and measures them by cross-validation.

The limit of a rule stands above the highest number of any real alert, by a margin. Steps go from a
wide margin to none, and then to the loss of single real alerts where artefacts are found for it.
Each step is measured on alerts on which it was not chosen. The steps have a fixed order, and the
first whose loss may be more than what was asked for ends them: so that the last one before it is
borne out needs no correction for the number of steps.

Source: Angelopoulos et al. 2021, arXiv:2110.01052 (fixed sequence testing).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.archive.intervals import enough, upper_bound
from streamfilter.errors import StreamfilterError
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
_NAMED = 5


class ClaimNotBorneOut(StreamfilterError):
    """The labels are too few for what was asked, or contradict it."""


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """Labelled alerts of one survey, and their numbers for its dropping rules."""

    survey: str
    rules: tuple[Rule, ...]
    """Those that drop."""
    keys: tuple[str, ...]
    """The alerts' identifiers."""
    values: Reals
    """(R, N): for each rule and alert the rule's statistic; ``SILENT`` where guard or conditions
    of the rule hold it back, or the stamp was not evaluated."""
    real: Mask
    """(N,): real, else an artefact."""
    folds: npt.NDArray[np.int64]
    """(N,): the fold of each; alerts of one object have the same."""

    @property
    def limits(self) -> Reals:
        """Limits in force, (R,)."""
        return np.array([rule.above for rule in self.rules])


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


@dataclass(frozen=True, slots=True)
class Measured:
    """What limits do to labelled alerts."""

    real: int
    lost: int
    """Real alerts that are dropped."""
    artefacts: int
    found: int
    """Artefacts that are dropped."""


@dataclass(frozen=True, eq=False, slots=True)
class Tuned:
    """Limits that were chosen, and what was measured."""

    sample: Sample
    limits: tuple[float, ...]
    """One for each dropping rule, chosen on all labels; ``NEVER``: it may drop nothing."""
    before: Measured
    """By the limits in force."""
    measured: Measured
    """By cross-validation: each alert by limits that were chosen without its fold."""


def tune(sample: Sample, lose_at_most: float) -> Tuned:
    """Returns limits by which at most a share of the real alerts is lost, with 95 % confidence.

    Parameters
    ----------
    lose_at_most
        In (0, 1).

    Raises
    ------
    ClaimNotBorneOut
        The labels are too few, or limits lose more of them; the message says how many would do.
    """
    if not sample.rules:
        raise ClaimNotBorneOut(
            f"{sample.survey}: no rule drops anything: there is no limit to tune"
        )
    count, needed = int(sample.real.sum()), enough(lose_at_most)
    assert needed is not None
    if count < needed:
        raise ClaimNotBorneOut(
            f"{sample.survey}: {count} real alerts are labelled, one of each object; even if none "
            f"of them is lost, the loss may be {percent(upper_bound(0, count))} (at 95 %), and at "
            f"most {percent(lose_at_most)} was asked for: {needed} are enough where none is lost"
        )
    best: tuple[Step, Mask] | None = None
    for step in STEPS:
        out = _cross_validated(sample, step, lose_at_most)
        if upper_bound(int((out & sample.real).sum()), count) > lose_at_most:
            break
        best = step, out
    if best is None:
        raise ClaimNotBorneOut(_too_many(sample, out, lose_at_most))
    step, out = best
    limits = choose(sample.rules, sample.values, sample.real, step, lose_at_most)
    before = dropped(sample.values, sample.limits)
    return Tuned(sample, tuple(limits.tolist()), _count(sample, before), _count(sample, out))


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
    lowest = np.maximum(lowest, _floors(rules))
    limits: Reals = np.maximum(lowest, now)
    for number in np.flatnonzero(lowest < now):
        limits = _moved(rules, limits, int(number), float(lowest[number]), artefacts)
    left = math.floor(step.spent * lose_at_most * reals.shape[1])
    # What is below the lowest limits costs nothing: few alerts are left to try moves on.
    reals, artefacts = (each[:, dropped(each, _floors(rules))] for each in (reals, artefacts))
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
    floors, moves = _floors(rules), []
    for number, rule in enumerate(rules):
        kept = reals[number, ~lost]
        top = float(kept.max(initial=SILENT))
        following = float(kept[kept < top].max(initial=SILENT))
        raised = limits[number] > now[number]
        for value in (top, following):  # the first costs nothing, where another rule moved
            lowest = max(_above(rule, value, 0.0), floors[number])
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


def _cross_validated(sample: Sample, step: Step, lose_at_most: float) -> Mask:
    """Returns which alerts limits drop that were chosen without their fold."""
    out = np.zeros(sample.real.size, bool)
    for fold in np.unique(sample.folds):
        mine = sample.folds == fold
        limits = choose(
            sample.rules, sample.values[:, ~mine], sample.real[~mine], step, lose_at_most
        )
        out[mine] = dropped(sample.values[:, mine], limits)
    return out


def _count(sample: Sample, out: Mask) -> Measured:
    real = sample.real
    counts = (real, out & real, ~real, out & ~real)
    return Measured(*(int(each.sum()) for each in counts))


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


def _floors(rules: tuple[Rule, ...]) -> Reals:
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


def percent(share: float) -> str:
    """Returns a share in per cent, to three digits."""
    return f"{100 * share:.3g} %"


def _too_many(sample: Sample, out: Mask, lose_at_most: float) -> str:
    lost = np.flatnonzero(out & sample.real)
    count = int(sample.real.sum())
    named = ", ".join(sample.keys[number] for number in lost[:_NAMED])
    needed = enough(lose_at_most, lost.size, count)
    at_most = percent(upper_bound(lost.size, count))
    words = (
        f"{needed} are enough if the loss stays at that"
        if needed
        else "no number of such labels bears that out"
    )
    return (
        f"{sample.survey}: the most careful limits lose {lost.size} of {count} real alerts on "
        f"which they were not chosen, so the loss may be {at_most} (at 95 %), and "
        f"at most {percent(lose_at_most)} was asked for: {words}. Look at {named}"
        f"{' and others' if lost.size > _NAMED else ''}: are they real?"
    )
