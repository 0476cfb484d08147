"""Trails of known length painted on real frames of several cameras.

A frame's own stars are smeared along a line, or doubled by a jump, by Fourier transform; the noise
that this takes away is put back. Frames that calibrate and frames that test are of other nights,
fields or cameras.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfilter.exposures import frames, shapes, sky
from streamfilter.exposures.records import Frame

Pixels = npt.NDArray[np.float64]

EVENT_FWHM = 1.25
"""Length from which a trail is a tracking error."""
_FWHM_OVER_RMS = 2.3548
_SIDE_PX = 560
"""Largest side of a base: four tiles."""
_SMALLEST_PX = 400
_ANY_FWHM, _NEAR_FWHM = (0.0, 4.0), (0.5, 2.0)


class Half(StrEnum):
    """What a frame is for."""

    CALIBRATE = "calibrate"
    TEST = "test"


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A real frame of round stars."""

    camera: str
    name: str
    image: Pixels
    fwhm_px: float
    half: Half


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A base with trails of one length; 0 leaves it as it is."""

    base: Base
    image: Pixels
    jump: bool
    length_fwhm: float
    """Of a line; of a jump, that of the line with the same rms."""


def bases(samples: Path, half: Half) -> list[Base]:
    """Returns the frames of one half, at FWHM from 1.3 to 8 px.

    Halved frames have pairs of pixels summed; blurred ones have worse seeing.
    """
    good, season = samples / "exposures" / "good", samples / "exposures" / "tracking"
    if half is Half.CALIBRATE:
        apogee, nights = "apogee_eso085-030-004.fit.gz", ("0016", "0175")
        others = [("decam", _stacked(pixels_of(good / "decam_OBS04a_256.fits.gz")))]
        stamps = "ztf.npz"
    else:
        apogee, nights = "apogee_eso085-030-005.fit.gz", ("0017", "0168")
        others = [("mro", pixels_of(good / "mro2m4_didymos.fits.gz"))]
        others.append(("mro halved", _stacked(_halved(others[0][1]))))
        stamps = "ztf_more.npz"
    sharp = pixels_of(good / apogee)
    others += [("apogee", sharp), ("apogee halved", _stacked(_halved(sharp)))]
    others += [(f"apogee to {fwhm:.1f} px", _blurred(sharp, 2.7, fwhm)) for fwhm in (4.0, 6.0)]
    for night in nights:
        image = pixels_of(season / f"AKB13475I{night}.fits.gz")
        others += [(f"saao {night}", image), (f"saao {night} halved", _stacked(_halved(image)))]
    others.append((f"saao {nights[0]} quartered", _stacked(_halved(_halved(others[-4][1])))))
    others.append(("ztf", _mosaic(samples / "stamps" / stamps)))
    return [_base(name, image, half) for name, image in others]


def painted(base: Base, each: int) -> Iterator[Painted]:
    """Yields a base with ``each`` trails: a quarter without any, a quarter jumps, else lines.

    One half of them has any length, the other is near the shortest tracking error.
    """
    rng = np.random.default_rng(list(base.name.encode()))
    for number in range(each):
        kind = ("none", "line", "jump", "line")[number % 4]
        length = float(rng.uniform(*(_ANY_FWHM, _NEAR_FWHM)[number // 4 % 2])) * base.fwhm_px
        angle = float(rng.uniform(0, np.pi))
        share = float(rng.uniform(0.3, 0.5)) if kind == "jump" else 0.0
        if kind == "none":
            yield Painted(base, base.image, False, 0.0)
            continue
        image = smeared(base.image, length, angle, share)
        spread = (12 * share * (1 - share)) ** 0.5 if kind == "jump" else 1.0
        yield Painted(base, image, kind == "jump", spread * length / base.fwhm_px)


def pixels_of(path: Path) -> Pixels:
    (frame,) = frames.read_frame_file(str(path))
    assert isinstance(frame, Frame)
    return frame.image.astype(np.float64)


def _base(name: str, image: Pixels, half: Half) -> Base:
    top, left = (max(side - _SIDE_PX, 0) // 2 for side in image.shape)
    image = image[top : top + _SIDE_PX, left : left + _SIDE_PX].copy()
    assert min(image.shape) >= _SMALLEST_PX, f"{name}: {image.shape}"
    normalised = sky.normalise(image.astype(np.float32))
    assert isinstance(normalised, tuple)
    fwhm = shapes.measure(shapes.find(normalised[0])).fwhm_px
    assert fwhm is not None, name
    return Base(name.split()[0], name, image, fwhm, half)


def level_of(image: Pixels) -> tuple[float, float]:
    """Returns level and noise of the sky."""
    level = float(np.median(image))
    return level, 1.4826 * float(np.median(np.abs(image - level)))


def _halved(image: Pixels) -> Pixels:
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    blocks = image[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    return np.asarray(blocks.sum(axis=(1, 3)))


def _stacked(image: Pixels) -> Pixels:
    """Returns the frame beside itself turned round, again and again until a tile fits into it."""
    for axis in (0, 1):
        while image.shape[axis] < _SMALLEST_PX:
            image = np.concatenate([image, image[::-1, ::-1]], axis=axis)
    return image


def _blurred(image: Pixels, fwhm: float, wanted: float) -> Pixels:
    """Returns the frame at worse seeing, its noise restored."""
    level, sigma = level_of(image)
    rms = (wanted**2 - fwhm**2) ** 0.5 / _FWHM_OVER_RMS
    y, x = _waves(image.shape)
    seeing = np.exp(-2 * (np.pi * rms) ** 2 * (x**2 + y**2))
    found = np.fft.irfft2(np.fft.rfft2(image - level) * seeing, image.shape) + level
    return _with_noise(found, sigma)


def smeared(image: Pixels, length_px: float, angle: float, share: float) -> Pixels:
    """Returns the frame with trails, or with a ``share`` of each star's light moved by a jump."""
    level, sigma = level_of(image)
    edge = int(length_px) + 1
    grown = np.pad(image - level, edge, "reflect")
    y, x = _waves(grown.shape)
    along = length_px * (x * np.cos(angle) + y * np.sin(angle))
    change = 1 - share + share * np.exp(-2j * np.pi * along) if share else np.sinc(along)
    moved = np.fft.irfft2(np.fft.rfft2(grown) * change, grown.shape)[edge:-edge, edge:-edge]
    return _with_noise(moved + level, sigma)


def _waves(shape: Sequence[int]) -> tuple[Pixels, Pixels]:
    down, across = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    return np.asarray(down[:, None], np.float64), np.asarray(across[None], np.float64)


def _with_noise(image: Pixels, sigma: float) -> Pixels:
    lost = max(sigma**2 - level_of(image)[1] ** 2, 0.0) ** 0.5
    return image + np.random.default_rng(1).normal(0, lost, image.shape)


def _mosaic(path: Path) -> Pixels:
    """Returns 49 science stamps without holes, side by side, each in units of its noise."""
    science = np.load(path)["stamps"][:, 0]
    whole = science[np.isfinite(science).all(axis=(1, 2))].astype(np.float64)
    levels = np.array([level_of(each) for each in whole])
    chosen = np.argsort(levels[:, 1])[: 8 * 49 : 8]  # of many exposures, the quiet ones
    scaled = (whole[chosen] - levels[chosen, 0, None, None]) / levels[chosen, 1, None, None]
    rows = [np.concatenate(list(scaled[n : n + 7]), axis=1) for n in range(0, 49, 7)]
    return 1000 + 10 * np.concatenate(rows)
