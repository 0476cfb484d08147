"""The prior change and its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.contaminants import BY_CODE
from streamfilter.inference.manifest import load
from streamfilter.posterior import pooled, raw_threshold, update, update_tracking

priors = st.floats(1e-6, 1 - 1e-6)
probabilities = st.floats(0.0, 1.0)


@given(probabilities, priors)
def test_equal_priors_change_nothing(raw: float, prior: float) -> None:
    """A network that is used where it was trained needs no correction."""
    assert raw == pytest.approx(float(update(raw, prior, prior)), abs=1e-12)


@given(priors, priors)
def test_certainty_stays_certain(training: float, deployment: float) -> None:
    """No prior in (0, 1) moves 0 or 1."""
    assert [0.0, 1.0] == update([0.0, 1.0], training, deployment).tolist()


@given(st.floats(1e-3, 1 - 1e-3), st.floats(1e-3, 0.9), st.floats(1e-3, 0.9))
def test_the_way_back_leads_to_the_output(raw: float, training: float, deployed: float) -> None:
    """No evidence is lost by a change of the prior."""
    there = update(raw, training, deployed)
    assert raw == pytest.approx(float(update(there, deployed, training)), rel=1e-9)


def test_nothing_known_gives_back_the_prior() -> None:
    """An output equal to the training prior carries no evidence."""
    for row in load("maximask").classes:
        prior = BY_CODE[row.code].prior
        found = update(row.training_prior, row.training_prior, prior)
        assert prior == pytest.approx(float(found), rel=1e-12)


@given(st.lists(probabilities, min_size=2, max_size=20), priors, priors)
def test_the_order_of_outputs_is_kept(
    raws: list[float], training: float, deployment: float
) -> None:
    """The prior change is monotonic: it changes no ROC curve."""
    raws.sort()
    assert (np.diff(update(raws, training, deployment)) >= 0).all()


@given(st.floats(1e-3, 1 - 1e-3), st.floats(1e-3, 0.9), st.floats(1e-3, 0.9))
def test_the_raw_threshold_is_the_inverse(
    posterior: float, training: float, deployed: float
) -> None:
    """The output at the raw threshold has the posterior asked for."""
    raw = raw_threshold(posterior, training, deployed)
    assert posterior == pytest.approx(float(update(raw, training, deployed)), rel=1e-9)


def test_the_release_s_cosmic_rays_need_an_output_of_094() -> None:
    """With the release's priors and threshold .43, CR is masked above a raw 0.9384."""
    assert 0.9384 == pytest.approx(float(raw_threshold(0.43, 0.010, 5e-4)), abs=1e-4)


def test_tracking_has_even_training_priors() -> None:
    """P / (P + ((1-p)/p)(1-P)) with p = 0.05, as MaxiTrack does it."""
    expected = 0.9 / (0.9 + (0.95 / 0.05) * 0.1)
    assert expected == pytest.approx(float(update_tracking(0.9)), rel=1e-12)


def test_priors_broadcast_over_classes() -> None:
    """A column of priors serves a row of pixels per class."""
    found = update(np.full((2, 3), 0.5), np.array([[0.5], [0.1]]), 0.5)
    assert [[0.5] * 3, [0.9] * 3] == found.round(12).tolist()


@given(probabilities, priors)
def test_a_voice_that_says_the_prior_changes_nothing(other: float, prior: float) -> None:
    """It has seen nothing that speaks for the class or against it."""
    assert other == pytest.approx(pooled(prior, other, prior), abs=1e-9)
    assert pooled(prior, other, prior) == pytest.approx(pooled(other, prior, prior), abs=1e-12)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6), st.floats(1e-4, 0.5))
def test_two_voices_are_one_after_the_other(one: float, other: float, prior: float) -> None:
    """What the first says is the prior of the second."""
    assert float(update(other, prior, one)) == pytest.approx(pooled(one, other, prior), abs=1e-9)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_certainty_does_not_silence_another_voice(certain: float) -> None:
    """Two that are certain of the contrary leave the prior's odds turned, and no NaN."""
    assert pooled(certain, 1 - certain, 0.5) == pytest.approx(0.5)
    assert 0 <= pooled(certain, certain, 1e-6) <= 1
