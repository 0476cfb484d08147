"""The network's input: planes of an alert, each in units of its own noise, as one tensor.

All is done by the pipeline's own functions, so that the network is shown in service what it was
trained on.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.beside import beside
from streamfilter.alerts.normalise import normalise, reflect, reflect_image, side_of
from streamfilter.alerts.placement import Placement
from streamfilter.records import Alert, Image, Message, NotEvaluated, Origin, Plane, Stamp

Tensor = npt.NDArray[np.float32]

NAMES = ("science", "template", "difference", "variance", "valid")
"""The planes in the order of the channels."""
SIDES_PX = (32, 64, 96, 128)
"""Sides of the input: an LSST stamp of 30 px goes in as 32, a ZTF stamp of 63 px as 64."""
_NOWHERE = Message(Origin("", 0, 0), None)


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One alert as the network takes it, (5, side, side), and where its stamp lies in it."""

    tensor: Tensor
    placement: Placement


def stack(
    science: Image,
    template: Image | None = None,
    difference: Image | None = None,
    variance: Image | None = None,
) -> Input | NotEvaluated:
    """Returns an alert's planes as the network's input; a plane that is missing is all zeros."""
    stamps = {
        plane: Stamp(image, variance if plane is Plane.SCIENCE else None)
        for plane, image in zip(Plane, (science, template, difference), strict=True)
        if image is not None
    }
    found = normalise(stamps[Plane.SCIENCE], SIDES_PX[-1])
    if isinstance(found, NotEvaluated):
        return found
    side = side_of(science.shape, SIDES_PX)
    tensor = np.zeros((len(NAMES), side, side), np.float32)
    placement = reflect(found, tensor[0])
    alert = Alert(_NOWHERE, "", "", None, stamps)
    others = beside(alert, found, NAMES[1:], SIDES_PX[-1]).images
    for image, channel in zip(others, tensor[1:], strict=True):
        if image is not None:
            reflect_image(image, channel)
    return Input(tensor, placement)
