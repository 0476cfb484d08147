"""The noise of a frame, as networks for pixels take it."""

import numpy as np
import pytest

from streamfilter.exposures.noise import evened, underrated
from streamfilter.exposures.sky import normalise
from streamfilter.records import Image

COARSE = {
    "digits": lambda random: np.rint(random.normal(100, 0.26, (400, 400))),
    "photons": lambda random: random.poisson(0.1, (400, 400)) + random.normal(0, 0.2, (400, 400)),
    "few and cut at 0": lambda random: np.maximum(
        np.rint(random.poisson(0.5, (400, 400)) / 1.5), 0
    ),
    "cut at 0": lambda random: np.maximum(np.rint(random.normal(0.7, 4, (400, 400))), 0),
}


def scaled(image: Image) -> Image:
    found = normalise(image.astype(np.float32))
    assert isinstance(found, tuple)
    return found[0]


@pytest.mark.parametrize("kind", COARSE)
def test_what_most_pixels_share_is_not_all_noise(kind: str) -> None:
    """Few photons, coarse digits and values cut off leave no flat sky with far outliers."""
    image = scaled(COARSE[kind](np.random.default_rng(1)))
    made = evened(image, None)
    assert 1 < underrated(image, None)
    assert 1 == underrated(made, None)
    assert 3 > np.quantile(made, 0.99)
    assert 0.5 < np.std(made[:8, :8])


def test_gaussian_noise_stays_as_it_is() -> None:
    """Also beside stars, hits and hot pixels."""
    random = np.random.default_rng(1)
    image = random.standard_normal((400, 400), np.float32)
    image[random.integers(0, 400, 800), random.integers(0, 400, 800)] += 50
    image[100:140, 100:140] += 500
    assert 1.0 == underrated(image, None)
    assert image is evened(image, None)


def test_missing_pixels_are_noise_among_noise() -> None:
    """Beside a flat block the sky's own noise would look like hits; the frame given stays."""
    image = np.random.default_rng(1).standard_normal((200, 200), np.float32)
    image[50:100] = 0
    made = evened(image, image == 0)
    assert [0.0, 1.0] == [round(float(np.std(each[50:100])), 1) for each in (image, made)]
    np.testing.assert_array_equal(image[100:], made[100:])


@pytest.mark.parametrize("shape", [(1, 500), (2, 2), (3, 3), (70, 3)])
def test_a_frame_of_few_pixels_is_no_obstacle(shape: tuple[int, int]) -> None:
    """Of any sides, and without any data."""
    image = np.zeros(shape, np.float32)
    assert image is evened(image, None)
    assert np.isfinite(evened(image, np.ones(shape, bool))).all()
