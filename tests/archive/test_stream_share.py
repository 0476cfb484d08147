"""The share of artefacts in a stream whose share is known."""

from dataclasses import replace

import numpy as np
import pytest

from streamfilter.archive.rule_limits import SILENT, Reals
from streamfilter.archive.stream_share import CLASSES, EDGES, nearness, stream_share
from streamfilter.records import Rule, Statistic

CORE = Rule(name="hit", contaminant="CR", statistic=Statistic.CORE, above=0.3)
AREA = replace(CORE, name="area", statistic=Statistic.PIXELS, above=30)


def numbers(random: np.random.Generator, mean: float, count: int) -> Reals:
    """Posteriors of a rule; a fifth of the alerts has a source that silences it."""
    odds = random.normal(mean, 2.5, (1, count))
    return np.where(random.random((1, count)) < 0.2, SILENT, 1 / (1 + np.exp(-odds)))


def test_an_alert_is_as_near_as_its_nearest_rule() -> None:
    """In log-odds above the limit; a rule that cannot speak is the furthest."""
    values = np.array([[SILENT, 0.3001, 0.9, 0.1, 0.001], [SILENT, SILENT, 3, 31, 0]])
    places = np.searchsorted(EDGES, [-np.inf, 0.001, 3.04, 0.03, -4.1], side="right")
    expected = np.bincount(places, minlength=CLASSES).tolist()
    assert expected == nearness([CORE, AREA], values).tolist()


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1, 0.3])
def test_a_share_that_is_known_is_found(share: float) -> None:
    """Within 20 %, on alerts that are not those of the labels; the interval has it."""
    random = np.random.default_rng(7)
    real, artefacts = numbers(random, -5, 3000), numbers(random, 2, 500)
    hits = round(20_000 * share)
    stream = np.concatenate([numbers(random, -5, 20_000 - hits), numbers(random, 2, hits)], axis=1)
    found = stream_share(*(nearness([CORE], each) for each in (real, artefacts, stream)))
    assert 20_000 == found.alerts
    assert share == pytest.approx(found.share, rel=0.2)
    assert found.low <= share <= found.high
    assert found.high - found.low < 0.8 * share


def test_what_labels_leave_open_stands_in_the_interval() -> None:
    """A share of .0005 beside 300 labels, none of which is as near: it may be that, or none."""
    random = np.random.default_rng(9)
    real, artefacts = numbers(random, -12, 300), numbers(random, 2, 100)
    stream = np.concatenate([numbers(random, -12, 60_000), numbers(random, 2, 30)], axis=1)
    found = stream_share(*(nearness([CORE], each) for each in (real, artefacts, stream)))
    assert found.low <= 30 / 60_030 <= found.high < 0.01


def test_a_stream_without_artefacts_has_next_to_none() -> None:
    """The interval reaches down to nothing."""
    random = np.random.default_rng(8)
    sets = (numbers(random, mean, count) for mean, count in ((-5, 3000), (2, 500), (-5, 20_000)))
    found = stream_share(*(nearness([CORE], each) for each in sets))
    assert found.low < 1e-3
    assert found.share < 5e-3
