"""The prior under which a network's outputs are probabilities."""

import numpy as np
import pytest

from streamfilter.posterior import update
from training.priors import prior_of, with_side_priors


@pytest.mark.parametrize("shown", [0.002, 0.02, 0.3])
def test_the_prior_of_training_is_found_whatever_is_shown(shown: float) -> None:
    """Outputs that hold under 2 %, on pixels of which more or fewer are of the class."""
    trained, random = 0.02, np.random.default_rng(5)
    truth = random.random(200_000) < shown
    evidence = random.normal(np.where(truth, 2.0, -2.0), 2.0)  # its logit of the likelihoods
    logits = evidence + np.log(trained / (1 - trained))
    found = prior_of(logits, truth)
    assert trained == pytest.approx(found, rel=0.1)
    p = update(1 / (1 + np.exp(-logits)), found, shown)
    assert truth.mean() == pytest.approx(p.mean(), rel=0.1)


@pytest.mark.parametrize("share", [0, 1])
def test_a_class_that_was_not_painted_tells_nothing(share: int) -> None:
    """Nor one that every pixel has."""
    with pytest.raises(ValueError, match=f"{share:.0%} of 9 pixels are of the class"):
        prior_of(np.zeros(9), np.full(9, share > 0))


MANIFEST = """
classes = [
    { code = "CR", training_prior = 3.0e-03, training_priors = { 64 = 1.0e-03 } }, # hits
    { code = "HP", training_prior = 8.1e-05 },
]
"""


def test_priors_take_the_place_of_earlier_ones() -> None:
    """The rest of the manifest stays as it is; a class that it lacks is named."""
    made = with_side_priors(MANIFEST, {"CR": {64: 2e-3, 32: 5e-3}, "HP": {32: 7e-5}})
    assert (
        MANIFEST.replace("{ 64 = 1.0e-03 }", "{ 32 = 5.0e-03, 64 = 2.0e-03 }").replace(
            "8.1e-05", "8.1e-05, training_priors = { 32 = 7.0e-05 }"
        )
        == made
    )
    with pytest.raises(ValueError, match="0 lines of class FR"):
        with_side_priors(MANIFEST, {"FR": {64: 0.1}})
