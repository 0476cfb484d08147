"""A real alert that contaminants are painted on, with the class of every pixel and its weight."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.normalise import background, has_data
from training.data import Core, Planes, Reals

CLASSES = ("CR", "TRL", "HCL", "DCL", "HP", "DP", "SAT", "SP", "BBG", "RES")
"""Classes in the order of the network's outputs."""
INDEX = {code: index for index, code in enumerate(CLASSES)}
SOURCE_SIGMAS = 3.0
"""A pixel belongs to a source where the image, smoothed, is that far above the sky."""
CLAIM_SIGMAS = 1.0
"""A painted layer claims the pixels to which it brings more than that."""

Masks = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Canvas:
    """Planes in the survey's units, and what was painted.

    ``target`` (K, height, width) says which classes a pixel has, ``weight`` (same) how much it
    teaches: 0 where it is not known.
    """

    science: Reals
    template: Reals | None
    difference: Reals | None
    variance: Reals | None
    gain: float
    sigma: float
    difference_sigma: float
    core: Core
    positive: bool
    target: Masks
    weight: npt.NDArray[np.float32]
    painted: set[str] = field(default_factory=set)
    profile: Reals | None = None
    """Point-spread function of the exposure, for stamps without a star."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.science.shape[0], self.science.shape[1]

    @property
    def middle(self) -> tuple[float, float]:
        """The place of the alert."""
        return (self.shape[0] - 1) / 2, (self.shape[1] - 1) / 2

    def claim(self, code: str, pixels: Masks) -> None:
        """Say that pixels are of a class, also where that was not known."""
        self.target[INDEX[code]] |= pixels
        self.weight[INDEX[code]][pixels] = 1.0
        self.painted.add(code)

    def silence(self, code: str, pixels: Masks) -> None:
        """Say that pixels teach nothing about a class, unless they were claimed for it."""
        self.weight[INDEX[code]][pixels & ~self.target[INDEX[code]]] = 0.0

    def light(self, layer: Reals, random: np.random.Generator, *, noisy: bool) -> None:
        """Add a layer to science and difference, with its photons' noise and variance."""
        if noisy:
            layer = layer + random.normal(size=layer.shape) * np.sqrt(
                np.maximum(layer, 0) / self.gain
            )
        self.science += layer
        if self.difference is not None:
            self.difference += layer
        if self.variance is not None:
            self.variance += np.maximum(layer, 0) / self.gain


def prepare(planes: Planes, turn: int, flip: bool, shift: tuple[int, int]) -> Canvas | None:
    """Returns an alert turned, flipped and shifted; None where it has no usable sky.

    Stamps without data somewhere are not shifted: their holes would lie in the middle.
    """
    names = ("science", "template", "difference", "variance")
    stack: list[Reals | None] = []
    whole = bool(has_data(planes.science).all())
    for name in names:
        plane = getattr(planes, name)
        if plane is None:
            stack.append(None)
            continue
        image = np.where(np.isfinite(plane) & (np.abs(plane) < 1e30), plane, np.nan)
        image = np.rot90(image.astype(np.float64), turn)
        image = image[:, ::-1] if flip else image
        stack.append(moved(image, shift) if whole else image.copy())
    science, template, difference, variance = stack
    assert science is not None
    valid = np.isfinite(science)
    sky = background(science[valid]) if valid.sum() >= 64 else None
    if sky is None:
        return None
    sigma = sky.sigma
    if variance is not None and (variance > 0).any():
        sigma = float(np.sqrt(np.nanpercentile(variance[variance > 0], 25)))
    science -= sky.level
    away = sigma
    if difference is not None:
        usable = difference[np.isfinite(difference)]
        found = background(usable) if usable.size >= 64 else None
        away = found.sigma if found else sigma
        difference -= found.level if found else 0.0
    if template is not None:
        usable = template[np.isfinite(template)]
        found = background(usable) if usable.size >= 64 else None
        template -= found.level if found else 0.0
    return _labelled(
        Canvas(
            science, template, difference, variance, planes.gain, sigma, away, planes.core,
            planes.positive, np.zeros((len(CLASSES), *science.shape), bool),
            np.ones((len(CLASSES), *science.shape), np.float32), profile=planes.profile,
        )
    )  # fmt: skip


def _labelled(canvas: Canvas) -> Canvas:
    """Mark the sources of the real stamp, and silence what its pixels cannot tell."""
    science = np.nan_to_num(canvas.science)
    sources = smoothed(science) > SOURCE_SIGMAS * canvas.sigma * 0.35  # the kernel's own noise
    canvas.target[INDEX["BBG"]] = sources
    # Real saturated stars, spikes and residuals have no label.
    bright = grown(science > 300 * canvas.sigma, 1)
    canvas.silence("SAT", bright)
    canvas.silence("SP", grown(science > 150 * canvas.sigma, 12))
    if canvas.difference is not None:
        residual = np.abs(np.nan_to_num(canvas.difference)) > 4 * canvas.difference_sigma
        canvas.silence("RES", grown(residual, 1))
    canvas.weight[:, ~np.isfinite(canvas.science)] = 0.0
    return canvas


def moved(image: npt.NDArray[Any], by: tuple[int, int]) -> npt.NDArray[Any]:
    """Returns an image (..., height, width) shifted; what comes in at the edges is reflected."""
    pads = [(0, 0)] * (image.ndim - 2) + [(max(n, 0), max(-n, 0)) for n in by]
    wide = np.pad(image, pads, mode="symmetric")
    height, width = image.shape[-2:]
    top, left = (max(-n, 0) for n in by)
    return wide[..., top : top + height, left : left + width].copy()


def smoothed(image: Reals) -> Reals:
    """Returns an image smoothed by the kernel (1, 2, 1) twice over; the sum is kept."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        ahead, middle, behind = (
            np.take(padded, np.arange(k, k + image.shape[axis]), axis) for k in (0, 1, 2)
        )
        image = (ahead + 2 * middle + behind) / 4
    return image


def grown(mask: Masks, by: int) -> Masks:
    """Returns a mask grown by a square of ``by`` pixels on each side."""
    if by == 0 or not mask.any():
        return mask
    height, width = mask.shape
    out = np.zeros_like(mask)
    wide = np.pad(mask, by)
    rows = np.zeros((height, width + 2 * by), bool)
    for y in range(2 * by + 1):
        rows |= wide[y : y + height]
    for x in range(2 * by + 1):
        out |= rows[:, x : x + width]
    return out
