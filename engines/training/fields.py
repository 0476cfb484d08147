"""Pieces of made frames: stars and galaxies of one point-spread function on a noisy sky.

They teach what stamps of two surveys cannot: every width of stars from well below to well above
the sampling, crowded fields, and science alone. All their pixels are known.
"""

import numpy as np

from training.data import Core, Part, Planes, Reals

SIDE_PX = 64
OVERSAMPLED = 5
"""Subpixels along a side: a star of 1.2 px is no smooth function of the pixels."""
NARROWEST_PX, WIDEST_PX = 1.1, 7.0
COUNTS = {Part.TRAIN: 900, Part.VALIDATION: 100, Part.TEST: 100}
SEEDS = {Part.TRAIN: 101, Part.VALIDATION: 102, Part.TEST: 103}


def fields(part: Part) -> list[Planes]:
    """Returns the made pieces of a part, (64, 64), in units of the sky's noise."""
    random = np.random.default_rng(SEEDS[part])
    widths = np.log([NARROWEST_PX, WIDEST_PX])
    return [
        field(f"{part} {i}", part, random, float(np.exp(random.uniform(*widths))))
        for i in range(COUNTS[part])
    ]


def field(name: str, part: Part, random: np.random.Generator, fwhm: float) -> Planes:
    """Returns one made piece whose stars have a full width of ``fwhm`` px at half maximum."""
    light = np.zeros((SIDE_PX, SIDE_PX))
    _shine(light, random, fwhm)
    sky_electrons = float(np.exp(random.uniform(np.log(3.0), np.log(60.0))))  # sigma of the sky
    noise = np.sqrt(1 + np.maximum(light, 0) / sky_electrons)
    image = light + noise * random.normal(size=light.shape)
    tilt = random.normal(0, 0.01, 2) if random.random() < 0.3 else (0.0, 0.0)
    rows, columns = np.indices(light.shape) - SIDE_PX / 2
    image += tilt[0] * rows + tilt[1] * columns
    return Planes(
        survey="field", alert_id=f"field {name}", exposure=f"field {name}", part=part,
        core=Core.NONE, science=image.astype(np.float32), electrons_per_unit=sky_electrons,
    )  # fmt: skip


def _shine(light: Reals, random: np.random.Generator, fwhm: float) -> None:
    """Add stars and galaxies, in units of the sky's noise."""
    beta = float(random.choice([2.3, 3.0, 4.5, 20.0]))  # the last is nearly a Gaussian
    axis, angle = random.uniform(0.8, 1.0), random.uniform(0, np.pi)
    crowd = float(np.exp(random.uniform(np.log(1), np.log(80))))
    for _ in range(int(random.poisson(crowd))):
        # As many of each flux as in the sky: most are faint.
        peak = min(2.0 * (1 - random.random()) ** (-1 / 0.9), 3000.0)
        add_star(light, peak, random.uniform(-3, SIDE_PX + 3, 2), fwhm, beta, axis, angle)
    for _ in range(int(random.poisson(1.5))):
        wide = fwhm * random.uniform(1.1, 4.0)
        at, flat = random.uniform(0, SIDE_PX, 2), random.uniform(0.2, 1.0)
        peak = min(2.0 * (1 - random.random()) ** -1.0, 300.0)
        add_star(light, peak, at, wide, random.uniform(1.5, 3.0), flat, random.uniform(0, np.pi))


def add_star(
    light: Reals, peak: float, at: Reals, fwhm: float, beta: float, axis: float, angle: float
) -> None:
    """Add a Moffat profile, integrated over the pixels.

    ``axis`` is the minor axis over the major one, ``angle`` its direction in radians.
    """
    reach = int(np.ceil((2 + np.log10(1 + peak)) * fwhm)) + 2
    low = np.maximum(np.floor(at).astype(int) - reach, 0)
    high = np.minimum(np.floor(at).astype(int) + reach + 1, SIDE_PX)
    if (low >= high).any():
        return
    subpixels = OVERSAMPLED if fwhm < 3 else 2
    fine = (np.arange(subpixels) + 0.5) / subpixels - 0.5
    rows, columns = (
        (np.arange(a, b)[:, None] + fine).ravel() - c for a, b, c in zip(low, high, at, strict=True)
    )
    along = rows[:, None] * np.sin(angle) + columns * np.cos(angle)
    across = (rows[:, None] * np.cos(angle) - columns * np.sin(angle)) / axis
    radius = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    profile = peak * (1 + (along**2 + across**2) / radius**2) ** -beta
    shape = (high[0] - low[0], subpixels, high[1] - low[1], subpixels)
    light[low[0] : high[0], low[1] : high[1]] += profile.reshape(shape).mean(axis=(1, 3))
