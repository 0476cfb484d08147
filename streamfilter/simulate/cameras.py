"""The two simulated cameras: properties of their detectors and skies, in electrons."""

import math
from dataclasses import dataclass

Range = tuple[float, float]
"""Lowest and highest value of a quantity that varies from alert to alert."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """One survey's detector, exposure and stamps; numbers are per exposure and per pixel."""

    survey: str
    aperture_m: float
    """Of the telescope: the blur of a satellite is the aperture over its distance."""
    arcsec_per_px: float
    side_px: int
    """The nominal stamp is a square of this side."""
    gain_e_per_unit: float
    """Electrons per unit of the stamp (DN, nJy)."""
    read_noise_e: float
    sky_e: Range
    kept_sky: Range
    """Share of the sky level that is left in the science and template stamps."""
    saturation_e: float
    fwhm_px: Range
    template_fwhm_px: Range
    moffat_beta: float
    template_noise: Range
    """Noise of the template divided by that of the exposure."""
    stars_per_arcmin2: Range
    galaxies_per_arcmin2: float
    galaxy_scale_px: Range
    pixel_um: float
    silicon_um: float
    """Thickness of the sensitive layer: sets the charge and the length of cosmic-ray tracks."""
    diffusion_um: float
    """Spread (sigma) of a charge that drifts through the whole layer."""
    larger_share: float
    """Share of stamps larger than nominal; LSST sizes stamps by the source's footprint."""
    largest_px: int
    psf_side_px: int
    template_psf_side_px: int
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The conditions of one exposure at a stamp.

    Images are square; those at a chip's edge are cut later.
    """

    camera: Camera
    side_px: int
    sky_e: float
    fwhm_px: float
    offset_px: tuple[float, float] = (0.0, 0.0)
    """Row and column of the alert's position, from the middle of the stamp."""

    @property
    def sigma_e(self) -> float:
        """Noise of a pixel of empty sky, in electrons."""
        return math.hypot(math.sqrt(self.sky_e), self.camera.read_noise_e)

    @property
    def middle_px(self) -> float:
        """Row and column of the stamp's middle; between two pixels where the side is even."""
        return (self.side_px - 1) / 2

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every image of this exposure."""
        return self.side_px, self.side_px


# Noise, levels and seeing as in public ZTF stamps: sky of 35 to 280 DN kept, sigma 4.5 to 12 DN,
# 30 s exposures, e2v CCD231-C6 (15 um pixels, 40 um of silicon).
ZTF = Camera(
    survey="ztf",
    aperture_m=1.2,
    arcsec_per_px=1.01,
    side_px=63,
    gain_e_per_unit=6.2,
    read_noise_e=10.0,
    sky_e=(650.0, 5000.0),
    kept_sky=(0.35, 1.0),
    saturation_e=330_000.0,
    fwhm_px=(1.5, 3.8),
    template_fwhm_px=(1.9, 2.6),
    moffat_beta=3.0,
    template_noise=(0.18, 0.27),
    stars_per_arcmin2=(1.0, 45.0),
    galaxies_per_arcmin2=1.5,
    galaxy_scale_px=(0.8, 5.0),
    pixel_um=15.0,
    silicon_um=40.0,
    diffusion_um=5.0,
    larger_share=0.0,
    largest_px=63,
    psf_side_px=25,
    template_psf_side_px=25,
    unit="DN",
)

# As in public LSSTCam stamps of 2025 and 2026: sigma 24 to 60 nJy, PSF 3.4 to 7 px; 30 s in i
# collect about 1.5 electrons per nJy; 10 um pixels, 100 um of silicon.
LSST = Camera(
    survey="lsst",
    aperture_m=8.4,
    arcsec_per_px=0.2,
    side_px=30,
    gain_e_per_unit=1.5,
    read_noise_e=7.0,
    sky_e=(1300.0, 7500.0),
    kept_sky=(0.0, 0.0),
    saturation_e=130_000.0,
    fwhm_px=(3.4, 6.5),
    template_fwhm_px=(3.4, 5.2),
    moffat_beta=3.5,
    template_noise=(0.12, 0.5),
    stars_per_arcmin2=(5.0, 60.0),
    galaxies_per_arcmin2=60.0,
    galaxy_scale_px=(0.8, 4.0),
    pixel_um=10.0,
    silicon_um=100.0,
    diffusion_um=5.0,
    larger_share=0.15,
    largest_px=93,
    psf_side_px=41,
    template_psf_side_px=49,
    unit="nJy",
)

CAMERAS: dict[str, Camera] = {camera.survey: camera for camera in (ZTF, LSST)}
