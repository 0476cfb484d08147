"""Simulates a camera's detectors under a sky of stars, while the telescope tracks or drifts."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from astropy.io import fits

from streamfilter.records import Image
from streamfilter.simulate.cameras import ZTF, Camera, Conditions
from streamfilter.simulate.sky import FINE, MARGIN_PX, Psf, add_star, draw_flux, observe

_FWHM_PX = 2.8
_SKY_E = 1500.0
_STARS_PER_MPX = 400
_EXPOSURE_S = 30.0
_BIAS = 1000.0
"""Counts of a pixel without light."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure of a few detectors.

    Attributes
    ----------
    drift_px
        How far the stars moved over the detectors while the shutter was open; 0 if it tracked.
    """

    exposure_id: str
    detectors: int
    side_px: int
    drift_px: float
    drift_angle_rad: float = 0.0


def readout(exposure: Exposure, seed: int, camera: Camera = ZTF) -> list[bytes]:
    """Returns a FITS file per detector, as a readout writes them."""
    rng = np.random.default_rng((seed, *exposure.exposure_id.encode()))
    now = datetime.now(UTC)
    return [
        _file(exposure, number, _frame(rng, exposure, camera), now, camera)
        for number in range(1, exposure.detectors + 1)
    ]


def _frame(rng: np.random.Generator, exposure: Exposure, camera: Camera) -> Image:
    """Returns the counts of a detector: bias, sky, stars and their noise."""
    side = exposure.side_px
    conditions = Conditions(camera=camera, side_px=side, sky_e=_SKY_E, fwhm_px=_FWHM_PX)
    fine_side = (side + 2 * MARGIN_PX) * FINE
    grid = np.zeros((fine_side, fine_side))
    drift = exposure.drift_px * FINE
    dy, dx = drift * np.sin(exposure.drift_angle_rad), drift * np.cos(exposure.drift_angle_rad)
    # One step for each sub-pixel: the image of a drifting star is the sum over its positions.
    steps = np.linspace(-0.5, 0.5, int(drift) + 1) if drift else np.zeros(1)
    edge = drift / 2 + 2
    for _ in range(rng.poisson(_STARS_PER_MPX * side**2 / 1e6)):
        y, x = rng.uniform(edge, fine_side - edge, 2)
        flux = draw_flux(rng, conditions, faintest_snr=20.0)
        for step in steps:
            add_star(grid, y + step * dy, x + step * dx, flux / len(steps))
    light = observe(grid, Psf(_FWHM_PX, camera.moffat_beta, 0.95), side) + _SKY_E
    counted = np.minimum(rng.poisson(np.clip(light, 0, None)), camera.saturation_e)
    electrons = counted + rng.normal(0.0, camera.read_noise_e, counted.shape)
    return np.asarray(electrons / camera.gain_e_per_unit + _BIAS, np.float32)


def _file(exposure: Exposure, number: int, counts: Image, now: datetime, camera: Camera) -> bytes:
    hdu = fits.PrimaryHDU(np.clip(np.rint(counts), 0, 65535).astype(np.uint16))
    hdu.header["INSTRUME"] = f"simulated {camera.survey}"
    hdu.header["EXPID"] = exposure.exposure_id
    hdu.header["CCDID"] = str(number)
    hdu.header["EXPTIME"] = _EXPOSURE_S
    hdu.header["FILTER"] = "r"
    hdu.header["DATE-AVG"] = now.replace(tzinfo=None).isoformat(timespec="milliseconds")
    hdu.header["SATURATE"] = 65535
    out = io.BytesIO()
    hdu.writeto(out)
    return out.getvalue()
