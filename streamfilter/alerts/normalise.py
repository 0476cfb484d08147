"""Turns a stamp as sent into an input of the network: in sigmas, finite, of a known side."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

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
_NO_DATA = np.finfo(np.float32).max
"""As large as this no pixel with data is."""
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
    image, filled = stamp.image, None
    if reason := _unfit_shape(image, largest_px):
        return reason
    ordered = np.sort(image, axis=None)
    # NaN is sorted behind all numbers, so the ends tell whether all pixels have data.
    if not (ordered[0] > -_NO_DATA and ordered[-1] < _NO_DATA):
        valid = has_data(image)
        filled = ~valid
        if np.count_nonzero(valid) < FEWEST_PX or filled[core(*image.shape, stamp.place)].all():
            return NotEvaluated.NO_DATA
        ordered = np.sort(image[valid])
    variance = _sky_variance(stamp, filled)
    sky = _background(ordered, None if variance is None else math.sqrt(variance))
    if sky is None:
        return NotEvaluated.NO_VARIATION
    return Normalised(_in_sigmas(image, filled, sky, ordered), filled, stamp.place, variance)


def _in_sigmas(
    image: Image, filled: Mask | None, sky: Background, ordered: npt.NDArray[np.floating]
) -> Image:
    """Returns an image in sigmas; ``ordered`` has its pixels with data, and their extremes."""
    # float64: pixels of 1e38 minus a level, or over a small sigma, overflow in float32.
    if filled is None:
        scaled = np.subtract(image, sky.level, dtype=np.float64)
    else:
        with np.errstate(invalid="ignore"):  # a NaN that signals is no data either
            scaled = np.subtract(image, sky.level, dtype=np.float64)
        scaled[filled] = 0.0
    scaled /= sky.sigma
    lowest, highest = float(ordered[0]), float(ordered[-1])
    if max(sky.level - lowest, highest - sky.level) > LARGEST_SIGMAS * sky.sigma:
        np.clip(scaled, -LARGEST_SIGMAS, LARGEST_SIGMAS, out=scaled)
    return scaled.astype(np.float32)


def has_data(image: Image) -> Mask:
    """Returns the mask of pixels with data; for no data ZTF writes NaN or the lowest float32."""
    mask: Mask = np.abs(image) < _NO_DATA  # false for NaN
    return mask


def _unfit_shape(image: Image, largest_px: int) -> NotEvaluated | None:
    if image.ndim != 2 or min(image.shape) < SMALLEST_SIDE_PX:
        return NotEvaluated.STAMP_TOO_SMALL
    return NotEvaluated.STAMP_TOO_LARGE if max(image.shape) > largest_px else None


def _sky_variance(stamp: Stamp, filled: Mask | None) -> np.float32 | None:
    """Returns the variance of the sky from the stamp's variance; None without a usable one.

    It is one number, not one per pixel: the network was trained on images divided by a smooth noise
    map, and the photon noise of a source flattens its own peak. On 25 LSST stamps a sigma per pixel
    shrinks the mask of a real track from 69 to 44 px. On a stamp that a galaxy fills, the image's
    own deviation is up to five times the sky's.
    """
    variance = stamp.variance
    if variance is None or variance.shape != stamp.image.shape:
        return None
    ordered = np.sort(variance, axis=None) if filled is None else np.sort(variance[~filled])
    first, last = ordered.searchsorted(0, "right"), ordered.searchsorted(np.inf, "left")
    if last - first < FEWEST_PX:
        return None
    # The lower quartile is sky until sources cover three quarters.
    level: np.float32 = ordered[first + (last - first) // 4]
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
    is a slice of the sorted one.
    """
    return _background(np.sort(values, axis=None), noise)


def _background(values: npt.NDArray[np.floating], noise: float | None) -> Background | None:
    """Returns the background of a sorted sample; see ``background``."""
    if values[0] == values[-1]:
        return None
    count = values.size
    middle = float(values[count // 2])
    ordered = np.subtract(values, middle, dtype=np.float64)  # keeps the sums of squares exact
    # Searching is quicker in plain floats: an array makes an object for every look, and lets other
    # threads in at every search.
    plain = ordered.data
    below, above = (plain[int(q * (count - 1))] for q in ONE_SIGMA_QUANTILES)
    low, high, level = 0, count, 0.0
    # Both zero: most pixels are equal, as in counts of a few electrons, or in padding.
    sigma = noise or min(-below, above) or max(-below, above) or _deviation(ordered)
    for _ in range(MOST_CLIPS):
        first = bisect_left(plain, level - CLIP_SIGMAS * sigma)
        last = bisect_right(plain, level + CLIP_SIGMAS * sigma)
        if (first, last) == (low, high) or first >= last:
            break
        if noise is None:
            clipped = _deviation(ordered[first:last])
            if clipped == 0.0:
                break
            sigma = clipped
        low, high = first, last
        level = plain[(low + high) // 2]
    return Background(middle + level, sigma)


def _deviation(values: npt.NDArray[np.float64]) -> float:
    mean = float(np.add.reduce(values)) / values.size
    return math.sqrt(max(float(values.dot(values)) / values.size - mean**2, 0.0))


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


def reflect(stamp: Normalised, out: Image, others: Sequence[Image | None] = ()) -> Placement:
    """Write a stamp into the middle of ``out`` and fill the rest with its reflections.

    Parameters
    ----------
    stamp
        Not larger than ``out``.
    out
        (side, side), overwritten; may be a slice of a batch. With others (1 + others, side, side).
    others
        Images of the stamp's shape that go into the planes after it; None stands for zeros.

    Returns
    -------
    Placement
        Where the stamp itself lies in ``out``.
    """
    planes = out if out.ndim > 2 else out[None]
    (placement,) = reflect_batch([(stamp, others)], planes[None])
    return placement


def reflect_batch(
    stamps: Sequence[tuple[Normalised, Sequence[Image | None]]], out: Image
) -> list[Placement]:
    """Write stamps of one shape, each with its others, as ``reflect`` does, into a batch."""
    images = [(stamp.image, *others) for stamp, others in stamps]
    top, left = _reflect_images(images, out)
    height, width = stamps[0][0].image.shape
    return [Placement(top, left, height, width, stamp.filled, stamp.place) for stamp, _ in stamps]


def reflect_image(image: Image, out: Image) -> tuple[int, int]:
    """Write an image as ``reflect`` does; returns its first row and column in ``out``."""
    return _reflect_images([[image]], out[None, None])


def _reflect_images(stamps: Sequence[Sequence[Image | None]], out: Image) -> tuple[int, int]:
    """Write the images of stamps of one shape as ``reflect`` does.

    Parameters
    ----------
    stamps
        The first image of each is there; None stands for zeros.
    out
        (stamps, images, side, side), overwritten.

    Returns
    -------
    tuple
        Their first row and column in ``out``.
    """
    first = stamps[0][0]
    assert first is not None, "an alert is judged by its first plane"
    (height, width), (rows, columns) = first.shape, out.shape[-2:]
    top, left = (rows - height) // 2, (columns - width) // 2
    bottom, right = top + height, left + width
    for images, planes in zip(stamps, out[..., top:bottom, left:right], strict=True):
        for image, plane in zip(images, planes, strict=True):
            plane[...] = 0.0 if image is None else image
    if rows - bottom > height or columns - right > width:  # reflected more than once
        from_row, from_column = _reflection(height, rows, top), _reflection(width, columns, left)
        inside = out[..., top:bottom, left:right].copy()
        out[...] = inside[..., from_row[:, None], from_column]
        return top, left
    inside = out[..., top:bottom, :]
    if left:
        inside[..., :left] = inside[..., left : 2 * left][..., ::-1]
    if right < columns:
        inside[..., right:] = inside[..., 2 * right - columns : right][..., ::-1]
    if top:
        out[..., :top, :] = out[..., top : 2 * top, :][..., ::-1, :]
    if bottom < rows:
        out[..., bottom:, :] = out[..., 2 * bottom - rows : bottom, :][..., ::-1, :]
    return top, left


def _reflection(length: int, side: int, start: int) -> npt.NDArray[np.intp]:
    """Returns the source index of every output index; each reflection repeats the edge pixel."""
    index = np.arange(-start, side - start) % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
