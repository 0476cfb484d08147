"""Square tiles that cover a whole frame; the last row and column are shifted in."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.exposures.records import Mask
from streamfilter.records import Image

SIDE_PX = 400
"""MaxiTrack's slopes are one per activation, which ties it to this side."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of a frame, by its first row and column."""

    y: int
    x: int
    unmasked: float
    """Share of pixels with data."""
    share: float
    """Share of its area that is its own when overlaps are divided evenly, in (0, 1]."""
    side: int = SIDE_PX

    @property
    def where(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.y, self.y + self.side), slice(self.x, self.x + self.side)


def starts(length: int, side: int = SIDE_PX) -> tuple[int, ...]:
    """First pixels of tiles along one side; none where the frame is smaller than a tile."""
    if length < side:
        return ()
    whole = tuple(range(0, length - side + 1, side))
    return whole if whole[-1] + side == length else (*whole, length - side)


def cut(shape: tuple[int, int], masked: Mask | None = None, side: int = SIDE_PX) -> list[Tile]:
    """Tiles of a frame, row by row.

    Parameters
    ----------
    shape
        (height, width) of the frame.
    masked
        Its pixels without data.
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
    """Along one side: mean over a tile's pixels of one over the tiles that have the pixel."""
    covered = np.zeros(length)
    for start in first:
        covered[start : start + side] += 1
    return [float((1 / covered[start : start + side]).mean()) for start in first]


def stacked(image: Image, tiles: Iterable[Tile]) -> npt.NDArray[np.float32]:
    """Tiles as the network takes them: (N, 1, side, side), a copy."""
    return np.stack([image[tile.where] for tile in tiles])[:, None]
