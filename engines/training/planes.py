"""The network's input: planes of an alert, each in units of its own noise, as one tensor."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.normalise import Normalised, has_data, normalise, reflect
from streamfilter.alerts.placement import Placement
from streamfilter.records import Image, NotEvaluated, Stamp

Tensor = npt.NDArray[np.float32]

NAMES = ("science", "template", "difference", "variance", "valid")
"""The planes in the order of the channels."""
SIDES_PX = (32, 64, 96, 128)
"""Sides of the input: an LSST stamp of 30 px goes in as 32, a ZTF stamp of 63 px as 64."""
LARGEST_LOG_VARIANCE = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One alert as the network takes it, (5, side, side), and where its stamp lies in it."""

    tensor: Tensor
    placement: Placement


def log_variance(variance: Image | None, shape: tuple[int, int]) -> Image:
    """Returns log10 of a variance over its sky level, the lower quartile; 0 where it is missing."""
    out = np.zeros(shape, np.float32)
    if variance is None or variance.shape != shape:
        return out
    usable = (variance > 0) & (variance < np.inf)
    if not usable.any():
        return out
    values = variance[usable]
    sky = np.partition(values, values.size // 4)[values.size // 4]
    out[usable] = np.log10(values / sky)
    return np.clip(out, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE, out=out)


def side_of(height: int, width: int) -> int:
    """Returns the smallest side of the input that holds a stamp of at most 128 px."""
    return next(side for side in SIDES_PX if max(height, width) <= side)


def stack(
    science: Image,
    template: Image | None = None,
    difference: Image | None = None,
    variance: Image | None = None,
) -> Input | NotEvaluated:
    """Returns an alert's planes as the network's input.

    Science, template and difference are background-subtracted and divided by their own sigma. A
    plane that is missing, of another shape or without variation is all zeros.
    """
    found = normalise(Stamp(science, variance))
    if isinstance(found, NotEvaluated):
        return found
    side = side_of(*science.shape)
    tensor = np.zeros((len(NAMES), side, side), np.float32)
    placement = reflect(found, tensor[0])
    for channel, image in ((1, template), (2, difference)):
        if image is not None and image.shape == science.shape:
            other = normalise(Stamp(image))
            if not isinstance(other, NotEvaluated):
                reflect(other, tensor[channel])
    reflect(Normalised(log_variance(variance, science.shape)), tensor[3])
    reflect(Normalised(has_data(science).astype(np.float32)), tensor[4])
    return Input(tensor, placement)
