"""Square tiles that cover a whole frame; those in the last row and column end at its edge."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.exposures.records import Mask
from streamfilter.records import Image

SIDE_PX = 400
"""The only side that MaxiTrack takes: it has one learned slope (PReLU) per activation."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of a frame, by its first row and column."""

    y: int
    x: int
    unmasked: float
    """Share of pixels with data."""
    share: float
    """Share of its area that counts for it when overlaps are divided evenly, in (0, 1]."""
    side: int = SIDE_PX

    @property
    def where(self) -> tuple[slice, slice]:
        """Rows and columns of the tile."""
        return slice(self.y, self.y + self.side), slice(self.x, self.x + self.side)


def starts(length: int, side: int = SIDE_PX) -> tuple[int, ...]:
    """Returns the tiles' first pixels along a side; none if the frame is smaller than a tile."""
    if length < side:
        return ()
    whole = tuple(range(0, length - side + 1, side))
    return whole if whole[-1] + side == length else (*whole, length - side)


def cut(shape: tuple[int, int], masked: Mask | None = None, side: int = SIDE_PX) -> list[Tile]:
    """Returns the tiles of a frame, row by row.

    Parameters
    ----------
    shape
        (height, width) of the frame.
    masked
        The frame's pixels without data.
    """
    rows, columns = starts(shape[0], side), starts(shape[1], side)
    row_shares, column_shares = _shares(shape[0], rows, side), _shares(shape[1], columns, side)
    tiles = []
    for y, row_share in zip(rows, row_shares, strict=True):
        for x, column_share in zip(columns, column_shares, strict=True):
            bad = 0.0 if masked is None else float(masked[y : y + side, x : x + side].mean())
            tiles.append(Tile(y, x, 1.0 - bad, row_share * column_share, side))
    return tiles


def _shares(length: int, first: tuple[int, ...], side: int) -> list[float]:
    """Returns each tile's share along one side: its pixels' mean of 1 / (tiles on the pixel)."""
    covered = np.zeros(length)
    for start in first:
        covered[start : start + side] += 1
    return [float((1 / covered[start : start + side]).mean()) for start in first]


def stacked(image: Image, tiles: Iterable[Tile]) -> npt.NDArray[np.float32]:
    """Returns a copy of the tiles as the network takes them: (N, 1, side, side)."""
    return np.stack([image[tile.where] for tile in tiles])[:, None]
