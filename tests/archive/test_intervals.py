"""Intervals of shares, against published and exact values."""

import pytest

from streamfilter.archive.intervals import enough, upper_bound, wilson


def test_wilson_s_interval_is_the_published_one() -> None:
    """Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    expected = [(0.2553, 0.3662), (0.0624, 0.1605), (0.0, 0.1611), (0.0061, 0.1718)]
    for (hits, count), interval in zip(
        [(81, 263), (15, 148), (0, 20), (1, 29)], expected, strict=True
    ):
        assert interval == pytest.approx(wilson(hits, count), abs=1e-4)
    assert (0.0, 1.0) == wilson(0, 0)


def test_the_bound_is_exact() -> None:
    """Where none is hit (1 - p)^n = .05; where all but one are, 1 - p^n = .05; else in between."""
    assert 1 - 0.05 ** (1 / 100) == pytest.approx(upper_bound(0, 100))
    assert 0.95 ** (1 / 20) == pytest.approx(upper_bound(19, 20))
    assert 4.7439 / 1e6 == pytest.approx(upper_bound(1, 1_000_000), rel=1e-3)  # of Poisson's table
    assert 9.1535 / 1e6 == pytest.approx(upper_bound(4, 1_000_000), rel=1e-3)
    assert 0.5 < upper_bound(5000, 10_000) < 0.51
    assert (1.0, 1.0) == (upper_bound(0, 0), upper_bound(7, 7))


def test_so_many_labels_are_enough_and_one_less_is_not() -> None:
    """About three over the share; more where some are lost; none would do where too many are."""
    assert 2995 == enough(0.001)
    assert upper_bound(0, 2995) <= 0.001 < upper_bound(0, 2994)
    more = enough(0.01, 1, 400)
    assert more is not None
    assert upper_bound(2, more) <= 0.01 < upper_bound(1, 400)
    assert enough(0.01, 4, 400) is None
