"""The place of a stamp in the network's input, and of the alert in the stamp."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamfilter.records import Place, Stamp

Mask = npt.NDArray[np.bool_]

CORE_PX = 2.0
"""Radius around the alert; a contaminant within it is taken for the alert itself."""
LARGEST_SIDE_PX = 128
"""Largest side of the network's input; larger stamps are cut to the part around the alert."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """The window of the network's input that holds the stamp itself; the rest is reflection.

    ``filled`` has the stamp's shape and marks pixels without data; None where there are none.
    ``place`` is the alert's place in the stamp; None means ``place_of`` the shape.
    """

    top: int
    left: int
    height: int
    width: int
    filled: Mask | None = None
    place: Place | None = None


@lru_cache(maxsize=256)
def place_of(height: int, width: int, nominal_px: int | None = None, *, cut: bool = True) -> Place:
    """Returns where the alert may lie in a stamp.

    Parameters
    ----------
    nominal_px
        Side of a whole stamp; None: the longer side counts as that.
    cut
        Whether a shorter side was cut at the chip's edge. If not, the alert is in the middle of
        every stamp.

    Notes
    -----
    Of ten ZTF stamps cut at the chip's edge, nine have the alert at pixel 31 of the cut axis, one
    at 31 from its other end, and none in the middle.
    """
    nominal = (nominal_px or max(height, width)) if cut else 0
    return Place(_along(height, nominal), _along(width, nominal))


def _along(side: int, nominal: int) -> tuple[float, ...]:
    """Returns where the alert may lie along one axis, in pixels from 0.

    A shorter axis was cut at one of its ends; the stamp does not say at which, so there are two
    possible places. A side below half the nominal one cannot hold the alert at its place.
    """
    middle = (nominal - 1) / 2
    if side >= nominal or side - 1 < middle:
        return ((side - 1) / 2,)
    return (middle, side - 1 - middle)


def around_alert(stamp: Stamp) -> Stamp | None:
    """Returns the part of a stamp that fits the network, with the alert as central as possible.

    Returns
    -------
    Stamp
        The same stamp where it fits; None where the alert's possible places are too far apart.
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
    """Returns the pixels of an axis that hold all places and, where they exist, their cores."""
    most = min(side, LARGEST_SIDE_PX)
    first, last = min(places), max(places)
    if last - first + 2 * CORE_PX > most - 1:
        return None
    # Of two middle pixels the lower one, as in ``reflect`` for a whole stamp: the network halves
    # its input five times, so a shift by one pixel changes its output.
    start = math.ceil((first + last - (most - 1)) / 2)
    start = min(max(start, 0), side - most)
    return slice(start, start + most)


@lru_cache(maxsize=256)
def distances(height: int, width: int, place: Place | None = None) -> npt.NDArray[np.float64]:
    """Returns the distance of every pixel from the nearest possible place of the alert.

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
    """Returns the pixels within ``CORE_PX`` of the alert, as a read-only mask (height, width)."""
    near: Mask = distances(height, width, place) <= CORE_PX
    near.setflags(write=False)
    return near


@lru_cache(maxsize=256)
def by_distance(
    height: int, width: int, place: Place | None = None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], int]:
    """Returns the pixels of a stamp in order of their distance from the alert.

    Returns
    -------
    tuple
        Indices into the flattened stamp, nearest first; their distances in px; and the number of
        pixels in the core.
    """
    away = distances(height, width, place).ravel()
    order = np.argsort(away, kind="stable")
    return order, away[order], int(np.count_nonzero(core(height, width, place)))
