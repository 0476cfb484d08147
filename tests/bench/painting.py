"""Contaminants and sources painted at the alert's place on real sky."""

from collections.abc import Callable, Sequence

import numpy as np

from streamfilter.alerts.normalise import background, normalise
from streamfilter.records import Image, NotEvaluated, Stamp
from training import data

Reals = data.Reals
hits = data.all_hits


def sky(images: Sequence[Stamp], n: int, random: np.random.Generator) -> list[Stamp]:
    """Stamps with empty sky in the middle: shifted round, so that their sources stay in them."""
    bases: list[Stamp] = []
    while len(bases) < n:
        stamp = images[int(random.integers(len(images)))]
        scaled = normalise(stamp)
        if isinstance(scaled, NotEvaluated) or scaled.filled is not None:
            continue
        side = scaled.image.shape[0]
        y, x = random.integers(4, side - 4, 2)
        if scaled.image[y - 4 : y + 5, x - 4 : x + 5].max() > 3.5:
            continue
        shift = (side // 2 - int(y), side // 2 - int(x))
        rolled = [
            None if plane is None else np.roll(plane, shift, (0, 1))
            for plane in (stamp.image, stamp.variance)
        ]
        bases.append(Stamp(rolled[0], rolled[1]))  # type: ignore[arg-type]
    return bases


def sigma_of(stamp: Stamp) -> float:
    if stamp.variance is not None:
        return float(np.sqrt(np.median(stamp.variance)))
    level = background(stamp.image)
    assert level is not None
    return level.sigma


def filtered(layer: Reals, fwhm_px: float) -> float:
    """The highest signal through a normalised Gaussian of the point-spread function's width."""
    reach = np.arange(-8, 9)
    profile = np.exp(-(reach**2) / (2 * (fwhm_px / 2.3548) ** 2))
    profile /= np.sqrt(np.sum(profile**2))
    for axis in (0, 1):
        layer = np.apply_along_axis(np.convolve, axis, layer, profile, mode="same")
    return float(layer.max())


def defects(random: np.random.Generator) -> dict[str, Callable[[Image, float], Image]]:
    """Defects through the middle of an image in units of sigma, at a strength in sigma."""

    def trail(image: Image, strength: float) -> Image:
        angle, y, x = random.uniform(0, np.pi), *np.indices(image.shape)
        middle = image.shape[0] // 2
        away = (y - middle) * np.cos(angle) - (x - middle) * np.sin(angle)
        profile = np.exp(-(away**2) / (2 * random.uniform(0.8, 1.5) ** 2))
        crossed: Image = (image + strength * profile).astype(np.float32)
        return crossed

    def hot_column(image: Image, strength: float) -> Image:
        image[:, image.shape[1] // 2] += strength
        return image

    def dead_column(image: Image, strength: float) -> Image:
        image[:, image.shape[1] // 2] = -strength
        return image

    def hot_pixel(image: Image, strength: float) -> Image:
        image[image.shape[0] // 2, image.shape[1] // 2] += strength
        return image

    def dead_pixel(image: Image, strength: float) -> Image:
        image[image.shape[0] // 2, image.shape[1] // 2] = -strength
        return image

    return {
        "trails": trail, "hot columns": hot_column, "dead columns": dead_column,
        "hot pixels": hot_pixel, "dead pixels": dead_pixel,
    }  # fmt: skip


def source(base: Stamp, random: np.random.Generator, longest_px: float) -> Reals:
    """Flux of a star, or of an asteroid trailed by up to ``longest_px``, near the middle."""
    length, angle = random.uniform(0, longest_px), random.uniform(0, np.pi)
    radius = random.uniform(2.8, 8.0) / (2 * np.sqrt(2 ** (1 / 3) - 1))  # Moffat, beta 3
    y, x = (n - n.max() / 2 - random.uniform(-1, 1) for n in np.indices(base.image.shape))
    profile: Reals = np.zeros(y.shape)
    for along in np.linspace(-length / 2, length / 2, 1 + int(2 * length)):
        away = (y - along * np.sin(angle)) ** 2 + (x - along * np.cos(angle)) ** 2
        profile += (1 + away / radius**2) ** -3
    signal = sigma_of(base) * 10 ** random.uniform(0.7, 3.2)
    profile *= signal / np.sqrt(np.sum(profile**2))
    return profile
