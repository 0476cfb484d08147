"""A card says what the annotation says, and how the survey differs."""

from dataclasses import replace
from typing import Any

import pytest
from card_factories import card, clean_record, opinion, record

from streamfilter.console.cards import (
    Deciding,
    Disagreement,
    Facts,
    card_of,
    deciding,
    disagreement,
)
from streamfilter.posterior import pooled
from streamfilter.records import Action, Label, Origin, Rule, Statistic

PLACE = Origin("annotations", 0, 7)


def test_a_card_has_what_the_annotation_has() -> None:
    """Classes of which nothing is there are left out."""
    made = card_of(PLACE, record(3))
    assert (Label.CONTAMINATED, Action.DROP, "CR") == (made.label, made.action, made.contaminant)
    assert (0.98, "3", "01" * 32) == (made.core, made.alert_id, made.sha256)
    assert ["CR"] == list(made.stamps["science"].classes)
    assert {"CR": 0.43} == made.thresholds


@pytest.mark.parametrize(
    ("made", "facts", "expected"),
    [
        (record(), Facts(score=0.9), Disagreement.DROPPED_AND_LIKED),
        (record(), Facts(score=0.5), None),
        (record(), None, None),
        (clean_record(1), Facts(score=0.1), Disagreement.KEPT_AND_SCORED_LOW),
        (clean_record(1), Facts(), None),
        (
            clean_record(1, survey_flags={"flagged": ["HP"], "flaggable": ["HP"],
                                          "agreement": "survey_only"}),
            None,
            Disagreement.KEPT_AND_FLAGGED,
        ),
    ],
)  # fmt: skip
def test_a_disagreement_is_between_the_verdict_and_the_survey(
    made: dict[str, Any], facts: Facts | None, expected: Disagreement | None
) -> None:
    """A score counts only where it is known."""
    assert expected == disagreement(card_of(PLACE, made), facts)


def test_the_number_that_decided_stands_with_its_limit() -> None:
    """Of a rule that the settings do not have nothing is made up."""
    rule = Rule(name="cosmic-ray", contaminant="CR", statistic=Statistic.PIXELS, above=3)
    assert Deciding(Statistic.PIXELS, 5, 3, "maximask") == deciding(card(), [rule])
    assert deciding(card(), []) is None


def test_a_further_engine_s_number_may_have_decided() -> None:
    """By its name, or together with the first: as if the two were independent."""
    made = card_of(PLACE, record(1, also=[opinion(0.9)]))
    rule = Rule(name="cosmic-ray", contaminant="CR", statistic=Statistic.CORE, above=0.5)
    assert Deciding(Statistic.CORE, 0.98, 0.5, "maximask") == deciding(made, [rule])
    its = replace(rule, engine="stampmask")
    assert Deciding(Statistic.CORE, 0.9, 0.5, "stampmask") == deciding(made, [its])
    both = deciding(made, [replace(rule, statistic=Statistic.TOGETHER)])
    assert both is not None
    assert both.value == pooled(0.98, 0.9, 1e-3)
    unasked = card_of(PLACE, record(1))
    assert deciding(unasked, [its]) is None
    alone = deciding(unasked, [replace(rule, statistic=Statistic.TOGETHER)])
    assert alone is not None
    assert 0.98 == alone.value


def test_the_core_of_a_class_that_the_first_engine_lacks_is_a_further_one_s() -> None:
    """Residuals are of stampmask's alone."""
    evidence = opinion()["science"]["cr"]
    its = opinion(science={"not_evaluated": None, "filled_px": 0, "res": evidence})
    verdict = {"label": "suspect", "action": "flag", "contaminant": "RES", "rule": "residual"}
    assert 0.9 == card_of(PLACE, record(1, verdict=verdict, also=[its])).core
