"""Chooses conditions on the alert's own numbers under which a dropping rule keeps silent.

A guard spares real alerts that resemble artefacts, such as those of a place with a history, so that
the limit of the rule can stay where it finds something. It is taken where that finds more labelled
artefacts than limits alone, and what it costs is measured like them: on alerts on which neither was
chosen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from streamfilter.archive.rule_limits import SILENT, Mask, Reals, Step, choose, dropped, floors
from streamfilter.records import Condition, Rule

MOST_CUTS = 12
"""Numbers that are tried of a field: more would only follow the labels at hand."""
WORTH, WORTH_SHARE = 3, 0.02
"""Artefacts, and their share of the labelled ones, that a guard has to find more: what finds fewer
may do so by chance."""
_STEP = Step(0.0)
"""Limits by which guards are compared: what is below the lowest ones plays no part in these."""
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Guard:
    """A dropping rule keeps silent where a number of the alert is at least, or at most, so much."""

    field: str
    """As the survey's field map names it."""
    condition: Condition

    def holds(self, values: Reals) -> Mask:
        """Returns where it holds, (N,); nowhere where there is no number (NaN)."""
        low, high = self.condition.at_least, self.condition.at_most
        found = np.ones(values.shape, bool) if low is None else values >= low
        return np.asarray(found if high is None else found & (values <= high), bool)

    def added_to(self, rule: Rule) -> Rule:
        """Returns the rule with this guard."""
        return replace(rule, unless={**rule.unless, self.field: self.condition})

    def __str__(self) -> str:
        """Returns it in words."""
        if self.condition.at_least is not None:
            return f"{self.field} at least {self.condition.at_least:g}"
        return f"{self.field} at most {self.condition.at_most:g}"


Guards = tuple[Guard | None, ...]
"""One for each dropping rule, or none."""


def guarded(values: Reals, numbers: Mapping[str, Reals], guards: Guards) -> Reals:
    """Returns numbers of rules (R, N), ``SILENT`` where a guard holds."""
    found = values
    for number, guard in enumerate(guards):
        if guard is not None:
            found = _silenced(found, number, guard, numbers)
    return found


def choose_guards(
    rules: tuple[Rule, ...], values: Reals, numbers: Mapping[str, Reals], real: Mask
) -> Guards:
    """Returns the guards that find most artefacts, added one by one while they are worth it.

    Parameters
    ----------
    values
        (R, N) of labelled alerts, as ``Sample.values``.
    numbers
        By name, the fields that may guard, (N,), NaN where an alert has none.
    real
        (N,): real, else an artefact.
    """
    chosen: list[Guard | None] = [None] * len(rules)
    artefacts = int((~real).sum())
    if not artefacts or not numbers:
        return tuple(chosen)
    # What no limit could drop changes nothing.
    near = dropped(values, floors(rules))
    values, real = values[:, near], real[near]
    numbers = {name: each[near] for name, each in numbers.items()}
    found = _found(rules, values, real)
    worth = max(WORTH, WORTH_SHARE * artefacts)
    while True:
        best: tuple[int, int] | None = None
        for number, guard in _candidates(rules, chosen, values, numbers, real):
            trial = _silenced(values, number, guard, numbers)
            gain = _found(rules, trial, real) - found
            # Of several that find as many, the one that silences the rule least.
            merit = gain, -int((trial != values).sum())
            if gain >= worth and (best is None or merit > best):
                best, its, (at, taken) = merit, trial, (number, guard)
        if best is None:
            return tuple(chosen)
        values, chosen[at], found = its, taken, found + best[0]


def _candidates(
    rules: tuple[Rule, ...],
    chosen: list[Guard | None],
    values: Reals,
    numbers: Mapping[str, Reals],
    real: Mask,
) -> Iterator[tuple[int, Guard]]:
    """Yields rules by number, and a guard for each that spares some real alert of its."""
    lowest = floors(rules)
    for number, rule in enumerate(rules):
        if chosen[number] is not None:
            continue
        standing = real & (values[number] > lowest[number])
        for name, each in numbers.items():
            if name in rule.when or name in rule.unless:
                continue
            for cut in _cuts(each[standing]):
                yield number, Guard(name, Condition(at_least=cut))
                yield number, Guard(name, Condition(at_most=cut))


def _cuts(values: Reals) -> list[float]:
    """Returns a few short numbers between which, and at which, these values stand."""
    known = np.unique(values[np.isfinite(values)])
    if known.size > MOST_CUTS:
        places = np.linspace(0, known.size - 1, MOST_CUTS).round().astype(int)
        known = known[places]
    return sorted({float(f"{each:.{_DIGITS}g}") for each in known})


def _silenced(values: Reals, number: int, guard: Guard, numbers: Mapping[str, Reals]) -> Reals:
    found = values.copy()
    found[number, guard.holds(numbers[guard.field])] = SILENT
    return found


def _found(rules: tuple[Rule, ...], values: Reals, real: Mask) -> int:
    """Returns how many artefacts the limits find that these numbers allow."""
    limits = choose(rules, values, real, _STEP, 0.0)
    return int((dropped(values, limits) & ~real).sum())
