"""Counts of the last hour stand beside those since the beginning."""

from datetime import timedelta

import pytest
from card_factories import NOON, card

from streamfilter.console.cards import Facts
from streamfilter.console.counts import Counts


def test_the_last_hour_is_counted_apart() -> None:
    """With latencies from the light of that hour alone."""
    counts = Counts(NOON)
    for minute in range(120):
        at = NOON + timedelta(minutes=minute)
        counts.add(card(minute, annotated=at, light_end=at - timedelta(seconds=minute)))
    rates = counts.rates(NOON + timedelta(minutes=119))
    assert {("contaminated", "CR"): 120} == rates.total
    assert 55 <= rates.hour["contaminated", "CR"] <= 61
    assert [90, 119] == pytest.approx(list(rates.since_light_s), abs=1.5)


def test_places_and_rejections_are_counted() -> None:
    """Made-up detectors without end do not fill the memory."""
    counts = Counts(NOON)
    counts.learn(card(1), Facts(detector="5", filter="g"))
    counts.learn(card(2), Facts())
    counts.reject("avro_malformed")
    for number in range(22_000):
        counts.learn(card(number), Facts(detector=str(number), filter="x"))
    rates = counts.rates(NOON)
    assert 1 == rates.places_total["ztf", "5", "g", "contaminated", "CR"]
    assert 20_000 == len(rates.places_total)
    assert {"avro_malformed": 1} == rates.rejected
