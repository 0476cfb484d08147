import numpy as np
import pytest

from streamfilter.records import Image, Plane
from streamfilter.simulate.cameras import LSST, ZTF, Camera
from streamfilter.simulate.sky import Psf, draw_sky, expose, observe

BOTH = pytest.mark.parametrize("camera", [ZTF, LSST], ids=lambda camera: camera.survey)


def noise(image: Image) -> float:
    """Sigma from the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(image - np.median(image))))


@pytest.mark.parametrize("fwhm_px", [2.0, 4.0])
def test_a_star_is_the_psf_summed_over_pixels(fwhm_px: float) -> None:
    """Within 4 % of the peak of a sum over 9x9 points a pixel."""
    psf = Psf(fwhm_px, 3.5)
    grid = np.zeros(((31 + 32) * 3,) * 2)
    grid[94, 94] = 1.0
    expected = psf.kernel(31 * 9, 9).reshape(31, 9, 31, 9).sum(axis=(1, 3))
    error = np.abs(expected - observe(grid, psf, 31)).max() / expected.max()
    assert error < 0.04


@BOTH
def test_an_event_is_in_science_and_difference_and_not_in_the_template(camera: Camera) -> None:
    """The centre of the difference stands out in most alerts; without an event it does not."""
    found = {True: 0, False: 0}
    for event in found:
        for seed in range(20):
            sky = draw_sky(np.random.default_rng(seed), camera, event=event)
            difference = expose(np.random.default_rng(seed), sky).images[Plane.DIFFERENCE]
            first = round(sky.conditions.middle_px) - 1
            middle = slice(first, first + 3)
            found[event] += bool(abs(difference[middle, middle].mean()) > noise(difference))
    assert found[True] >= 16
    assert found[False] <= 2


@BOTH
def test_the_difference_is_flat_where_the_sky_is_static(camera: Camera) -> None:
    """Its median is within a third of its noise, although the field has stars."""
    for seed in range(10):
        sky = draw_sky(np.random.default_rng(seed), camera, event=False)
        difference = expose(np.random.default_rng(seed), sky).images[Plane.DIFFERENCE]
        assert abs(np.median(difference)) < noise(difference) / 3


def test_the_noise_is_that_of_real_ztf_stamps() -> None:
    """Public stamps have a sigma of 4 to 17 DN on a sky of 35 to 700 DN that is kept."""
    for seed in range(10):
        science = expose(
            np.random.default_rng(seed), draw_sky(np.random.default_rng(seed), ZTF)
        ).images[Plane.SCIENCE]
        assert 4 < noise(science) < 25
        assert 30 < np.median(science) < 1000


def test_lsst_variance_is_the_noise_of_its_difference() -> None:
    """The variance plane predicts the scatter within 15 %."""
    for seed in range(10):
        sky = draw_sky(np.random.default_rng(seed), LSST, event=False)
        triplet = expose(np.random.default_rng(seed), sky)
        plane = Plane.DIFFERENCE
        expected = float(np.sqrt(np.median(triplet.variances[plane])))
        assert expected == pytest.approx(noise(triplet.images[plane]), rel=0.15)


def test_no_pixel_is_above_saturation() -> None:
    """The detector clips; a few read-noise sigma remain."""
    for seed in range(10):
        sky = draw_sky(np.random.default_rng(seed), ZTF)
        science = expose(np.random.default_rng(seed), sky).images[Plane.SCIENCE]
        assert np.nanmax(science) < (ZTF.saturation_e + 100) / ZTF.gain_e_per_unit
