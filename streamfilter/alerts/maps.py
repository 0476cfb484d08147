"""Maps of a stamp, pixel by pixel: annotations do not keep them, so the network runs once more."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.pipeline import Item, Prepared, infer
from streamfilter.alerts.placement import Placement
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.posterior import update
from streamfilter.records import Plane

Mask = npt.NDArray[np.bool_]
Posteriors = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StampMaps:
    """What the network says of one stamp; each map has the stamp's shape (height, width)."""

    posteriors: Mapping[str, Posteriors]
    """Probabilities under the deployment priors, in [0, 1], by class code, in the engine's order;
    also of pixels without data."""
    masks: Mapping[str, Mask]
    """True where the posterior is above the class threshold and the pixel has data."""


def stamp_maps(engine: Engine, prepared: Prepared, plane: Plane) -> StampMaps | None:
    """Returns the maps of a stamp; None where the network does not evaluate it.

    As many pixels are masked as the annotation counts.

    Parameters
    ----------
    engine
        The pipeline's first, for which alerts are prepared: annotations have its pixels. Further
        engines have no maps.
    """
    item = next((each for each in prepared.items if each.plane is plane), None)
    if item is None:
        return None
    raw, place = stamp_output(engine, item)
    by, posteriors, masks = item.policy.deployment(item.side), {}, {}
    for number, code in enumerate(item.policy.codes):
        posteriors[code] = update(raw[number], by.training[number], by.priors[number])
        above: Mask = raw[number] > by.thresholds[number]
        masks[code] = above if place.filled is None else above & ~place.filled
    return StampMaps(posteriors, masks)


def stamp_output(engine: Engine, item: Item) -> tuple[Tensor, Placement]:
    """Returns the network's raw probabilities (K, height, width) of a stamp, and its placement."""
    raw, (place,) = infer(engine, [item])
    rows = slice(place.top, place.top + place.height)
    columns = slice(place.left, place.left + place.width)
    return raw[0, :, rows, columns], place
