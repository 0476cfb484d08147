"""Tiles cover the whole frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.exposures import tiles


@pytest.mark.parametrize(
    ("length", "expected"),
    [(399, ()), (400, (0,)), (401, (0, 1)), (800, (0, 400)), (1199, (0, 400, 799))],
)
def test_the_last_tile_is_shifted_in(length: int, expected: tuple[int, ...]) -> None:
    """A frame smaller than a tile has none; no pixel of a larger one is left out."""
    assert expected == tiles.starts(length)


@given(st.integers(40, 300), st.integers(40, 300))
def test_every_pixel_is_covered_and_shares_add_up_to_the_frame(height: int, width: int) -> None:
    """Overlaps are divided evenly among the tiles."""
    found = tiles.cut((height, width), side=40)
    covered = np.zeros((height, width), int)
    for tile in found:
        covered[tile.where] += 1
    assert 1 <= covered.min()
    assert sum(tile.share for tile in found) == pytest.approx(height * width / 1600)


def test_masked_pixels_are_counted_per_tile() -> None:
    """The share of pixels with data stands beside each tile."""
    masked = np.zeros((400, 800), bool)
    masked[:100, :400] = True
    assert [0.75, 1.0] == [tile.unmasked for tile in tiles.cut((400, 800), masked)]


def test_the_network_gets_tiles_in_order() -> None:
    """They are a copy, (N, 1, side, side)."""
    image = np.arange(40 * 80, dtype=np.float32).reshape(40, 80)
    found = tiles.stacked(image, tiles.cut((40, 80), side=40))
    assert (2, 1, 40, 40) == found.shape
    np.testing.assert_array_equal(image[:, 40:], found[1, 0])
