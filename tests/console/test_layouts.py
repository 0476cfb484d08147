"""Detectors are drawn where they lie in their camera, as large and turned as they are."""

from itertools import combinations

import pytest

from streamfilter.console.layouts import Place, layout_of, places_of, upright, view_box


@pytest.mark.parametrize(("camera", "count"), [("decam", 62), ("LSSTCam", 205), ("ztf", 64)])
def test_a_camera_has_a_place_for_each_detector(camera: str, count: int) -> None:
    """No two at one place."""
    places = layout_of(camera)
    assert count == len(places) == len({(place.x, place.y) for place in places})


@pytest.mark.parametrize(("camera", "low", "high", "axis"), [
    ("ztf", "0", "12", "x"),  # CCD 1 is in the east, CCD 4 in the west; east is left
    ("ztf", "48", "0", "y"),  # CCD 13 is in the north
    ("ztf", "0", "1", "x"),  # of one CCD, quadrant 1 is in the east
    ("ztf", "0", "3", "y"),  # and in the north
    ("decam", "S29", "N29", "y"),  # those called S lie in the north
    ("decam", "S31", "S29", "x"), ("decam", "31", "S1", "x"),  # rows count to the east
    ("lsstcam", "R41_S00", "R01_S00", "y"), ("lsstcam", "R10_S00", "R14_S00", "x"),
    ("lsstcam", "R22_S20", "R22_S00", "y"), ("lsstcam", "R22_S00", "R22_S02", "x"),
    ("lsstcam", "R00_SW0", "R00_SW1", "y"), ("lsstcam", "R04_SW0", "R04_SW1", "x"),
    ("lsstcam", "R40_SW1", "R40_SW0", "x"), ("lsstcam", "204", "203", "y"),
    ("lsstcam", "R00_SG1", "R00_SG0", "x"), ("lsstcam", "R44_SG0", "202", "y"),
])  # fmt: skip
def test_a_camera_lies_as_its_source_says(camera: str, low: str, high: str, axis: str) -> None:
    """To the right of, or below, the other; the file names the sources."""
    places, own = places_of(camera, [low, high])
    assert own
    assert getattr(places[low], axis) < getattr(places[high], axis)


def test_names_of_several_forms_are_the_same_detector() -> None:
    """By number or by name; what is known of no layout is put on a grid."""
    (number,), own = places_of("lsstcam", ["094"])[0].values(), places_of("lsstcam", ["094"])[1]
    (name,) = places_of("lsstcam", ["R22_S11"])[0].values()
    assert own
    assert number == name
    assert (7.5, 7.5) == (name.x, name.y), "the middle of the camera"
    grid, own = places_of("mine", [f"c{n}" for n in range(4)])
    assert not own
    assert 4 == len(set(grid.values()))


@pytest.mark.parametrize("camera", ["decam", "lsstcam", "ztf"])
def test_no_detector_lies_on_another(camera: str) -> None:
    """As they are drawn; so also those of LSSTCam's corners."""
    for one, two in combinations(layout_of(camera), 2):
        (across, down), (over, deep) = one.extent(), two.extent()
        apart = abs(one.x - two.x) * 2 >= across + over, abs(one.y - two.y) * 2 >= down + deep
        assert any(apart), (one, two)


def place_of(camera: str, name: str) -> Place:
    """Where one detector is drawn."""
    return places_of(camera, [name])[0][name]


def test_a_wavefront_sensor_is_half_a_detector() -> None:
    """Its long side is upright in the corners R04 and R40; a guider is as large as the others."""
    science, guider = place_of("lsstcam", "R22_S11"), place_of("lsstcam", "R00_SG0")
    lying, upright_one = place_of("lsstcam", "R00_SW0"), place_of("lsstcam", "R40_SW0")
    assert (science.width, science.height) == (guider.width, guider.height)
    assert (science.width, science.height / 2) == pytest.approx((lying.width, lying.height), 1e-3)
    assert lying.extent() == upright_one.extent()[::-1]


def test_decam_is_round_and_its_detectors_lie() -> None:
    """Seven detectors of 61 mm wide, twelve of 31 mm high."""
    across, down = place_of("decam", "N4").extent()
    assert across == pytest.approx(2 * down)
    left, top, width, height = map(float, view_box(layout_of("decam")).split())
    assert width / height == pytest.approx(1.1, abs=0.02)
    assert (left, top) == pytest.approx((0, 0), abs=0.05)


@pytest.mark.parametrize(("camera", "name", "transform"), [
    ("mine", "a", "translate(0.5 0.5)"),
    ("lsstcam", "R22_S11", "translate(7.5 7.5)"),
    ("lsstcam", "R40_SG1", "matrix(0 -1 1 0"),  # yaw 90: columns count upwards, rows to the left
    ("decam", "N4", "matrix(0 1 1 0"),  # columns count downwards, to the south, rows to the left
    ("ztf", "0", "matrix(1 0 0 -1"),  # rows count downwards, to the south
])  # fmt: skip
def test_a_detector_is_turned_as_its_pixels_count(camera: str, name: str, transform: str) -> None:
    """What is drawn of it has its columns to the right and its rows upwards before that."""
    assert place_of(camera, name).transform().startswith(transform)
    assert upright(place_of(camera, name)).transform() == "translate(0 0)"


def test_only_detectors_that_take_the_sky_s_picture_are_missed() -> None:
    """No hole is drawn for a guider or a wavefront sensor that did not come."""
    assert 189 == sum(each.expected for each in layout_of("lsstcam"))
    assert not place_of("lsstcam", "192").expected
