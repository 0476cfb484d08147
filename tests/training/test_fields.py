"""Made fields have the stars that they say, and teach at every pixel."""

import numpy as np
import pytest

from training.canvas import INDEX, prepare
from training.data import Core, Part
from training.examples import brushes, examples
from training.fields import SIDE_PX, add_star, field


@pytest.mark.parametrize("fwhm", [1.3, 2.0, 4.0])
def test_a_star_is_as_wide_as_it_says(fwhm: float) -> None:
    """Half of the peak lies half a width from the middle, once the pixels are that small."""
    image, middle = np.zeros((SIDE_PX, SIDE_PX)), np.full(2, 32.0)
    add_star(image, 100.0, middle, fwhm, 20.0, 1.0, 0.0)
    flux, moment = image.sum(), (image * (np.indices(image.shape)[1] - 32.0) ** 2).sum()
    gaussian = (fwhm / 2.3548) ** 2
    pixel = 1 / 12  # a pixel widens by its own variance
    assert moment / flux == pytest.approx(gaussian + pixel, rel=0.12)


def test_a_field_is_in_units_of_its_noise() -> None:
    """The sky's own scatter is 1, whatever the gain."""
    for seed in range(5):
        made = field("x", Part.TRAIN, np.random.default_rng(seed), 2.0)
        assert made.science.shape == (SIDE_PX, SIDE_PX)
        low, middle = np.percentile(made.science, [16, 50])
        assert middle - low == pytest.approx(1.0, abs=0.35)


def test_every_pixel_of_a_field_teaches() -> None:
    """There is no alert in its middle that might be anything."""
    made = field("x", Part.TRAIN, np.random.default_rng(1), 2.0)
    assert made.core is Core.NONE
    canvas = prepare(made, 0, False, (0, 0))
    assert canvas is not None
    batch = examples([made], np.ones(1), brushes([np.array([[50.0, 900.0]])]), 20, 64, 1)
    assert batch.weight[..., INDEX["CR"]].mean() > 0.97
    assert batch.target[..., INDEX["CR"]].any()
    assert batch.real.max() == batch.bogus.max() == 0
