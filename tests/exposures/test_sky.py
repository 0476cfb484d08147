"""The sky of a frame, held against the reference program's own numbers."""

from pathlib import Path

import numpy as np
import pytest
from make_background import STEP_PX, frame

from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.sky import (
    Axis,
    Cubics,
    Mesh,
    Sky,
    clipped_statistics,
    measure,
    normalise,
)
from streamfilter.records import Image

GOLDEN = Path(__file__).parent.parent / "golden"


def noise(height: int, width: int, level: float = 1000.0, sigma: float = 10.0) -> Image:
    rng = np.random.default_rng(7)
    return rng.normal(level, sigma, (height, width)).astype(np.float32)


def maps(sky: Sky) -> tuple[Image, Image]:
    whole = slice(0, sky.rows.length)
    return Cubics.of(sky.level, sky).band(whole), Cubics.of(sky.sigma, sky).band(whole)


def test_level_and_sigma_are_the_reference_programs() -> None:
    """On a frame with gradient, stars, a dead corner and a bright cell: within 1e-3 sigma."""
    golden = np.load(GOLDEN / "background.npz")
    image = np.clip(frame(), -500, 80000)
    sky = measure(image, None, Mesh(as_reference=True))
    assert isinstance(sky, Sky)
    level, sigma = (found[::STEP_PX, ::STEP_PX] for found in maps(sky))
    unit = np.maximum(golden["sigma"], sky.sigma.min())
    assert 1e-3 > np.abs((level - golden["level"]) / unit).max()
    assert 1e-3 > np.abs((sigma - golden["sigma"]) / unit).max()


def test_the_reference_darkens_the_corners_and_the_default_does_not() -> None:
    """Zeros beyond the grid pull the reference's sky down where there is nothing but sky."""
    flat = noise(800, 800)
    ours, reference = normalise(flat), normalise(flat, None, Mesh(as_reference=True))
    assert isinstance(ours, tuple)
    assert isinstance(reference, tuple)
    assert 1.0 > abs(float(ours[0][:20, :20].mean()))
    assert 5.0 < float(reference[0][:20, :20].mean())


def test_a_sky_that_slopes_is_subtracted_up_to_the_edges() -> None:
    """As moonlight and vignetting make it, 30 sigma over the frame; the reference is flat beyond
    its outermost cells, and 3 of its sigma off in the corners."""
    y, x = np.mgrid[:1000, :1200]
    slope = noise(1000, 1200) + (0.25 * x + 0.12 * y).astype(np.float32)
    found = normalise(slope)
    assert isinstance(found, tuple)
    blocks = found[0].reshape(20, 50, 24, 50).mean(axis=(1, 3))
    assert 0.4 > float(np.abs(blocks).max())


def test_away_from_the_edges_the_default_is_the_reference() -> None:
    """The two differ only where the reference's median reaches beyond the grid."""
    image = noise(2000, 2000)
    ours, reference = normalise(image), normalise(image, None, Mesh(as_reference=True))
    assert isinstance(ours, tuple)
    assert isinstance(reference, tuple)
    inner = np.s_[800:1200, 800:1200]
    np.testing.assert_allclose(reference[0][inner], ours[0][inner], atol=2e-3)


def test_half_a_cell_of_stars_does_not_move_the_sky() -> None:
    """After clipping, 2.5 median - 1.5 mean stays within a sigma of the truth."""
    values = noise(200, 200).ravel()
    values[:9000] += np.random.default_rng(2).pareto(1.2, 9000).astype(np.float32) * 200
    level, sigma = clipped_statistics(values)
    assert 5.0 > abs(level - 1000.0)
    assert 15.0 > sigma


@pytest.mark.parametrize("sigma", [0.2, 0.25, 0.3, 0.35])
@pytest.mark.parametrize("step", [1.0, 0.25])
def test_a_coarsely_digitised_sky_has_noise(sigma: float, step: float) -> None:
    """If clipping leaves one value, the noise is that of values spread evenly over a step."""
    image = np.rint(noise(400, 400, 1000.0, sigma)) * np.float32(step)
    sky = measure(image, None, Mesh())
    assert isinstance(sky, Sky)
    assert 0.28 * step < sky.median_sigma < 0.5 * step
    assert 1000.0 * step == pytest.approx(sky.median_level, abs=0.1 * step)


@pytest.mark.parametrize("hot", [0, 100])
def test_a_frame_of_one_value_does_not_vary(hot: int) -> None:
    """A few hot pixels do not count as noise."""
    image = np.full((400, 400), 7, np.float32)
    image.ravel()[: hot * 99 : 99] = 900.0
    assert FrameReason.NO_VARIATION == measure(image, None, Mesh())


def test_one_absurd_pixel_changes_nothing() -> None:
    """A value of 1e30 is clipped without spoiling the sums of the others."""
    values = noise(200, 200).ravel()
    _, clean = clipped_statistics(values)
    values[5] = 1e30
    level, sigma = clipped_statistics(values)
    assert 0.01 > abs(clean - sigma)
    assert 0.5 > abs(level - 1000.0)


def test_the_result_is_in_units_of_the_noise() -> None:
    """Mean 0 and deviation 1 for pure noise, in float32."""
    found = normalise(noise(900, 1100))
    assert isinstance(found, tuple)
    assert np.float32 == found[0].dtype
    assert 0.02 > abs(float(found[0].mean()))
    assert 0.02 > abs(float(found[0].std()) - 1.0)


@pytest.mark.parametrize("unit", [1e-25, 1e-3, 1e20])
def test_the_unit_of_the_pixels_does_not_matter(unit: float) -> None:
    """Counts, nJy or erg/s: the result is in sigma, and clipped in sigma."""
    image = noise(600, 600)
    image[300, 300] = 1e9
    plain, scaled = normalise(image), normalise((image * unit).astype(np.float32))
    assert isinstance(plain, tuple)
    assert isinstance(scaled, tuple)
    np.testing.assert_allclose(plain[0], scaled[0], atol=1e-3)
    assert 1e4 == float(plain[0].max())


def test_masked_and_missing_pixels_do_not_count_and_become_zero() -> None:
    """NaN, infinities and masked pixels leave the sky as it is."""
    image, masked = noise(800, 800), np.zeros((800, 800), bool)
    image[:200, :300], image[400, 400], masked[600:, 600:] = np.nan, np.inf, True
    image[600:, 600:] = 6e4
    found = normalise(image, masked)
    assert isinstance(found, tuple)
    assert 0.0 == float(np.abs(found[0][600:, 600:]).max())
    assert 0.0 == float(np.abs(found[0][:200, :300]).max())
    assert 1.0 > abs(found[1].median_level - 1000.0)


def test_a_frame_smaller_than_a_cell_is_one_cell() -> None:
    """Its sky is the same everywhere."""
    found = normalise(noise(150, 90))
    assert isinstance(found, tuple)
    assert 0.2 > abs(float(found[0].mean()))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, FrameReason.NO_DATA),
        (0.0, FrameReason.NO_VARIATION),
        (512.0, FrameReason.NO_VARIATION),
    ],
)
def test_a_constant_or_empty_frame_has_no_background(value: float, reason: FrameReason) -> None:
    """The result is the reason."""
    assert reason == normalise(np.full((500, 500), value, np.float32))


def test_the_caller_keeps_its_image() -> None:
    """Normalising does not write into the frame."""
    image = noise(500, 500)
    before = image.copy()
    normalise(image)
    np.testing.assert_array_equal(before, image)


def test_the_spline_meets_its_values() -> None:
    """At the cells' centres, the map equals the grid."""
    axis, other = Axis(800, -100, 200, 6), Axis(600, -100, 200, 5)
    grid = np.random.default_rng(3).normal(50, 5, (6, 5))
    level = Cubics.of(grid, Sky(grid, grid, axis, other)).band(slice(0, 800))
    np.testing.assert_allclose(grid[1:5, 1:4], level[100::200, 100::200], rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"cell_px": 33}, {"cell_px": 2}, {"threads": 0}])
def test_a_mesh_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    """The cells' side must be even, and there must be a thread."""
    with pytest.raises(ValueError, match="must be"):
        Mesh(**wrong)  # type: ignore[arg-type]
