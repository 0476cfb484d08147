"""The ring holds the newest cards, and chooses among them."""

from datetime import timedelta

import pytest
from card_factories import NOON, card

from streamfilter.console.cards import Card, Facts
from streamfilter.console.ring import Choice, Ring
from streamfilter.records import Action, Label

CLEAN = {"label": Label.CLEAN, "action": Action.KEEP, "contaminant": None, "rule": None}


def clean(number: int) -> Card:
    return card(number, **CLEAN)


def test_only_the_newest_are_held() -> None:
    """However many come; a card that is read twice stands once."""
    ring = Ring(10)
    for number in range(1000):
        ring.add(card(number))
        assert ring.add(card(number)) is None
    assert (10, 1000) == (ring.held, ring.last)
    newest = ring.newest(NOON, Choice(), 3)
    assert ["999", "998", "997"] == [each.card.alert_id for each in newest]
    older = ring.newest(NOON, Choice(), 3, before=newest[-1].number)
    assert ["996", "995", "994"] == [each.card.alert_id for each in older]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), {"1", "2", "3"}),
        (Choice(label="clean"), {"2"}),
        (Choice(contaminant="CR"), {"1", "3"}),
        (Choice(survey="lsst"), set()),
        (Choice(rule="cosmic-ray", id="ZTF3"), {"3"}),
        (Choice(filter="g"), {"1", "2"}),
        (Choice(detector="5", filter="g"), {"1"}),
        (Choice(score_from=0.5), {"1"}),
        (Choice(score_to=0.5), {"2"}),
        (Choice(minutes=5), {"2"}),
    ],
)
def test_a_choice_fits_what_it_names(choice: Choice, expected: set[str]) -> None:
    """A card whose packet was not read has no detector, filter or score."""
    ring = Ring(10)
    ring.add(card(1))
    ring.add(card(2, annotated=NOON + timedelta(minutes=8), **CLEAN))
    ring.add(card(3))
    ring.learn(card(1).place, Facts(0.8, "drb", "5", "g"))
    ring.learn(card(2).place, Facts(0.2, "drb", "6", "g"))
    now = NOON + timedelta(minutes=10)
    assert expected == {each.card.alert_id for each in ring.newest(now, choice, 10)}


def test_disagreements_come_first_and_one_control_last() -> None:
    """Then suspects; each group has its newest first."""
    ring = Ring(100)
    for number in range(20):
        ring.add(clean(number))
    ring.add(card(30, label=Label.SUSPECT, action=Action.FLAG))
    for number in (40, 41):
        ring.add(card(number))
        assert ring.learn(card(number).place, Facts(score=0.9))
    found = [each.card.alert_id for each in ring.doubtful(NOON, Choice(), 10)]
    assert ["41", "40", "30"] == found[:3]
    assert 4 == len(found)
    assert int(found[3]) < 20
    assert found == [each.card.alert_id for each in ring.doubtful(NOON, Choice(), 10)]


def test_a_follower_gets_what_came_since() -> None:
    """Where the packet decides, a card comes when its packet was read."""
    ring = Ring(100)
    for number in range(5):
        ring.add(card(number))
    entries, fitting = ring.since(2, NOON, Choice(), 2)
    assert (["4", "3"], 3) == ([each.card.alert_id for each in entries], fitting)
    choice = Choice(filter="g")
    assert ([], 0) == ring.since(0, NOON, choice, 2)
    before = ring.last_for(choice)
    ring.learn(card(1).place, Facts(filter="g"))
    entries, fitting = ring.since(before, NOON, choice, 2)
    assert (["1"], 1) == ([each.card.alert_id for each in entries], fitting)
    assert ([], 0) == ring.since(ring.last_for(choice), NOON, choice, 2)
