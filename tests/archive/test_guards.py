"""Guards chosen on made alerts, whose numbers are known."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from streamfilter.archive.guards import Guard, choose_guards, guarded
from streamfilter.archive.rule_limits import SILENT, Reals
from streamfilter.archive.tuning import ClaimNotBorneOut, Sample, tune
from streamfilter.records import Condition, Rule, Statistic

HIT = Rule(name="hit", contaminant="CR", statistic=Statistic.CORE, above=0.3)
TRAIL = dataclasses.replace(HIT, name="trail", contaminant="TRL")
SEEN = Guard("seen", Condition(at_least=5.0))


def night(count: int, hits: int) -> tuple[Reals, Reals, "np.typing.NDArray[np.bool_]"]:
    """Numbers of two rules, how often the place was seen, and which alerts are real.

    A tenth of the real ones resemble hits; those were seen five times and more.
    """
    real = np.arange(count + hits) < count
    values = np.full((2, count + hits), 0.01)
    seen = np.ones(count + hits)
    values[0, :count:10], seen[:count:10] = 0.9, 5.0 + np.arange(0, count, 10) % 7
    values[0, count:] = 0.8
    return values, seen, real


def test_the_guard_that_spares_the_real_ones_is_found() -> None:
    """Of the one rule that needs it, at the lowest number that the real ones have."""
    values, seen, real = night(200, 20)
    found = choose_guards((HIT, TRAIL), values, {"seen": seen}, real)
    assert (SEEN, None) == found
    assert SILENT == guarded(values, {"seen": seen}, found)[0, :200:10].max()
    assert 0.8 == guarded(values, {"seen": seen}, found)[0, 200:].min()


def test_a_small_number_guards_as_a_large_one_does() -> None:
    """Such as the distance from a star."""
    values, seen, real = night(200, 20)
    (found, _) = choose_guards((HIT, TRAIL), values, {"far": -seen}, real)
    assert found == Guard("far", Condition(at_most=-5.0))
    assert "far at most -5" == str(found)


@pytest.mark.parametrize("hits", [0, 2])
def test_what_hardly_any_artefact_pays_for_is_not_taken(hits: int) -> None:
    """Without artefacts nobody knows what a guard costs."""
    values, seen, real = night(200, hits)
    assert (None, None) == choose_guards((HIT, TRAIL), values, {"seen": seen}, real)


def test_a_number_without_meaning_guards_nothing() -> None:
    """Where hits have it as often; an alert without a number is not spared."""
    values, seen, real = night(200, 20)
    same, unknown = np.full(seen.size, 5.0), np.full(seen.size, np.nan)
    numbers = {"same": same, "unknown": unknown}
    assert (None, None) == choose_guards((HIT, TRAIL), values, numbers, real)
    ruled = dataclasses.replace(HIT, unless={"seen": Condition(at_least=100)})
    assert (None, None) == choose_guards((ruled, TRAIL), values, {"seen": seen}, real)


def test_a_guard_says_of_an_array_what_a_rule_says_of_an_alert() -> None:
    """At its number, beside it, and where there is none."""
    random = np.random.default_rng(1)
    values = np.where(random.random(200) < 0.2, np.nan, random.integers(0, 10, 200))
    for condition in (Condition(at_least=5.0), Condition(at_most=5.0)):
        guard = Guard("seen", condition)
        rule = guard.added_to(HIT)
        given = ({} if each is None else {"seen": each} for each in pa.array(values).to_pylist())
        fields = ({k: v for k, v in each.items() if v == v} for each in given)
        assert [not rule.allows(each) for each in fields] == guard.holds(values).tolist()


def test_guards_are_measured_on_alerts_that_did_not_choose_them() -> None:
    """Where one fold's real alerts were not seen before, the others' guard loses them: it tells."""
    values, seen, real = night(1000, 100)
    folds = np.arange(1100) // 10 % 5
    seen[folds == 0] = 1.0
    sample = Sample(
        survey="ztf", rules=(HIT, TRAIL), keys=tuple(map(str, range(1100))), values=values,
        real=real, folds=folds, numbers={"seen": seen},
    )  # fmt: skip
    tuned = tune(sample, 0.05)
    assert (20, 1000) == (tuned.measured.lost, tuned.measured.real)
    with pytest.raises(ClaimNotBorneOut, match="lose 20 of 1000 real alerts"):
        tune(sample, 0.02)
