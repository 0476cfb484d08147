"""What a network of several planes sees beside the science stamp that it judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from streamfilter.alerts.normalise import Normalised, normalise
from streamfilter.inference.manifest import Manifest
from streamfilter.records import Alert, Image, NotEvaluated, Plane, Stamp, StampEvidence

DECADES = 3.0
"""Largest distance of a pixel's variance from that of the sky, in powers of ten."""


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """The planes of one alert that follow its science stamp, in the engine's order.

    ``images`` have the science stamp's shape and are finite; None where a plane is missing.
    ``present`` has the names of the others, ``unusable`` why a stamp cannot be used.
    """

    images: tuple[Image | None, ...] = ()
    present: tuple[str, ...] = ()
    unusable: tuple[StampEvidence, ...] = ()


def beside(alert: Alert, science: Normalised, planes: Sequence[str], largest_px: int) -> Beside:
    """Returns what an engine sees beside a science stamp.

    Parameters
    ----------
    planes
        Names of the planes: ``template`` and ``difference`` are stamps, normalised by themselves;
        ``variance`` and ``valid`` are facts about the science stamp.
    largest_px
        Largest side of a stamp.
    """
    images: list[Image | None] = []
    unusable: list[StampEvidence] = []
    for name in planes:
        if of_science := _OF_SCIENCE.get(name):
            images.append(of_science(alert.stamps[Plane.SCIENCE], science))
            continue
        stamp = _stamp(alert, Plane(name), science, largest_px)
        if isinstance(stamp, StampEvidence):
            unusable.append(stamp)
            images.append(None)
        else:
            images.append(stamp.image)
    present = [name for name, image in zip(planes, images, strict=True) if image is not None]
    return Beside(tuple(images), tuple(present), tuple(unusable))


def stamps_read(judged: Sequence[Plane], *networks: Manifest) -> tuple[Plane, ...]:
    """Returns the stamps that engines need of a packet: those that they judge, and others."""
    seen = [plane for plane in Plane if any(plane in each.planes[1:] for each in networks)]
    return tuple(dict.fromkeys((*judged, *seen)))


def usable(alert: Alert, plane: Plane, largest_px: int) -> Normalised | StampEvidence:
    """Returns a stamp of an alert in units of its noise, or why it cannot be used."""
    if unreadable := alert.unreadable.get(plane):
        return StampEvidence(plane, unreadable.why, detail=unreadable.detail)
    stamp = alert.stamps.get(plane)
    if stamp is None:
        return StampEvidence(plane, NotEvaluated.STAMP_MISSING)
    return _normalised(plane, stamp, largest_px)


def _normalised(plane: Plane, stamp: Stamp, largest_px: int) -> Normalised | StampEvidence:
    found = normalise(stamp, largest_px)
    return found if isinstance(found, Normalised) else StampEvidence(plane, found)


def _stamp(
    alert: Alert, plane: Plane, science: Normalised, largest_px: int
) -> Normalised | StampEvidence:
    """Returns a stamp that fits the science stamp, or why it cannot be used."""
    stamp, expected = alert.stamps.get(plane), science.image.shape
    if stamp is None:
        return usable(alert, plane, largest_px)
    found = stamp.image.shape
    if found == expected:
        # By its own deviation, as in training: few surveys send a variance of these.
        return _normalised(plane, Stamp(stamp.image, place=stamp.place), largest_px)
    small = len(found) < 2 or found[0] < expected[0] or found[1] < expected[1]
    return StampEvidence(
        plane,
        NotEvaluated.STAMP_TOO_SMALL if small else NotEvaluated.STAMP_TOO_LARGE,
        detail=f"{_px(found)}, and the science stamp has {_px(expected)}",
    )


def _px(shape: Sequence[int]) -> str:
    return f"{'x'.join(map(str, shape))} px"


def _variance(stamp: Stamp, science: Normalised) -> Image | None:
    """Returns log10 of a stamp's variance over that of its sky, 0 where a pixel has none."""
    level, variance = science.sky_variance, stamp.variance
    if level is None or variance is None:
        return None
    known = (variance > 0) & (variance < np.inf)
    if science.filled is not None:
        known &= ~science.filled
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        plane: Image = np.log10(variance / level)
    if not known.all():
        plane[~known] = 0.0
    np.maximum(plane, -DECADES, out=plane)
    np.minimum(plane, DECADES, out=plane)
    return plane


def _valid(_: Stamp, science: Normalised) -> Image:
    """Returns 1 where a stamp has data, else 0."""
    if science.filled is None:
        return _ones(*science.image.shape)
    return (~science.filled).astype(np.float32)


@lru_cache(maxsize=64)
def _ones(height: int, width: int) -> Image:
    ones: Image = np.ones((height, width), np.float32)
    ones.setflags(write=False)
    return ones


_OF_SCIENCE: dict[str, Callable[[Stamp, Normalised], Image | None]] = {
    "variance": _variance,
    "valid": _valid,
}
