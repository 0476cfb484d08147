"""Turns a stamp as sent into an input of the network: in sigmas, finite, of a known side."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.placement import LARGEST_SIDE_PX, Mask, Placement, core
from streamfilter.records import Image, NotEvaluated, Place, Stamp

SIDES_PX = (64, 96, LARGEST_SIDE_PX)
"""Sides of the network's input; no smaller: at 32 px blank sky resembles fringes and nebulosity."""
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
    """

    image: Image
    filled: Mask | None = None
    place: Place | None = None

    @property
    def filled_px(self) -> int:
        """Number of pixels without data."""
        return 0 if self.filled is None else int(np.count_nonzero(self.filled))

    @property
    def side(self) -> int:
        """Side of the network's input for this stamp, in pixels."""
        return side_of(*self.image.shape)


@dataclass(frozen=True, slots=True)
class Background:
    """Level and noise of the sky, in the image's unit."""

    level: float
    sigma: float


def normalise(stamp: Stamp) -> Normalised | NotEvaluated:
    """Subtract the stamp's own background and divide by its noise, one number each per stamp.

    Pixels without data (see ``has_data``) are filled with the background. Where the stamp carries a
    variance, sigma is the root of the variance of its sky, else the clipped deviation.

    Returns
    -------
    Normalised
        Or a NotEvaluated: a side below 8 or above 128 px, fewer than 64 pixels with data or none at
        the alert's place, or no variation.
    """
    image = stamp.image
    if reason := _unfit_shape(image):
        return reason
    valid = has_data(image)
    complete = bool(valid.all())
    if not complete and (
        np.count_nonzero(valid) < FEWEST_PX or not (valid & core(*image.shape, stamp.place)).any()
    ):
        return NotEvaluated.NO_DATA
    sky = background(image if complete else image[valid], _sky_noise(stamp, valid))
    if sky is None:
        return NotEvaluated.NO_VARIATION
    # float64: pixels of 1e38 minus a level, or over a small sigma, overflow in float32.
    with np.errstate(invalid="ignore"):  # a NaN that signals is no data either
        scaled = (image.astype(np.float64) - sky.level) / sky.sigma
    np.clip(scaled, -LARGEST_SIGMAS, LARGEST_SIGMAS, out=scaled)
    if complete:
        return Normalised(scaled.astype(np.float32), None, stamp.place)
    scaled[~valid] = 0.0
    return Normalised(scaled.astype(np.float32), ~valid, stamp.place)


def has_data(image: Image) -> Mask:
    """Returns the mask of pixels with data; for no data ZTF writes NaN or the lowest float32."""
    mask: Mask = np.abs(image) < np.finfo(np.float32).max  # false for NaN
    return mask


def _unfit_shape(image: Image) -> NotEvaluated | None:
    if image.ndim != 2 or min(image.shape) < SMALLEST_SIDE_PX:
        return NotEvaluated.STAMP_TOO_SMALL
    return NotEvaluated.STAMP_TOO_LARGE if max(image.shape) > SIDES_PX[-1] else None


def _sky_noise(stamp: Stamp, valid: Mask) -> float | None:
    """Returns the noise of the sky from the stamp's variance; None without a usable variance.

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
    return float(np.sqrt(np.partition(usable, sky)[sky]))


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
    sums = _running(ordered)
    squares = _running(np.square(ordered))

    def deviation(low: int, high: int) -> float:
        mean = (sums[high] - sums[low]) / (high - low)
        return float(np.sqrt(max((squares[high] - squares[low]) / (high - low) - mean**2, 0.0)))

    low, high, level = 0, ordered.size, 0.0
    # Both zero: most pixels are equal, as in counts of a few electrons, or in padding.
    sigma = noise or min(-below, above) or max(-below, above) or deviation(low, high)
    for _ in range(MOST_CLIPS):
        edges = (level - CLIP_SIGMAS * sigma, level + CLIP_SIGMAS * sigma)
        first = int(np.searchsorted(ordered, edges[0], side="left"))
        last = int(np.searchsorted(ordered, edges[1], side="right"))
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


def side_of(height: int, width: int) -> int:
    """Returns the smallest side of the network's input that holds a stamp.

    Raises
    ------
    ValueError
        The stamp is larger than every side.
    """
    for side in SIDES_PX:
        if max(height, width) <= side:
            return side
    raise ValueError(f"a stamp of {height}x{width} px; the largest side is {SIDES_PX[-1]} px")


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
    top, left = (out.shape[0] - height) // 2, (out.shape[1] - width) // 2
    rows = _reflection(height, out.shape[0], top)
    columns = _reflection(width, out.shape[1], left)
    out[...] = stamp.image[rows[:, None], columns]
    return Placement(top, left, height, width, stamp.filled, stamp.place)


def _reflection(length: int, side: int, start: int) -> npt.NDArray[np.intp]:
    """Returns the source index of every output index; each reflection repeats the edge pixel."""
    index = np.arange(-start, side - start) % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
