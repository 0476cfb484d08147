"""Simulates difference imaging: science, template and difference that agree with each other."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.records import Image, Plane
from streamfilter.simulate.cameras import Camera, Conditions
from streamfilter.simulate.contaminants import Injection

Array = npt.NDArray[np.float64]

# Sub-pixels per pixel and side: a star of 1.5 px FWHM is still integrated over its pixels.
FINE = 3
# Light from outside the stamp reaches into it; the margin also keeps the FFT's wrap-around out.
MARGIN_PX = 16
# Integral counts go as F^-0.7: d log N / d mag = 0.28, faint stars at middle latitudes.
_COUNTS_SLOPE = 0.7


@dataclass(frozen=True, slots=True)
class Psf:
    """An elliptical Moffat profile."""

    fwhm_px: float
    beta: float
    axis_ratio: float = 1.0
    angle_rad: float = 0.0

    def kernel(self, side: int, fine: int = 1) -> Array:
        """Returns the profile on ``fine`` sub-pixels per pixel, its centre on ``side // 2``."""
        u, v = _axes(side, side // 2, side // 2, self.angle_rad)
        radius2 = (u**2 * self.axis_ratio + v**2 / self.axis_ratio) / fine**2
        alpha = self.fwhm_px / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        profile = (1 + radius2 / alpha**2) ** -self.beta
        return np.asarray(profile / profile.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """The sky around one alert, in electrons per exposure, before the atmosphere blurs it.

    ``static`` and ``changed`` are grids of sub-pixels with a margin around the stamp. ``changed``
    is the light that the exposure has and the template lacks; negative for a star that faded.
    """

    conditions: Conditions
    psf: Psf
    template_psf: Psf
    static: Array
    changed: Array


@dataclass(frozen=True, slots=True, eq=False)
class Triplet:
    """The three images of an alert in the survey's unit, with variances and PSFs.

    The difference is science minus template.
    """

    images: dict[Plane, Image]
    variances: dict[Plane, Image]
    psfs: dict[Plane, Array]

    @property
    def negative(self) -> bool:
        """Whether the pixels at the middle have less light than the template, 3 or 4 a side."""
        difference = self.images[Plane.DIFFERENCE]
        side = difference.shape[0]
        middle = slice((side - 1) // 2 - 1, side // 2 + 2)
        return bool(difference[middle, middle].sum() < 0)


def draw_conditions(rng: np.random.Generator, camera: Camera) -> Conditions:
    """Draws the stamp's size, the sky's light, the seeing and the alert's place in its pixel."""
    side = camera.side_px
    if rng.random() < camera.larger_share:
        side = int(min(side + 1 + rng.exponential(12), camera.largest_px))
    return Conditions(
        camera=camera,
        side_px=side,
        sky_e=float(np.exp(rng.uniform(*np.log(camera.sky_e)))),
        fwhm_px=float(rng.uniform(*camera.fwhm_px)),
        offset_px=(float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5))),
    )


def draw_sky(rng: np.random.Generator, camera: Camera, *, event: bool = True) -> Sky:
    """Draws a random field: stars, galaxies, and a new source or a variable star at the centre.

    Parameters
    ----------
    event
        False leaves the centre as in the template: a detection there is not on the sky.
    """
    conditions = draw_conditions(rng, camera)
    psf = _draw_psf(rng, conditions.fwhm_px, camera)
    template_psf = _draw_psf(rng, float(rng.uniform(*camera.template_fwhm_px)), camera)
    side_px = conditions.side_px + 2 * MARGIN_PX
    fine_side = side_px * FINE
    static, changed = np.zeros((fine_side, fine_side)), np.zeros((fine_side, fine_side))
    area_arcmin2 = (side_px * camera.arcsec_per_px / 60) ** 2
    density = np.exp(rng.uniform(*np.log(camera.stars_per_arcmin2)))
    for _ in range(rng.poisson(density * area_arcmin2)):
        y, x = rng.uniform(1, fine_side - 2, 2)
        add_star(static, y, x, draw_flux(rng, conditions))
    for _ in range(rng.poisson(camera.galaxies_per_arcmin2 * area_arcmin2)):
        where = rng.uniform(0, fine_side, 2)
        _add_galaxy(static, rng, camera, where, draw_flux(rng, conditions))
    if event:
        _add_event(rng, conditions, static, changed)
    return Sky(conditions, psf, template_psf, static, changed)


def expose(rng: np.random.Generator, sky: Sky, injections: tuple[Injection, ...] = ()) -> Triplet:
    """Take the exposure and subtract the template from it.

    The science image has the Poisson noise of all its light. Contaminants are in the science image
    and the difference, not in the template. The difference has residuals of registration (0.03 px)
    and of flux scale (0.5 %), as real subtractions have.
    """
    conditions, camera = sky.conditions, sky.conditions.camera
    static = observe(sky.static, sky.psf, conditions.side_px)
    light = static + observe(sky.changed, sky.psf, conditions.side_px)
    science = _read_out(rng, conditions, light, injections) - conditions.sky_e
    template_sigma = conditions.sigma_e * rng.uniform(*camera.template_noise)
    noise = _resampled(rng, template_sigma, conditions.side_px)
    ceiling = camera.saturation_e - conditions.sky_e
    template = (
        np.minimum(observe(sky.static, sky.template_psf, conditions.side_px), ceiling) + noise
    )
    shift_y, shift_x = rng.normal(0.0, 0.03, 2)
    slope_y, slope_x = np.gradient(static)
    matched = static * (1 + rng.normal(0.0, 0.005)) + shift_y * slope_y + shift_x * slope_x
    kept = conditions.sky_e * rng.uniform(*camera.kept_sky)
    science_variance = np.clip(light, 0.0, None) + conditions.sigma_e**2
    template_variance = np.full(conditions.shape, template_sigma**2)
    gain = camera.gain_e_per_unit
    kernel = sky.psf.kernel(camera.psf_side_px)
    return Triplet(
        {
            Plane.SCIENCE: _in_units(science + kept, gain),
            Plane.TEMPLATE: _in_units(template + kept, gain),
            Plane.DIFFERENCE: _in_units(science - matched - noise, gain),
        },
        {
            Plane.SCIENCE: _in_units(science_variance, gain**2),
            Plane.TEMPLATE: _in_units(template_variance, gain**2),
            Plane.DIFFERENCE: _in_units(science_variance + template_variance, gain**2),
        },
        {
            Plane.SCIENCE: kernel,
            Plane.TEMPLATE: sky.template_psf.kernel(camera.template_psf_side_px),
            Plane.DIFFERENCE: kernel,
        },
    )


def observe(fine: Array, psf: Psf, side: int) -> Array:
    """Blur a grid of sub-pixels with the PSF and sum it into the stamp's pixels."""
    kernel = np.fft.ifftshift(psf.kernel(fine.shape[0], FINE))
    blurred = np.fft.irfft2(np.fft.rfft2(fine) * np.fft.rfft2(kernel), s=fine.shape)
    pixels = blurred.reshape(fine.shape[0] // FINE, FINE, -1, FINE).sum(axis=(1, 3))
    inner = slice(MARGIN_PX, MARGIN_PX + side)
    return np.asarray(pixels[inner, inner])


def _read_out(
    rng: np.random.Generator,
    conditions: Conditions,
    light: Array,
    injections: tuple[Injection, ...],
) -> Array:
    """Returns the electrons that the detector counts.

    They are photons, dark current, the charge of particles, and amplifier noise.
    """
    expected = np.clip(light + conditions.sky_e, 0.0, None)
    charge = np.zeros_like(light)
    for injection in injections:
        expected = expected * injection.response + injection.light_e
        charge += injection.charge_e
    counted = np.minimum(rng.poisson(expected) + charge, conditions.camera.saturation_e)
    return np.asarray(counted + rng.normal(0.0, conditions.camera.read_noise_e, light.shape))


def _resampled(rng: np.random.Generator, sigma: float, side: int) -> Array:
    """Returns the noise of a template that was resampled: neighbouring pixels share it."""
    white = rng.normal(0.0, sigma, (side + 1, side + 1))
    # The mean of four pixels has half their sigma.
    return np.asarray((white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2)


def _in_units(electrons: Array, gain: float) -> Image:
    return (electrons / gain).astype(np.float32)


def _draw_psf(rng: np.random.Generator, fwhm_px: float, camera: Camera) -> Psf:
    axis_ratio, angle = rng.uniform(0.88, 1.0), rng.uniform(0, np.pi)
    return Psf(fwhm_px, camera.moffat_beta, float(axis_ratio), float(angle))


def draw_flux(
    rng: np.random.Generator, conditions: Conditions, faintest_snr: float = 3.0, wells: float = 3.0
) -> float:
    """Draws the electrons of a source, from the power law of counts; at most ``wells`` full wells.

    A star's brightest pixel holds about a tenth of its light, so with 3 wells none saturates.
    """
    # The noise of an optimal measurement of a Gaussian is that of 4 pi sigma^2 pixels.
    footprint_px2 = 4 * np.pi * (conditions.fwhm_px / 2.355) ** 2
    faintest = faintest_snr * conditions.sigma_e * np.sqrt(footprint_px2)
    flux = faintest * rng.random() ** (-1 / _COUNTS_SLOPE)
    return float(min(flux, conditions.camera.saturation_e * wells))


def _add_event(
    rng: np.random.Generator, conditions: Conditions, static: Array, changed: Array
) -> None:
    """Add the alert's source at the centre: in a galaxy, as a variable star, or on empty sky."""
    first = MARGIN_PX + conditions.middle_px + 0.5
    y, x = ((first + offset) * FINE - 0.5 for offset in conditions.offset_px)
    # Surveys alert from 5 sigma on; most alerts are near that.
    flux = draw_flux(rng, conditions, faintest_snr=6.0, wells=0.3)
    kind = rng.random()
    if kind < 0.35:
        host = np.array([y, x]) + rng.normal(0, 1.5 * FINE, 2)
        _add_galaxy(static, rng, conditions.camera, host, flux * rng.uniform(0.5, 8))
    elif kind < 0.75:
        add_star(static, y, x, flux * rng.uniform(1.5, 10))
        flux *= rng.choice((-1.0, 1.0))
    add_star(changed, y, x, flux)


def add_star(grid: Array, y: float, x: float, flux: float) -> None:
    """Add a point source: its flux is divided among the four sub-pixels around it."""
    row, column = int(y), int(x)
    dy, dx = y - row, x - column
    grid[row, column] += flux * (1 - dy) * (1 - dx)
    grid[row, column + 1] += flux * (1 - dy) * dx
    grid[row + 1, column] += flux * dy * (1 - dx)
    grid[row + 1, column + 1] += flux * dy * dx


def _add_galaxy(
    grid: Array, rng: np.random.Generator, camera: Camera, where: Array, flux: float
) -> None:
    """Add an inclined exponential disc; one in three has a compact bulge (n = 1 beside n = 2)."""
    scale = np.exp(rng.uniform(*np.log(camera.galaxy_scale_px))) * FINE
    u, v = _axes(grid.shape[0], where[0], where[1], rng.uniform(0, np.pi))
    radius = np.sqrt(u**2 + (v / rng.uniform(0.3, 1.0)) ** 2) / scale
    profile = np.exp(-radius)
    if rng.random() < 1 / 3:
        profile += 3 * np.exp(-3.67 * np.sqrt(radius / 0.5))
    grid += flux * profile / profile.sum()


def _axes(side: int, y: float, x: float, angle_rad: float) -> tuple[Array, Array]:
    """Returns coordinates along and across a direction, from the point (y, x)."""
    dy = np.arange(side)[:, None] - y
    dx = np.arange(side)[None, :] - x
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return dx * cosine + dy * sine, dy * cosine - dx * sine
