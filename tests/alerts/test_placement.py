"""Where the alert lies in a stamp."""

import numpy as np
import pytest

from streamfilter.alerts.placement import (
    CORE_PX,
    around_alert,
    by_distance,
    core,
    distances,
    place_of,
)
from streamfilter.records import Stamp


@pytest.mark.parametrize(("side", "centre", "pixels"), [(63, [31, 31], 13), (30, [14.5, 14.5], 12)])
def test_a_square_stamp_has_its_alert_in_the_middle(
    side: int, centre: list[float], pixels: int
) -> None:
    """The core is symmetric about the centre, which lies between pixels of an even side."""
    inside = np.argwhere(core(side, side))
    assert centre == inside.mean(axis=0).tolist()
    assert pixels == len(inside)


def test_a_stamp_cut_by_the_chip_has_its_alert_at_one_of_two_places() -> None:
    """63x48: pixel 31 from either end of the cut axis, on the middle of the whole one."""
    assert [[31, 16], [31, 31]] == np.argwhere(distances(63, 48) == 0).tolist()


def test_a_stamp_too_narrow_for_its_alert_takes_the_middle() -> None:
    """Less than half of the nominal side cannot hold the alert where it should be."""
    assert [[31, 10]] == np.argwhere(distances(63, 21) == 0).tolist()


def test_a_corner_cut_on_both_axes_is_known_by_the_nominal_side() -> None:
    """50x50 of 63x63: pixel 31 from either end of each axis, not the middle."""
    place = place_of(50, 50, 63)
    assert ((31.0, 18.0), (31.0, 18.0)) == place
    expected = [[18, 18], [18, 31], [31, 18], [31, 31]]
    assert expected == np.argwhere(distances(50, 50, place) == 0).tolist()
    assert not core(50, 50, place)[24, 24]


def test_a_stamp_larger_than_nominal_has_its_alert_in_the_middle() -> None:
    """A survey may send larger ones of bright sources."""
    assert ((46.0,), (46.0,)) == place_of(93, 93, 63)


def test_a_rectangle_by_nature_has_its_alert_in_the_middle() -> None:
    """The survey's map says that its stamps are never cut."""
    assert ((29.5,), (49.5,)) == place_of(60, 100, cut=False)


@pytest.mark.parametrize("shape", [(200, 200), (201, 129), (100, 300), (1024, 130)])
def test_of_a_large_stamp_the_part_around_the_alert_is_kept(shape: tuple[int, int]) -> None:
    """The part has at most 128 px; the alert is on the same pixels, where reflection puts it."""
    image = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    whole = Stamp(image, image, place=place_of(*shape, cut=False))
    part = around_alert(whole)
    assert part is not None
    assert part.place is not None
    assert tuple(min(side, 128) for side in shape) == part.image.shape
    for (at,), side in zip(part.place, shape, strict=True):
        assert (min(side, 128) - 1) / 2 - (0.5 if side % 2 else 0.0) == at
    here = distances(*part.image.shape, part.place) <= CORE_PX
    there = distances(*shape, whole.place) <= CORE_PX
    assert image[there].tolist() == part.image[here].tolist()
    assert part.variance is not None
    assert np.array_equal(part.image, part.variance)
    assert part.image.base is None


def test_a_stamp_that_the_network_takes_is_left_as_it_is() -> None:
    """No copy is made of an ordinary one."""
    stamp = Stamp(np.ones((128, 63), np.float32))
    assert stamp is around_alert(stamp)


def test_both_places_of_a_large_cut_stamp_are_kept() -> None:
    """200x150 of 200x200: the alert is at 99.5 from one end or the other."""
    part = around_alert(Stamp(np.ones((200, 150), np.float32)))
    assert part is not None
    assert ((63.5,), (88.5, 38.5)) == part.place


def test_places_too_far_apart_cannot_be_judged_at_once() -> None:
    """500x300 of 500x500: 249.5 from either end of 300."""
    assert around_alert(Stamp(np.ones((500, 300), np.float32))) is None


def test_pixels_in_order_of_distance_begin_with_the_core() -> None:
    """The first of them are exactly the core."""
    order, away, n = by_distance(62, 61)
    assert (np.diff(away) >= 0).all()
    assert set(np.flatnonzero(core(62, 61))) == set(order[:n].tolist())


def test_what_is_shared_cannot_be_changed() -> None:
    """Distances are kept for all stamps of a shape."""
    with pytest.raises(ValueError, match="read-only"):
        distances(30, 30)[0, 0] = 1.0
