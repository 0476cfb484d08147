"""Frames of stars with known shapes, made from a seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.records import Image


@dataclass(frozen=True, kw_only=True)
class Field:
    """Sky of 1000, noise of 10, Moffat-like stars of one shape."""

    height: int = 900
    width: int = 1000
    stars: int = 150
    fwhm_px: float = 3.0
    trail_px: float = 0.0
    angle_deg: float = 0.0
    galaxies: int = 0
    cosmic_rays: int = 0
    faintest: float = 2e3
    seed: int = 1

    def image(self) -> Image:
        """The frame."""
        rng = np.random.default_rng(self.seed)
        image = rng.normal(1000.0, 10.0, (self.height, self.width))
        for _ in range(self.stars):
            self._add(image, rng, self.faintest / rng.random() ** 0.9, self.fwhm_px, self.trail_px)
        for _ in range(self.galaxies):
            self._add(image, rng, 2e4, self.fwhm_px * rng.uniform(2.5, 5), 0.0)
        for _ in range(self.cosmic_rays):
            y, x = rng.integers(20, self.height - 20), rng.integers(20, self.width - 20)
            for step in range(int(rng.integers(1, 5))):
                image[y, x + step] += rng.uniform(300, 5000)
        return image.astype(np.float32)

    def _add(
        self,
        image: npt.NDArray[np.float64],
        rng: np.random.Generator,
        flux: float,
        fwhm: float,
        trail: float,
    ) -> None:
        half = int(4 * fwhm + trail)
        y0, x0 = (
            rng.uniform(half + 1, self.height - half - 1),
            rng.uniform(half + 1, self.width - half - 1),
        )
        row, column = int(y0), int(x0)
        at = np.arange(-half, half + 1)
        sigma = fwhm / 2.3548
        angle = np.radians(self.angle_deg)
        steps = np.linspace(-trail / 2, trail / 2, max(int(2 * trail), 1)) if trail else [0.0]
        # A Gaussian is the product of one along y and one along x; a trail is a sum of them.
        dy = at - (y0 - row) - np.outer(steps, np.sin(angle))
        dx = at - (x0 - column) - np.outer(steps, np.cos(angle))
        star = np.exp(-(dy**2) / (2 * sigma**2)).T @ np.exp(-(dx**2) / (2 * sigma**2))
        image[row - half : row + half + 1, column - half : column + half + 1] += (
            min(flux, 3e5) * star / star.sum()
        )


def out_of_focus(
    radius_px: float, vane_px: float, *, stars: int = 50, side: int = 820, seed: int = 1
) -> Image:
    """Stars that are images of the pupil: rings, cut into four by the vanes of the spider."""
    rng = np.random.default_rng(seed)
    half, fine = int(radius_px) + 16, 4
    y, x = (np.mgrid[: fine * (2 * half + 1), : fine * (2 * half + 1)] + 0.5) / fine - half - 0.5
    y, x = y * np.cos(0.4) - x * np.sin(0.4), x * np.cos(0.4) + y * np.sin(0.4)
    ring = (np.hypot(y, x) < radius_px) & (np.hypot(y, x) > 0.4 * radius_px)
    ring &= (abs(y) > vane_px / 2) & (abs(x) > vane_px / 2)
    waves = np.fft.fftfreq(len(ring), 1 / fine)[:, None], np.fft.rfftfreq(len(ring), 1 / fine)
    seeing = np.exp(-2 * (np.pi * 3 / 2.3548) ** 2 * (waves[0] ** 2 + waves[1] ** 2))
    star = np.fft.irfft2(np.fft.rfft2(ring) * seeing, ring.shape)
    star = star.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))
    image = rng.normal(1000.0, 10.0, (side + 2 * half, side + 2 * half))
    for peak in 80 / (1 - 0.995 * rng.random(stars)):
        row, column = rng.integers(0, side, 2)
        image[row : row + 2 * half + 1, column : column + 2 * half + 1] += peak * star
    return image[half:-half, half:-half].astype(np.float32)
