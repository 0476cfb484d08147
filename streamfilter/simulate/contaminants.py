"""Injects contaminants at known places, from the physics of what makes them.

The order in the detector is: light (a trail) falls on pixels of some response (dead columns), dark
current with Poisson noise is added (hot pixels, hot columns), and particles leave charge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.simulate.cameras import Camera, Conditions

Array = npt.NDArray[np.float64]

# A minimum-ionising particle frees 80 electron-hole pairs per um of silicon (Janesick 2001), most
# probable loss; real LSST ITL darks have 700 to 950 e per pixel of a long track, as this gives.
_PAIRS_PER_UM = 80.0
# Photons and slow electrons of the surroundings: tracks that scatter at every few um.
_WORM_SHARE = 0.35
# A pixel belongs to a contaminant that changes it by more than this many sigma of the sky.
_MASK_SIGMA = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Injection:
    """The effect of a contaminant on a stamp: arrays of the stamp's shape, in electrons."""

    code: str
    light_e: Array
    """Expected electrons with Poisson noise: light of a trail, dark current."""
    response: Array
    """Factor on the light that falls on a pixel; 1 for a good pixel."""
    charge_e: Array
    """Charge left by a particle, without Poisson noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Which contaminant is in a science stamp, where, and how strong."""

    code: str
    mask: npt.NDArray[np.bool_]
    """Pixels that the contaminant changes by more than 2 sigma of the sky."""
    distance_px: float
    """From the middle of the stamp to the nearest of these pixels."""
    snr: float
    """That of a matched filter: the root of the sum of (change / sigma)^2 over the stamp."""


def truth_of(injection: Injection, conditions: Conditions) -> Truth:
    """Returns where and how strong an injection is, compared with the sky's noise.

    Raises
    ------
    ValueError
        The injection changes no pixel by 2 sigma.
    """
    change = injection.light_e + injection.charge_e + (injection.response - 1) * conditions.sky_e
    significance = np.abs(change) / conditions.sigma_e
    mask = significance > _MASK_SIGMA
    if not mask.any():
        raise ValueError(f"a {injection.code} that moves no pixel by {_MASK_SIGMA} sigma")
    rows, columns = mask.nonzero()
    distance = np.hypot(rows - conditions.middle_px, columns - conditions.middle_px).min()
    return Truth(injection.code, mask, float(distance), float(np.sqrt((significance**2).sum())))


def cosmic_ray(rng: np.random.Generator, conditions: Conditions) -> Injection:
    """A particle's track through the silicon: straight (a muon) or a worm (a slow electron).

    Charge per length is the ionisation loss with Landau-like (Moyal) fluctuations. It spreads by
    diffusion, which depends on the depth at which it was freed; optics do not blur it.
    """
    camera = conditions.camera
    draw = _worm if rng.random() < _WORM_SHARE else _muon
    y, x, depth_um, charge = draw(rng, camera)
    spread_px = camera.diffusion_um / camera.pixel_um * np.sqrt(depth_um / camera.silicon_um)
    # The survey alerts on some point of the track.
    anchor = rng.integers(len(y))
    y += conditions.middle_px - y[anchor] + rng.uniform(-0.5, 0.5)
    x += conditions.middle_px - x[anchor] + rng.uniform(-0.5, 0.5)
    clouds = 16
    ys = np.repeat(y, clouds) + np.repeat(spread_px, clouds) * rng.normal(size=clouds * len(y))
    xs = np.repeat(x, clouds) + np.repeat(spread_px, clouds) * rng.normal(size=clouds * len(x))
    edges = [np.arange(side + 1) - 0.5 for side in conditions.shape]
    image, _, _ = np.histogram2d(ys, xs, bins=edges, weights=np.repeat(charge / clouds, clouds))
    return Injection("CR", np.zeros(conditions.shape), np.ones(conditions.shape), image)


def trail(rng: np.random.Generator, conditions: Conditions) -> Injection:
    """A satellite that crosses the whole stamp near its centre: a line as wide as the PSF.

    Satellites are 1,500 to 36,000 km away, and out of focus by that distance; closer ones would
    fill an LSST stamp. The trail's ridge is 3 to 60 sigma high.
    """
    angle = rng.uniform(0, np.pi)
    dy = np.arange(conditions.side_px)[:, None] - conditions.middle_px
    dx = np.arange(conditions.side_px)[None, :] - conditions.middle_px
    across = dy * np.cos(angle) - dx * np.sin(angle) - rng.normal(0, 0.5)
    # A Moffat of exponent beta, summed along a line, has the exponent beta - 1/2.
    camera, beta = conditions.camera, conditions.camera.moffat_beta
    defocus_rad = camera.aperture_m / (_between(rng, 1500.0, 36_000.0) * 1e3)
    fwhm_px = np.hypot(conditions.fwhm_px, np.degrees(defocus_rad) * 3600 / camera.arcsec_per_px)
    alpha = fwhm_px / (2 * np.sqrt(2 ** (1 / beta) - 1))
    ridge = (1 + (across / alpha) ** 2) ** (0.5 - beta)
    light = _between(rng, 3.0, 60.0) * conditions.sigma_e * ridge
    return Injection("TRL", light, np.ones(conditions.shape), np.zeros(conditions.shape))


def hot_column(rng: np.random.Generator, conditions: Conditions) -> Injection:
    """A column that leaks charge, the whole or from one row on: 4 to 100 sigma in each pixel."""
    light = np.zeros(conditions.shape)
    rows = _column_rows(rng, conditions.side_px)
    light[rows, _near(rng, conditions)] = _between(rng, 4.0, 100.0) * conditions.sigma_e
    return Injection("HCL", light, np.ones(conditions.shape), np.zeros(conditions.shape))


def dead_column(rng: np.random.Generator, conditions: Conditions) -> Injection:
    """One to three columns that count 0 to 50 % of the light, sky included."""
    response = np.ones(conditions.shape)
    first = _near(rng, conditions)
    wide = int(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1)))
    response[_column_rows(rng, conditions.side_px), first : first + wide] = rng.uniform(0.0, 0.5)
    return Injection("DCL", np.zeros(conditions.shape), response, np.zeros(conditions.shape))


def hot_pixel(rng: np.random.Generator, conditions: Conditions) -> Injection:
    """One pixel of high dark current, 8 to 300 sigma; up to 3 % of it is read in the next pixel."""
    light = np.zeros(conditions.shape)
    row, column = _near(rng, conditions), _near(rng, conditions)
    light[row, column] = _between(rng, 8.0, 300.0) * conditions.sigma_e
    light[row + 1, column] = light[row, column] * rng.uniform(0.0, 0.03)
    return Injection("HP", light, np.ones(conditions.shape), np.zeros(conditions.shape))


INJECT: dict[str, Callable[[np.random.Generator, Conditions], Injection]] = {
    "CR": cosmic_ray,
    "TRL": trail,
    "HCL": hot_column,
    "DCL": dead_column,
    "HP": hot_pixel,
}


def _muon(rng: np.random.Generator, camera: Camera) -> tuple[Array, Array, Array, Array]:
    """Returns y, x (px), depths (um) and charges (e) along a straight track through the layer."""
    # Flux at sea level goes as cos^2 of the zenith angle; the camera looks anywhere upwards.
    tangent = np.tan(np.arccos(rng.uniform(0.05, 1.0) ** (1 / 3)))
    angle = rng.uniform(0, 2 * np.pi)
    run_px = camera.silicon_um * tangent / camera.pixel_um
    steps = int(10 * run_px) + 20
    part = (np.arange(steps) + 0.5) / steps
    path_um = np.hypot(camera.silicon_um, run_px * camera.pixel_um) / steps
    return (
        part * run_px * np.sin(angle),
        part * run_px * np.cos(angle),
        part * camera.silicon_um,
        _ionisation(rng, steps, path_um),
    )


def _worm(rng: np.random.Generator, camera: Camera) -> tuple[Array, Array, Array, Array]:
    """Returns the same for an electron of about 100 keV, which scatters at every step."""
    path_px = rng.lognormal(np.log(80.0), 0.7) / camera.pixel_um
    steps = int(10 * path_px) + 20
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.22, steps))
    step_px = path_px / steps
    depth = np.full(steps, rng.uniform(0, camera.silicon_um))
    # A slow electron ionises about twice as densely as a muon.
    charge = 2 * _ionisation(rng, steps, step_px * camera.pixel_um)
    return np.cumsum(np.sin(heading)) * step_px, np.cumsum(np.cos(heading)) * step_px, depth, charge


def _ionisation(rng: np.random.Generator, steps: int, step_um: float) -> Array:
    """Returns the electrons freed per step; they fluctuate (Moyal) by a quarter of their mode."""
    # Fluctuations are drawn per 10 um or so: finer ones average out within a pixel.
    patches = max(1, int(steps * step_um / 10))
    moyal = -np.log(rng.normal(size=patches) ** 2)
    loss = _PAIRS_PER_UM * step_um * np.clip(1 + 0.25 * moyal, 0.5, 6.0)
    return np.asarray(loss[np.arange(steps) * patches // steps])


def _column_rows(rng: np.random.Generator, side: int) -> slice:
    """Returns rows: the whole column in two of three cases, else a part that holds the centre."""
    start = 0 if rng.random() < 2 / 3 else int(rng.integers(0, side // 2 - 2))
    return slice(start, side) if rng.random() < 0.5 else slice(0, side - start)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Returns a random strength, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _near(rng: np.random.Generator, conditions: Conditions) -> int:
    """Returns a row or column within a pixel of the middle, where the alert's position is."""
    return round(conditions.middle_px + rng.uniform(-1, 1))
