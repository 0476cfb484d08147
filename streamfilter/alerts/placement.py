"""Where a stamp lies in the network's input, and where the alert lies in the stamp."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamfilter.records import Place, Stamp

Mask = npt.NDArray[np.bool_]

CORE_PX = 2.0
"""Radius around the alert within which a contaminant is taken to be the alert itself."""
LARGEST_SIDE_PX = 128
"""Of the network's input; of larger stamps the part around the alert is judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """The window of the network's input that holds the stamp itself; the rest is reflection.

    ``filled`` has the stamp's shape and marks pixels without data; None where there are none.
    ``place`` is the alert's in the stamp; None: as ``place_of`` has it for the shape alone.
    """

    top: int
    left: int
    height: int
    width: int
    filled: Mask | None = None
    place: Place | None = None


@lru_cache(maxsize=256)
def place_of(height: int, width: int, nominal_px: int | None = None, *, cut: bool = True) -> Place:
    """Where the alert may lie in a stamp.

    Parameters
    ----------
    nominal_px
        Side of a whole stamp; None: the longer side is taken for it.
    cut
        Whether a shorter side was cut at the chip's edge; else the alert is in the middle of every
        stamp.

    Notes
    -----
    Of ten ZTF stamps cut by the chip's edge, nine have the alert at pixel 31 of the cut axis and
    one at 31 from its other end, and none in the middle.
    """
    nominal = (nominal_px or max(height, width)) if cut else 0
    return Place(_along(height, nominal), _along(width, nominal))


def _along(side: int, nominal: int) -> tuple[float, ...]:
    """Where the alert may lie along one axis, in pixels from 0.

    A shorter axis was cut on one end or on the other: which, the stamp does not say. Less than
    half the nominal side cannot hold the alert at its place.
    """
    middle = (nominal - 1) / 2
    if side >= nominal or side - 1 < middle:
        return ((side - 1) / 2,)
    return (middle, side - 1 - middle)


def around_alert(stamp: Stamp) -> Stamp | None:
    """The part of a stamp that the network can take, with the alert as near its middle as can be.

    Returns
    -------
    Stamp
        The same where it is no larger; None where the alert's possible places are too far apart.
    """
    height, width = stamp.image.shape
    if max(height, width) <= LARGEST_SIDE_PX:
        return stamp
    place = stamp.place or place_of(height, width)
    rows, columns = _window(height, place.rows), _window(width, place.columns)
    if rows is None or columns is None:
        return None
    # Copies: a view would keep the whole image for as long as the alert waits.
    return replace(
        stamp,
        image=stamp.image[rows, columns].copy(),
        variance=None if stamp.variance is None else stamp.variance[rows, columns].copy(),
        place=Place(
            tuple(row - rows.start for row in place.rows),
            tuple(column - columns.start for column in place.columns),
        ),
    )


def _window(side: int, places: tuple[float, ...]) -> slice | None:
    """The pixels of an axis that hold all places and, as far as they are there, their cores."""
    most = min(side, LARGEST_SIDE_PX)
    first, last = min(places), max(places)
    if last - first + 2 * CORE_PX > most - 1:
        return None
    # Of two middle pixels the lower one, where ``reflect`` puts the alert of a whole stamp too: the
    # network halves its input five times, and a shift by a pixel changes what it says.
    start = math.ceil((first + last - (most - 1)) / 2)
    start = min(max(start, 0), side - most)
    return slice(start, start + most)


@lru_cache(maxsize=256)
def distances(height: int, width: int, place: Place | None = None) -> npt.NDArray[np.float64]:
    """Distance of every pixel from the alert, the nearer of its possible places.

    Returns
    -------
    array
        (height, width), px, read-only.
    """
    place = place or place_of(height, width)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    each = [np.hypot(rows - y, columns - x) for y in place.rows for x in place.columns]
    nearest: npt.NDArray[np.float64] = np.minimum.reduce(each)
    nearest.setflags(write=False)
    return nearest


@lru_cache(maxsize=256)
def core(height: int, width: int, place: Place | None = None) -> Mask:
    """Pixels within ``CORE_PX`` of the alert, as a read-only mask (height, width)."""
    near: Mask = distances(height, width, place) <= CORE_PX
    near.setflags(write=False)
    return near


@lru_cache(maxsize=256)
def by_distance(
    height: int, width: int, place: Place | None = None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], int]:
    """Pixels of a stamp in order of their distance from the alert.

    Returns
    -------
    tuple
        Indices into the flattened stamp, nearest first; their distances in px; and how many of
        them are the core.
    """
    away = distances(height, width, place).ravel()
    order = np.argsort(away, kind="stable")
    return order, away[order], int(np.count_nonzero(core(height, width, place)))
