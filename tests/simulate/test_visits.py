from collections import Counter
from itertools import islice

import pytest

from streamfilter.simulate.contaminants import INJECT
from streamfilter.simulate.visits import MIX, alerts


def test_a_seed_gives_the_same_bytes_again() -> None:
    """Every packet, with its id, its time and its truth."""
    first, again = ([(a.value, a.light_end_unix_s) for a in alerts(3, 30)] for _ in range(2))
    assert first == again


def test_another_seed_gives_other_bytes() -> None:
    """No packet is shared."""
    assert not {a.value for a in alerts(1, 20)} & {a.value for a in alerts(2, 20)}


def test_every_alert_has_its_own_id_and_bytes_though_scenes_come_again() -> None:
    """Five scenes serve fifty alerts."""
    night = list(alerts(1, 50, scenes=5))
    assert 50 == len({a.alert_id for a in night}) == len({a.value for a in night})
    assert night[0].truth is night[5].truth


def test_alerts_of_a_visit_share_their_exposure() -> None:
    """Bursts follow one another at LSST's cadence."""
    night = list(alerts(1, 30, per_visit=10, scenes=4))
    assert {0: 10, 1: 10, 2: 10} == Counter(a.visit for a in night)
    assert [0.0, 39.0, 78.0] == sorted(
        {a.light_end_unix_s - night[0].light_end_unix_s for a in night}
    )


def test_the_mix_is_kept() -> None:
    """With a quarter of each of two classes, about so many come, and no others."""
    codes = Counter(
        a.truth.code if a.truth else None
        for a in alerts(9, 80, surveys=("lsst",), mix={"CR": 0.25, "HP": 0.25})
    )
    assert {"CR", "HP", None} == set(codes)
    assert all(8 <= codes[code] <= 32 for code in ("CR", "HP"))


def test_the_default_mix_names_every_class_that_can_be_injected() -> None:
    """It leaves most alerts clean."""
    assert set(INJECT) == set(MIX)
    assert sum(MIX.values()) < 0.5


@pytest.mark.parametrize("mix", [{"CR": 0.7, "HP": 0.7}, {"CR": -0.1}])
def test_a_mix_that_is_none_is_refused(mix: dict[str, float]) -> None:
    """The message shows the shares."""
    with pytest.raises(ValueError, match="CR"):
        next(islice(alerts(1, 1, mix=mix), 1))
