"""Tunes dropping rules on labelled alerts, and measures that by cross-validation.

First the guards of the rules are chosen, then their limits, in steps: from a wide margin to none,
and then to the loss of single real alerts where artefacts are found for it.
Each step is measured on alerts on which it was not chosen. The steps have a fixed order, and the
first whose loss may be more than what was asked for ends them: so that the last one before it is
borne out needs no correction for the number of steps.

Source: Angelopoulos et al. 2021, arXiv:2110.01052 (fixed sequence testing).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamfilter.archive.guards import Guards, choose_guards, guarded
from streamfilter.archive.intervals import enough, upper_bound
from streamfilter.archive.rule_limits import STEPS, Mask, Reals, Step, choose, dropped
from streamfilter.errors import StreamfilterError
from streamfilter.records import Rule

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
    numbers: Mapping[str, Reals] = field(default_factory=dict)
    """By name, the alerts' own numbers that may guard rules, (N,), NaN where one has none."""

    @property
    def limits(self) -> Reals:
        """Limits in force, (R,)."""
        return np.array([rule.above for rule in self.rules])


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
    guards: Guards
    """The same, new conditions under which a rule keeps silent."""
    before: Measured
    """By the limits in force."""
    measured: Measured
    """By cross-validation: each alert by guards and limits that were chosen without its fold."""


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
    parts = list(_parts(sample))
    for step in STEPS:
        out = _cross_validated(sample, parts, step, lose_at_most)
        if upper_bound(int((out & sample.real).sum()), count) > lose_at_most:
            break
        best = step, out
    if best is None:
        raise ClaimNotBorneOut(_too_many(sample, out, lose_at_most))
    step, out = best
    guards = choose_guards(sample.rules, sample.values, sample.numbers, sample.real)
    values = guarded(sample.values, sample.numbers, guards)
    limits = choose(sample.rules, values, sample.real, step, lose_at_most)
    before = dropped(sample.values, sample.limits)
    return Tuned(
        sample, tuple(limits.tolist()), guards, _count(sample, before), _count(sample, out)
    )


def _parts(sample: Sample) -> Iterator[tuple[Mask, Reals]]:
    """Yields the alerts (N,) of each fold, and all numbers (R, N) by guards chosen without it."""
    for fold in np.unique(sample.folds):
        mine = sample.folds == fold
        numbers = {name: each[~mine] for name, each in sample.numbers.items()}
        guards = choose_guards(sample.rules, sample.values[:, ~mine], numbers, sample.real[~mine])
        yield mine, guarded(sample.values, sample.numbers, guards)


def _cross_validated(
    sample: Sample, parts: Sequence[tuple[Mask, Reals]], step: Step, lose_at_most: float
) -> Mask:
    """Returns which alerts limits drop that were chosen without their fold."""
    out = np.zeros(sample.real.size, bool)
    for mine, values in parts:
        limits = choose(sample.rules, values[:, ~mine], sample.real[~mine], step, lose_at_most)
        out[mine] = dropped(values[:, mine], limits)
    return out


def _count(sample: Sample, out: Mask) -> Measured:
    real = sample.real
    counts = (real, out & real, ~real, out & ~real)
    return Measured(*(int(each.sum()) for each in counts))


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
