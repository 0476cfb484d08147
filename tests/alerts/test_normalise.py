"""Stamps become images in units of their own noise, of a side that the network takes."""

import numpy as np
import pytest

from streamfilter.alerts.normalise import (
    LARGEST_SIGMAS,
    Normalised,
    background,
    normalise,
    reflect,
    reflect_batch,
    side_of,
)
from streamfilter.inference.manifest import load
from streamfilter.records import Image, NotEvaluated, Place, Stamp

SIDES_PX = load("maximask").sides_px


def sky(height: int = 63, width: int = 63, *, level: float = 100.0, sigma: float = 5.0) -> Image:
    random = np.random.default_rng(height * width)
    image: Image = random.normal(level, sigma, (height, width)).astype(np.float32)
    return image


def star(side: int, fwhm_px: float, peak: float) -> Image:
    y, x = np.indices((side, side)) - (side - 1) / 2
    profile = peak * np.exp(-(y**2 + x**2) / (2 * (fwhm_px / 2.3548) ** 2))
    image: Image = profile.astype(np.float32)
    return image


def evaluated(stamp: Stamp) -> Normalised:
    found = normalise(stamp)
    assert isinstance(found, Normalised)
    return found


def test_sky_has_median_0_and_deviation_1() -> None:
    """The network gets sigmas, whatever the unit of the stamp."""
    image = evaluated(Stamp(sky(level=40_000, sigma=300))).image
    assert (0.0, 1.0) == pytest.approx((np.median(image), image.std()), abs=0.03)


def test_a_bright_star_leaves_the_scale_alone() -> None:
    """A source 10,000 sigma high in the middle changes level and noise by a few per cent."""
    found = background(sky() + star(63, 6.0, 50_000.0))
    assert found is not None
    assert 100.0 == pytest.approx(found.level, abs=1.0)
    assert 5.0 == pytest.approx(found.sigma, rel=0.1)


def test_a_crowded_field_leaves_the_scale_near() -> None:
    """Sources over a third of the pixels move the level by less than a sigma."""
    image = sky()
    places = np.random.default_rng(1).integers(3, 60, (60, 2))
    for y, x in places:
        image[y - 2 : y + 3, x - 2 : x + 3] += 200
    found = background(image)
    assert found is not None
    assert 100.0 == pytest.approx(found.level, abs=5.0)


def test_the_clipped_background_is_that_of_clipping_pixel_by_pixel() -> None:
    """The fast path on sorted sums equals the plain loop."""
    values = np.concatenate([sky().ravel(), np.full(300, 900.0)]).astype(np.float64)
    kept = values[np.abs(values - np.median(values)) < 3 * 5.3]
    for _ in range(20):
        kept = values[np.abs(values - np.median(kept)) <= 3 * kept.std()]
    found = background(values)
    assert found is not None
    assert np.median(kept) == pytest.approx(found.level, abs=0.01)
    assert kept.std() == pytest.approx(found.sigma, rel=1e-6)


def test_variance_gives_the_sky_s_sigma_under_a_galaxy() -> None:
    """A source over half of the stamp raises the image's deviation, not the variance's sky."""
    galaxy = star(63, 30.0, 400.0)
    stamp = Stamp(sky(level=0) + galaxy, (25.0 + 0.2 * galaxy).astype(np.float32))
    sigma = np.ptp(stamp.image) / np.ptp(evaluated(stamp).image)
    assert 5.0 == pytest.approx(sigma, rel=0.1)


def test_one_sigma_serves_all_pixels() -> None:
    """A variance that rises with the source does not flatten it."""
    source = star(63, 4.0, 5000.0)
    stamp = Stamp(sky() + source, (25.0 + source).astype(np.float32))
    assert 1000.0 == pytest.approx(evaluated(stamp).image.max(), rel=0.1)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_useless_variance_is_not_used(value: float) -> None:
    """Sigma then comes from the image itself."""
    variance = np.full((63, 63), value, np.float32)
    assert 1.0 == pytest.approx(evaluated(Stamp(sky(), variance)).image.std(), abs=0.03)


def test_the_lowest_number_means_no_data() -> None:
    """ZTF fills templates with -3.4028235e38 where there is none."""
    image = sky()
    image[:20] = np.finfo(np.float32).min
    found = normalise(Stamp(image))
    assert isinstance(found, Normalised)
    assert found.filled_px == 20 * image.shape[1]


def test_pixels_without_data_hold_the_background_and_are_counted() -> None:
    """NaN and infinities are filled with 0 and known."""
    image = sky()
    image[:20] = np.nan
    image[40, 5] = np.inf
    found = evaluated(Stamp(image))
    assert 20 * 63 + 1 == found.filled_px
    assert found.filled is not None
    assert not found.image[found.filled].any()
    assert np.isfinite(found.image).all()


def test_a_complete_stamp_has_nothing_filled() -> None:
    """No mask is made where none is needed."""
    found = evaluated(Stamp(sky()))
    assert (None, 0) == (found.filled, found.filled_px)


def centre_missing() -> Image:
    image = sky()
    image[26:37, 26:37] = np.nan
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.ones((1, 1)), NotEvaluated.STAMP_TOO_SMALL),
        (np.ones((0, 0)), NotEvaluated.STAMP_TOO_SMALL),
        (np.ones((63, 7)), NotEvaluated.STAMP_TOO_SMALL),
        (np.ones(63), NotEvaluated.STAMP_TOO_SMALL),
        (sky(129, 64), NotEvaluated.STAMP_TOO_LARGE),
        (np.full((63, 63), np.nan), NotEvaluated.NO_DATA),
        (np.where(np.indices((63, 63)).sum(axis=0) < 8, 1.0, np.nan), NotEvaluated.NO_DATA),
        (centre_missing(), NotEvaluated.NO_DATA),
        (np.zeros((63, 63)), NotEvaluated.NO_VARIATION),
        (np.full((30, 30), 1e30), NotEvaluated.NO_VARIATION),
    ],
)
def test_what_cannot_be_evaluated_says_why(image: Image, reason: NotEvaluated) -> None:
    """The stamp is too small or too large, has no data, none at the alert, or no variation."""
    assert reason is normalise(Stamp(image.astype(np.float32)))


def test_the_alert_s_place_is_that_of_the_stamp() -> None:
    """A gap in the middle does no harm where the alert lies elsewhere; the network's input says."""
    place = Place((18.0,), (18.0,))
    found = evaluated(Stamp(centre_missing(), place=place))
    assert place == reflect(found, np.empty((64, 64), np.float32)).place


@pytest.mark.parametrize("side", [8, 128])
def test_the_smallest_and_the_largest_stamp_are_evaluated(side: int) -> None:
    """The bounds themselves are inside."""
    assert (side, side) == evaluated(Stamp(sky(side, side))).image.shape


def test_counts_of_a_few_electrons_are_scaled_though_most_are_equal() -> None:
    """More than half of the pixels are 0, so every quantile's width is 0."""
    counts = np.random.default_rng(3).poisson(0.1, (63, 63)).astype(np.float32)
    assert 1.0 == pytest.approx(evaluated(Stamp(counts)).image.std(), rel=0.3)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_absurd_units_stay_finite(scale: float) -> None:
    """Pixels near the ends of float32's range, one of them far above the others."""
    image = (sky(level=0) * np.float32(scale)).astype(np.float32)
    image[3, 3] = 3e38
    found = evaluated(Stamp(image)).image
    assert np.isfinite(found).all()
    assert LARGEST_SIGMAS == found[3, 3]


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((8, 8), 64),
        ((30, 30), 64),
        ((64, 64), 64),
        ((63, 65), 96),
        ((97, 12), 128),
        ((1, 128), 128),
    ],
)
def test_a_stamp_goes_to_the_next_side(shape: tuple[int, int], side: int) -> None:
    """The longer of its sides decides."""
    assert side == side_of(shape, SIDES_PX)


def test_no_side_holds_a_stamp_that_is_too_large() -> None:
    """129 px is beyond the largest side."""
    with pytest.raises(ValueError, match="129x2"):
        side_of((129, 2), SIDES_PX)


@pytest.mark.parametrize("shape", [(63, 63), (30, 30), (48, 63), (31, 64), (9, 20)])
def test_reflection_is_numpy_s_symmetric_padding(shape: tuple[int, int]) -> None:
    """This includes a stamp so small that it is reflected several times."""
    stamp = evaluated(Stamp(sky(*shape)))
    out = np.full((64, 64), np.nan, np.float32)
    place = reflect(stamp, out)
    before = (place.top, place.left)
    assert ((64 - shape[0]) // 2, (64 - shape[1]) // 2) == before
    after = [64 - n - b for n, b in zip(shape, before, strict=True)]
    padding = list(zip(before, after, strict=True))
    assert np.array_equal(np.pad(stamp.image, padding, "symmetric"), out)


@pytest.mark.parametrize("shape", [(63, 63), (30, 30), (9, 20)])
def test_stamps_of_one_shape_are_reflected_alike_alone_and_in_a_batch(
    shape: tuple[int, int],
) -> None:
    """Each with its others, of which one is missing."""
    stamps = [evaluated(Stamp(image)) for image in (sky(*shape), sky(*shape)[::-1].copy())]
    others = [(stamps[1].image, None), (None, stamps[0].image)]
    batch = np.full((2, 3, 64, 64), np.nan, np.float32)
    places = reflect_batch(list(zip(stamps, others, strict=True)), batch)
    for stamp, its, planes, place in zip(stamps, others, batch, places, strict=True):
        alone = np.full((3, 64, 64), np.nan, np.float32)
        expected = reflect(stamp, alone, its)
        assert (expected.top, expected.left) == (place.top, place.left)
        assert np.array_equal(alone, planes)
        assert not any(
            plane.any() for plane, image in zip(planes[1:], its, strict=True) if image is None
        )


def test_reflection_keeps_the_mask_of_filled_pixels() -> None:
    """The statistics need to know what was not data."""
    image = sky(40, 40)
    image[:3] = np.nan
    stamp = evaluated(Stamp(image))
    place = reflect(stamp, np.empty((64, 64), np.float32))
    assert (12, 12, 40, 40) == (place.top, place.left, place.height, place.width)
    assert stamp.filled is place.filled


def test_hostile_pixels_raise_nothing() -> None:
    """Any scale, infinities, ends of float32's range, useless variances: an image or a reason."""
    random, specials = np.random.default_rng(11), (np.nan, np.inf, 3.4e38, -3.4e38, 1e-45, 0.0)
    for _ in range(150):
        shape = tuple(random.integers(8, 70, 2))
        scales = 10.0 ** random.uniform(-40, 37, 2)
        image, variance = (random.normal(size=shape) * s for s in scales)
        for value in specials:
            image[random.random(shape) < random.choice([0.0, 0.01, 0.9])] = value
        found = normalise(Stamp(image.astype(np.float32), variance.astype(np.float32)))
        if isinstance(found, Normalised):
            out = np.full((side_of(shape, SIDES_PX),) * 2, np.nan, np.float32)
            reflect(found, out)
            assert np.isfinite(out).all()
