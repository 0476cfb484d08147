"""Arrays of stamps as alerts, without a survey's packets."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from streamfilter.records import Alert, Image, Message, Origin, Plane, Stamp

Stamps = np.ndarray | Sequence[np.ndarray]
"""(N, height, width), one (height, width), or a list of N images, which may differ in size."""
IN_ARRAYS = "arrays"
"""Topic of the origin of stamps that are given as arrays."""


def alerts_of(
    survey: str, planes: Mapping[Plane, Stamps], variance: Stamps | None, ids: Sequence[str] | None
) -> Iterator[Alert]:
    """Yields an alert for each stamp, named by its number or ``ids``; it is in the middle of it.

    Raises
    ------
    ValueError
        An array has another number of stamps than the science stamps, or other axes.
    """
    images = {plane: _images(plane, given) for plane, given in planes.items()}
    count = len(images[Plane.SCIENCE])
    variances = [] if variance is None else _images("variance", variance)
    numbers = {str(plane): len(each) for plane, each in images.items()}
    if variance is not None:
        numbers["variance"] = len(variances)
    if ids is not None:
        numbers["ids"] = len(ids)
    for name, number in numbers.items():
        if number != count:
            raise ValueError(f"{name}: {number}; expected {count}, one for each science stamp")
    for number in range(count):
        stamps = {plane: Stamp(each[number]) for plane, each in images.items()}
        if variances:
            stamps[Plane.SCIENCE] = Stamp(images[Plane.SCIENCE][number], variances[number])
        message = Message(Origin(IN_ARRAYS, 0, number), None)
        yield Alert(message, survey, str(number if ids is None else ids[number]), None, stamps)


def _images(name: str, given: Stamps) -> list[Image]:
    """Returns images as float32, native and contiguous."""
    if isinstance(given, np.ndarray) and given.ndim == 2:
        given = given[None]
    found = [np.ascontiguousarray(each, np.float32) for each in given]
    for each in found:
        if each.ndim != 2:
            raise ValueError(
                f"{name}: a stamp of shape {each.shape}; expected (N, height, width), one (height, "
                "width), or a list of images"
            )
    return found
