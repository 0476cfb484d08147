"""Turns a stamp as sent into an input of the network: in sigmas, finite, of a known side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.placement import LARGEST_SIDE_PX, Mask, Placement, core, distances
from streamfilter.records import Image, NotEvaluated, Place, Stamp

SMALLEST_SIDE_PX = 8
"""A smaller stamp has too little sky for a background."""
FEWEST_PX = SMALLEST_SIDE_PX**2
"""Fewest pixels with data for a background: as many as the smallest stamp has."""
CLIP_SIGMAS = 3.0
"""Clipping limit, the same as for the background of the network's training images."""
MOST_CLIPS = 20
"""Clipping converges in three to eight rounds; the bound is for degenerate images."""
LARGEST_SIGMAS = 1e6
"""Beyond the range of any detector; keeps float32 finite for any pixel value."""
ONE_SIGMA_QUANTILES = (0.1587, 0.8413)
"""Quantiles of a Gaussian one sigma below and above its median."""


@dataclass(frozen=True, slots=True, eq=False)
class Normalised:
    """A stamp in units of its own noise.

    ``image`` is background-subtracted, divided by sigma and finite. ``filled`` marks pixels without
    data, which are 0; None where there are none. ``place`` is the place of the alert.
    ``sky_variance`` is in the stamp's unit squared; None where the stamp has no usable variance.
    """

    image: Image
    filled: Mask | None = None
    place: Place | None = None
    sky_variance: np.float32 | None = None

    @property
    def filled_px(self) -> int:
        """Number of pixels without data."""
        return 0 if self.filled is None else int(np.count_nonzero(self.filled))

    @property
    def no_data_distance_px(self) -> float | None:
        """Distance from the alert to the nearest pixel without data; None where there is none."""
        if self.filled is None:
            return None
        return float(distances(*self.image.shape, self.place)[self.filled].min())


@dataclass(frozen=True, slots=True)
class Background:
    """Level and noise of the sky, in the image's unit."""

    level: float
    sigma: float


def normalise(stamp: Stamp, largest_px: int = LARGEST_SIDE_PX) -> Normalised | NotEvaluated:
    """Subtract the stamp's own background and divide by its noise, one number each per stamp.

    Pixels without data (see ``has_data``) are filled with the background. Where the stamp carries a
    variance, sigma is the root of the variance of its sky, else the clipped deviation.

    Parameters
    ----------
    largest_px
        Largest side that the network takes.

    Returns
    -------
    Normalised
        Or a NotEvaluated: a side below 8 px or above the largest, fewer than 64 pixels with data or
        none at the alert's place, or no variation.
    """
    image = stamp.image
    if reason := _unfit_shape(image, largest_px):
        return reason
    valid = has_data(image)
    complete = bool(valid.all())
    if not complete and (
        np.count_nonzero(valid) < FEWEST_PX or not (valid & core(*image.shape, stamp.place)).any()
    ):
        return NotEvaluated.NO_DATA
    variance = _sky_variance(stamp, valid)
    noise = None if variance is None else float(np.sqrt(variance))
    sky = background(image if complete else image[valid], noise)
    if sky is None:
        return NotEvaluated.NO_VARIATION
    # float64: pixels of 1e38 minus a level, or over a small sigma, overflow in float32.
    with np.errstate(invalid="ignore"):  # a NaN that signals is no data either
        scaled = (image.astype(np.float64) - sky.level) / sky.sigma
    np.clip(scaled, -LARGEST_SIGMAS, LARGEST_SIGMAS, out=scaled)
    if complete:
        return Normalised(scaled.astype(np.float32), None, stamp.place, variance)
    scaled[~valid] = 0.0
    return Normalised(scaled.astype(np.float32), ~valid, stamp.place, variance)


def has_data(image: Image) -> Mask:
    """Returns the mask of pixels with data; for no data ZTF writes NaN or the lowest float32."""
    mask: Mask = np.abs(image) < np.finfo(np.float32).max  # false for NaN
    return mask


def _unfit_shape(image: Image, largest_px: int) -> NotEvaluated | None:
    if image.ndim != 2 or min(image.shape) < SMALLEST_SIDE_PX:
        return NotEvaluated.STAMP_TOO_SMALL
    return NotEvaluated.STAMP_TOO_LARGE if max(image.shape) > largest_px else None


def _sky_variance(stamp: Stamp, valid: Mask) -> np.float32 | None:
    """Returns the variance of the sky from the stamp's variance; None without a usable one.

    It is one number, not one per pixel: the network was trained on images divided by a smooth noise
    map, and the photon noise of a source flattens its own peak. On 25 LSST stamps a sigma per pixel
    shrinks the mask of a real track from 69 to 44 px. On a stamp that a galaxy fills, the image's
    own deviation is up to five times the sky's.
    """
    variance = stamp.variance
    if variance is None or variance.shape != stamp.image.shape:
        return None
    usable = variance[valid & (variance > 0) & (variance < np.inf)]
    if usable.size < FEWEST_PX:
        return None
    sky = usable.size // 4  # the lower quartile is sky until sources cover three quarters
    level: np.float32 = np.partition(usable, sky)[sky]
    return level


def background(values: npt.NDArray[np.floating], noise: float | None = None) -> Background | None:
    """Returns clipped median and clipped deviation of a sample of pixels.

    Parameters
    ----------
    values
        Finite, at least one; any shape.
    noise
        The sky's sigma where it is known. It then sets every clip, so that the level goes to the
        sky even where a source covers most pixels, and it is the sigma of the result.

    Returns
    -------
    Background
        None where the sample has no variation.

    Notes
    -----
    Clipping starts at the median and the narrower half of the central 68 %, so that a bright source
    in the middle does not set the first clip. One sort is enough for every round: a clipped sample
    is a slice of the sorted one, and its sums are differences of running sums.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    if ordered[0] == ordered[-1]:
        return None
    middle = float(ordered[ordered.size // 2])
    ordered -= middle  # keeps the running sums of squares exact
    below, above = (float(ordered[int(q * (ordered.size - 1))]) for q in ONE_SIGMA_QUANTILES)
    running = cache(lambda: (_running(ordered), _running(np.square(ordered))))

    def deviation(low: int, high: int) -> float:
        sums, squares = running()  # where the noise is known, they are not needed
        mean = (sums[high] - sums[low]) / (high - low)
        return math.sqrt(max((squares[high] - squares[low]) / (high - low) - mean**2, 0.0))

    low, high, level = 0, ordered.size, 0.0
    # Both zero: most pixels are equal, as in counts of a few electrons, or in padding.
    sigma = noise or min(-below, above) or max(-below, above) or deviation(low, high)
    for _ in range(MOST_CLIPS):
        first = int(ordered.searchsorted(level - CLIP_SIGMAS * sigma, "left"))
        last = int(ordered.searchsorted(level + CLIP_SIGMAS * sigma, "right"))
        if (first, last) == (low, high) or first >= last:
            break
        if noise is None:
            clipped = deviation(first, last)
            if clipped == 0.0:
                break
            sigma = clipped
        low, high = first, last
        level = float(ordered[(low + high) // 2])
    return Background(middle + level, sigma)


def _running(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the sums of the first 0, 1, 2 ... values."""
    return np.concatenate(([0.0], np.cumsum(values)))


def side_of(shape: Sequence[int], sides_px: Sequence[int]) -> int:
    """Returns the smallest side of the network's input that holds a stamp.

    Parameters
    ----------
    shape
        Height and width of the stamp.
    sides_px
        In rising order, as in the engine's manifest.

    Raises
    ------
    ValueError
        The stamp is larger than every side.
    """
    for side in sides_px:
        if max(shape) <= side:
            return side
    found = "x".join(map(str, shape))
    raise ValueError(f"a stamp of {found} px; the largest side is {sides_px[-1]} px")


def reflect(stamp: Normalised, out: Image) -> Placement:
    """Write a stamp into the middle of ``out`` and fill the rest with its reflections.

    Parameters
    ----------
    stamp
        Not larger than ``out``.
    out
        (side, side), overwritten; may be a slice of a batch.

    Returns
    -------
    Placement
        Where the stamp itself lies in ``out``.
    """
    height, width = stamp.image.shape
    top, left = reflect_image(stamp.image, out)
    return Placement(top, left, height, width, stamp.filled, stamp.place)


def reflect_image(image: Image, out: Image) -> tuple[int, int]:
    """Write an image as ``reflect`` does; returns its first row and column in ``out``."""
    (height, width), (rows, columns) = image.shape, out.shape
    top, left = (rows - height) // 2, (columns - width) // 2
    bottom, right = top + height, left + width
    if rows - bottom > height or columns - right > width:  # reflected more than once
        from_row, from_column = _reflection(height, rows, top), _reflection(width, columns, left)
        out[...] = image[from_row[:, None], from_column]
        return top, left
    out[top:bottom, left:right] = image
    inside = out[top:bottom]
    inside[:, :left] = inside[:, left : 2 * left][:, ::-1]
    inside[:, right:] = inside[:, 2 * right - columns : right][:, ::-1]
    out[:top] = out[top : 2 * top][::-1]
    out[bottom:] = out[2 * bottom - rows : bottom][::-1]
    return top, left


def _reflection(length: int, side: int, start: int) -> npt.NDArray[np.intp]:
    """Returns the source index of every output index; each reflection repeats the edge pixel."""
    index = np.arange(-start, side - start) % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
