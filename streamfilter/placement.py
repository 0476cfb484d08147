"""Where a stamp lies in the network's input, and where the alert lies in the stamp."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

CORE_PX = 2.0
"""Radius around the alert within which a contaminant is taken to be the alert itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """The window of the network's input that holds the stamp itself; the rest is reflection.

    ``filled`` has the stamp's shape and marks pixels without data; None where there are none.
    """

    top: int
    left: int
    height: int
    width: int
    filled: Mask | None = None


def _centres(side: int, nominal: int) -> tuple[float, ...]:
    """Where the alert may lie along one axis, in pixels from 0.

    A shorter axis was cut at the chip's edge, on one end or on the other: which, the stamp does
    not say. Less than half the nominal side cannot hold the alert at its place.
    """
    middle = (nominal - 1) / 2
    if side == nominal or side - 1 < middle:
        return ((side - 1) / 2,)
    return (middle, side - 1 - middle)


@lru_cache(maxsize=256)
def distances(height: int, width: int) -> npt.NDArray[np.float64]:
    """Distance of every pixel from the alert.

    A square stamp has the alert at its geometric centre, between pixels where the side is even.
    Otherwise the longer side is taken as the nominal one and the nearer of the two possible places
    counts: of ten ZTF stamps cut by the chip's edge, nine have the alert at pixel 31 of the cut
    axis and one at 31 from its other end, and none in the middle.

    Returns
    -------
    array
        (height, width), px, read-only.
    """
    nominal = max(height, width)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    each = [
        np.hypot(rows - y, columns - x)
        for y in _centres(height, nominal)
        for x in _centres(width, nominal)
    ]
    nearest: npt.NDArray[np.float64] = np.minimum.reduce(each)
    nearest.setflags(write=False)
    return nearest


@lru_cache(maxsize=256)
def core(height: int, width: int) -> Mask:
    """Pixels within ``CORE_PX`` of the alert, as a read-only mask (height, width)."""
    near: Mask = distances(height, width) <= CORE_PX
    near.setflags(write=False)
    return near


@lru_cache(maxsize=256)
def by_distance(
    height: int, width: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], int]:
    """Pixels of a stamp in order of their distance from the alert.

    Returns
    -------
    tuple
        Indices into the flattened stamp, nearest first; their distances in px; and how many of
        them are the core.
    """
    away = distances(height, width).ravel()
    order = np.argsort(away, kind="stable")
    return order, away[order], int(np.count_nonzero(core(height, width)))
