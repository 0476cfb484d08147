"""Shapes of stars, held against fields whose shapes are known."""

import numpy as np
import pytest
from fields import Field, out_of_focus

from streamfilter.exposures import shapes
from streamfilter.exposures.records import Shapes
from streamfilter.exposures.shapes import Stars
from streamfilter.exposures.sky import normalise
from streamfilter.records import Image


def binned(image: Image, rows: int, columns: int) -> Image:
    height, width = image.shape[0] // rows * rows, image.shape[1] // columns * columns
    blocks = image[:height, :width].reshape(height // rows, rows, width // columns, columns)
    return np.asarray(blocks.sum(axis=(1, 3)), np.float32)


def find(field: Field, saturation: float | None = None) -> Stars:
    return find_in(field.image(), saturation)


def find_in(image: Image, saturation: float | None = None) -> Stars:
    found = normalise(image)
    assert isinstance(found, tuple)
    return shapes.find(found[0], None, saturation)


def number(value: float | None) -> float:
    assert value is not None
    return value


def test_round_stars_are_round_and_as_wide_as_they_are() -> None:
    """Elongation near 1, FWHM that of the seeing, no common direction."""
    found = shapes.measure(find(Field(fwhm_px=3.2)))
    assert 1.08 > number(found.elongation)
    assert 0.5 > number(found.coherence)
    assert 3.2 == pytest.approx(number(found.fwhm_px), rel=0.06)
    assert 50 < found.stars


@pytest.mark.parametrize("angle", [0.0, 35.0, 89.0, -60.0])
def test_trails_have_a_direction(angle: float) -> None:
    """The angle runs from x towards y; the mean of doubled angles treats 89 and -89 as near."""
    found = shapes.measure(find(Field(trail_px=8.0, angle_deg=angle)))
    assert 0.97 < number(found.coherence)
    off = (number(found.position_angle_deg) - angle + 90) % 180 - 90
    assert 3.0 > abs(off)


@pytest.mark.parametrize("trail", [3.0, 6.0, 12.0, 30.0])
def test_the_length_of_a_trail_is_found(trail: float) -> None:
    """It is in units of the FWHM across the trail."""
    found = shapes.measure(find(Field(trail_px=trail, faintest=8e3)))
    assert trail / 3.0 == pytest.approx(number(found.trail_fwhm), rel=0.25)


def test_cosmic_rays_are_no_stars() -> None:
    """Cosmic rays are neither counted nor measured."""
    rays = find(Field(stars=0, cosmic_rays=300))
    assert 30 > len(rays.x)
    both = shapes.measure(find(Field(cosmic_rays=300)))
    assert 1.1 > number(both.elongation)
    assert 3.0 == pytest.approx(number(both.fwhm_px), rel=0.08)


def test_galaxies_do_not_widen_the_stars() -> None:
    """Sources much larger than the detector's stars are left out."""
    found = shapes.measure(find(Field(galaxies=60)))
    assert 3.0 == pytest.approx(number(found.fwhm_px), rel=0.1)


def test_saturated_stars_are_not_measured() -> None:
    """Stars above 0.9 of the level are left out."""
    every, some = find(Field()), find(Field(), saturation=200.0)
    assert len(every.moments) > len(some.moments) > 0


def test_a_satellite_does_not_make_stars() -> None:
    """A line across the frame breaks into pieces that do not count while stars are round."""
    image = Field(stars=0).image()
    for step in np.arange(0, 890, 0.2):
        image[int(step), int(step * 1.1)] += 12
    found = normalise(image)
    assert isinstance(found, tuple)
    assert 12 > len(shapes.find(found[0]).x)


def test_an_empty_sky_has_no_shapes() -> None:
    """Without stars there are no numbers."""
    assert Shapes(0) == shapes.measure(find(Field(stars=0)))


def test_stars_are_counted_in_a_square() -> None:
    """Both edges of a pixel row belong to one square only."""
    stars = Stars(np.array([5.0, 15.0]), np.array([5.0, 5.0]), np.ones(2), np.zeros((0, 3)))
    assert (1, 2) == (stars.inside(0, 0, 10), stars.inside(0, 0, 20))


def test_detectors_that_trail_in_all_directions_are_not_coherent() -> None:
    """After field rotation, stars are elongated and have no common angle."""
    turned = [Shapes(50, 2.0, angle, 1.0, 3.0, 2.5) for angle in (-90.0, -45.0, 0.0, 45.0)]
    same = [Shapes(50, 2.0, 20.0, 1.0, 3.0, 2.5)] * 4
    assert 0.01 > number(shapes.pool(turned).coherence)
    assert 0.99 < number(shapes.pool(same).coherence)
    assert 20.0 == pytest.approx(number(shapes.pool(same).position_angle_deg))
    assert Shapes(0) == shapes.pool([Shapes(0)])


def test_a_satellite_s_trail_is_a_line_and_the_stars_are_not() -> None:
    """The line's ends are known, and the squares that it crosses."""
    image = Field(height=500, width=500, stars=40).image()
    y, x = np.mgrid[:500, :500]
    image += 400 * np.exp(-((y - 120 - 0.1 * x) ** 2) / 4).astype(np.float32)
    stars = find_in(image)
    assert [True, False] == [stars.crossed(top, 0, 200) for top in (50, 300)]
    assert 1.2 > (shapes.measure(stars).elongation or 9)


def test_stars_that_all_trail_are_no_lines() -> None:
    """Trails of any length are stars, which are to be judged."""
    stars = find(Field(height=700, width=700, stars=30, trail_px=120, faintest=2e4))
    assert (0, True) == (len(stars.lines), len(stars.x) > 10)


@pytest.mark.parametrize(
    "jumps", [[(9, -14)], [(14, 0)], [(0, -14)], [(9, 14), (-7, 20)], [(9, 14), (18, 28)]]
)
def test_stars_with_companions_at_one_offset_are_doubled(jumps: list[tuple[int, int]]) -> None:
    """A guider that jumps once or twice leaves such companions; chance neighbours are anywhere."""
    image = Field(height=600, width=600, stars=60).image()
    jumped = image + 0.7 * sum(np.roll(image, jump, (0, 1)) - 1000 for jump in jumps)
    assert (False, True) == tuple(shapes.doubled(find_in(each)) for each in (image, jumped))


@pytest.mark.parametrize(("radius", "vane"), [(12, 1.2), (20, 1.2), (30, 1.2), (35, 1.0)])
def test_a_ring_in_pieces_is_not_doubled(radius: float, vane: float) -> None:
    """A spider cuts each star out of focus at the same offsets, in two directions."""
    stars = find_in(out_of_focus(radius, vane))
    assert (False, True) == (shapes.doubled(stars), stars.unmeasured)


@pytest.mark.parametrize("field", [Field(), Field(stars=40, trail_px=30), Field(stars=1200)])
def test_stars_can_be_measured(field: Field) -> None:
    """Short and long stars can, also in a crowd; rings as large as a cut-out cannot."""
    assert (False, True) == (find(field).unmeasured, find_in(out_of_focus(45, 0)).unmeasured)


def test_a_cluster_is_not_doubled() -> None:
    """It has many pairs at every offset. A frame without stars is not doubled either."""
    crowd = find(Field(height=300, width=300, stars=400, faintest=5e3))
    assert (False, False) == (shapes.doubled(crowd), shapes.doubled(find(Field(stars=0))))


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (1, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("trail", [0.0, 10.0])
def test_shapes_are_those_on_the_sensor(rows: int, columns: int, trail: float) -> None:
    """Unequal binning neither makes nor hides trails; the unit is the pixels' finer side."""
    field = Field(height=1500, width=1500, fwhm_px=5.0, trail_px=trail, angle_deg=90)
    sky = normalise(binned(field.image(), rows, columns))
    assert isinstance(sky, tuple)
    found = shapes.measure(shapes.find(sky[0], binning=(rows, columns)))
    plain = shapes.measure(find(field))
    assert number(plain.elongation) == pytest.approx(number(found.elongation), rel=0.1)
    finer = number(plain.fwhm_px) / min(rows, columns)
    assert finer == pytest.approx(number(found.fwhm_px), rel=0.1)


def test_stars_smaller_than_the_longer_side_of_pixels_have_no_shape() -> None:
    """Round stars would look as long as the pixels: an elongation of 2, all in one direction."""
    sky = normalise(binned(Field(height=1600).image(), 4, 1))
    assert isinstance(sky, tuple)
    stars = shapes.find(sky[0], binning=(4, 1))
    assert (0, True) == (shapes.measure(stars).stars, stars.unmeasured)
