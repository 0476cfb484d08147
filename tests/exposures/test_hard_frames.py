"""Real frames in another dress, and with what is painted on them: decisions stay sensible."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from fields import Field, out_of_focus

from streamfilter.exposures import frames
from streamfilter.exposures.records import Decision, Frame, Judgement
from streamfilter.exposures.watcher import Watcher
from streamfilter.inference.runtimes import open_engine

Pixels = npt.NDArray[np.float64]

pytestmark = pytest.mark.engine
GOOD = ("apogee_eso085-030-004.fit.gz", "mro2m4_didymos.fits.gz")


@pytest.fixture(scope="module")
def watcher(engine_home: Path) -> Iterator[Watcher]:
    engine = open_engine("maxitrack", "onnxruntime", engine_home, os.cpu_count() or 1)
    yield Watcher(engine)
    engine.close()


def pixels(samples: Path, name: str) -> Pixels:
    (frame,) = frames.read_frame_file(str(samples / "exposures" / "good" / name))
    assert isinstance(frame, Frame)
    return frame.image.astype(np.float64)


def judged(watcher: Watcher, image: npt.NDArray[np.number], **cards: str) -> Judgement:
    """Judges pixels that were written to a file and read back."""
    out = io.BytesIO()
    fits.PrimaryHDU(image, fits.Header(cards)).writeto(out)
    (frame,) = frames.read_frames(out.getvalue(), "made")
    return watcher.judge_frame(frame).evidence.judgement


def sky(image: Pixels) -> tuple[float, float]:
    """Returns level and noise."""
    level = float(np.median(image))
    return level, 1.4826 * float(np.median(np.abs(image - level)))


def with_noise(image: Pixels, sigma: float) -> Pixels:
    """Adds the noise that smearing removed."""
    lost = max(sigma**2 - sky(image)[1] ** 2, 0.0) ** 0.5
    return image + np.random.default_rng(1).normal(0, lost, image.shape)


def trailed(image: Pixels, length_px: float, angle_deg: float) -> Pixels:
    """Turns each star into a trail: the mean of shifted frames, by Fourier transform."""
    level, sigma = sky(image)
    edge = int(length_px)
    padded = np.pad(image - level, edge, "reflect")
    y, x = np.meshgrid(
        np.fft.fftfreq(padded.shape[0]), np.fft.rfftfreq(padded.shape[1]), indexing="ij"
    )
    angle = np.radians(angle_deg)
    line = np.sinc(length_px * (x * np.cos(angle) + y * np.sin(angle)))
    smeared = np.fft.irfft2(np.fft.rfft2(padded) * line, padded.shape)
    return with_noise(smeared[edge:-edge, edge:-edge] + level, sigma)


def gradient(image: Pixels) -> Pixels:
    y, x = np.mgrid[0 : 1 : image.shape[0] * 1j, 0 : 1 : image.shape[1] * 1j]
    slope: Pixels = sky(image)[1] * (100 * x + 40 * y**2)
    return image + slope


def without_borders(image: Pixels) -> Pixels:
    image[:30], image[:, -45:], image[-7:] = np.nan, np.nan, np.nan
    return image


def with_satellite(image: Pixels) -> Pixels:
    """Adds a saturated trail from side to side."""
    rows = (0.2 * image.shape[0] + 0.5 * np.arange(image.shape[1])).astype(int)
    for column in np.flatnonzero(rows < image.shape[0] - 3):
        image[rows[column] - 2 : rows[column] + 3, column] = image.max()
    return image


def with_columns(image: Pixels) -> Pixels:
    """Adds three bleeding columns."""
    for column in (100, 250, 333):
        image[:, column : column + 3] = image.max()
    return image


DRESSES: dict[str, Callable[[Pixels], npt.NDArray[np.number]]] = {
    "electrons a second": lambda image: image * 0.014,
    "nJy": lambda image: image * 37.1,
    "erg": lambda image: (image * 1e-12).astype(np.float32),
    "no sky": lambda image: image - np.median(image),
    "a negative sky": lambda image: image - np.median(image) - 1000,
    "int32": lambda image: np.rint(image).astype(np.int32),
    "int32 with BZERO": lambda image: np.rint(image).astype(np.uint32),
    "an odd size": lambda image: image[7:-61, 3:-97],
    "turned": lambda image: np.rot90(image).copy(),
    "a gradient": gradient,
    "borders without data": without_borders,
    "a satellite": with_satellite,
    "columns that bleed": with_columns,
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("name", GOOD)
def test_a_good_frame_is_well_in_any_dress(
    watcher: Watcher, samples: Path, name: str, dress: str
) -> None:
    """Units, offsets, types, sizes, gradients, and what crosses the frame change no decision."""
    assert Decision.OK == judged(watcher, DRESSES[dress](pixels(samples, name))).decision


@pytest.mark.parametrize("angle", [0, 45, 77, 90])
@pytest.mark.parametrize(("name", "length"), [(GOOD[0], 5), (GOOD[1], 10)])
def test_trails_from_under_two_fwhm_on_are_tracking_errors(
    watcher: Watcher, samples: Path, name: str, length: float, angle: float
) -> None:
    """In any direction. MaxiTrack alone misses most trails of 5 px on stars of 2.7 px."""
    found = judged(watcher, trailed(pixels(samples, name), length, angle))
    assert Decision.TRACKING_ERROR == found.decision
    assert 10 > abs(((found.shapes.position_angle_deg or 0) - angle + 90) % 180 - 90)


@pytest.mark.parametrize("length", [20, 40, 60])
@pytest.mark.parametrize("name", GOOD)
def test_long_trails_are_tracking_errors(
    watcher: Watcher, samples: Path, name: str, length: float
) -> None:
    """Every star is a line."""
    found = judged(watcher, trailed(pixels(samples, name), length, 30))
    assert Decision.TRACKING_ERROR == found.decision


@pytest.mark.parametrize("jump", [(9, 14), (14, 0), (0, -20)])
@pytest.mark.parametrize("name", GOOD)
def test_stars_doubled_by_a_jump_are_a_tracking_error(
    watcher: Watcher, samples: Path, name: str, jump: tuple[int, int]
) -> None:
    """Each star has two round images; MaxiTrack does not notice."""
    image = pixels(samples, name)
    jumped = image + np.roll(image - np.median(image), jump, (0, 1))
    assert Decision.TRACKING_ERROR == judged(watcher, jumped).decision


@pytest.mark.parametrize(
    ("radius", "vane"), [(8, 0), (20, 1.2), (30, 1.2), (35, 1.0), (45, 0), (45, 4), (60, 0)]
)
def test_a_field_out_of_focus_does_not_trail(watcher: Watcher, radius: float, vane: float) -> None:
    """The network is sure of an error, but the rings, whole or broken, are images of the pupil."""
    assert Decision.CANNOT_TELL == judged(watcher, out_of_focus(radius, vane)).decision


@pytest.mark.parametrize("name", GOOD)
def test_a_short_trail_does_not_make_a_good_frame_fail(
    watcher: Watcher, samples: Path, name: str
) -> None:
    """A trail of 2 px is less than a FWHM: optics cause such elongations."""
    found = judged(watcher, trailed(pixels(samples, name), 2, 45))
    assert Decision.TRACKING_ERROR != found.decision


def test_a_field_of_galaxies_does_not_trail(watcher: Watcher) -> None:
    """The network is sure of an error, but galaxies are elongated in different directions."""
    rng = np.random.default_rng(3)
    image = rng.normal(1000, 10, (600, 600))
    y, x = np.mgrid[-40:41, -40:41]
    for _ in range(60):
        row, column = rng.integers(41, 559, 2)
        ratio, angle, radius = rng.uniform(0.25, 0.9), rng.uniform(0, np.pi), rng.uniform(2, 6)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = (y * np.cos(angle) - x * np.sin(angle)) / ratio
        profile = np.exp(-np.sqrt(along**2 + across**2 + 2) / radius)
        image[row - 40 : row + 41, column - 40 : column + 41] += rng.uniform(200, 5000) * profile
    assert Decision.TRACKING_ERROR != judged(watcher, image).decision


@pytest.mark.parametrize("name", GOOD)
def test_a_binned_frame_below_a_tile_is_not_evaluated(
    watcher: Watcher, samples: Path, name: str
) -> None:
    """Binning by two leaves 341 and 256 px."""
    image = pixels(samples, name)
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    binned = image[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).sum(axis=(1, 3))
    assert Decision.CANNOT_TELL == judged(watcher, binned).decision


@pytest.mark.parametrize(
    ("trail", "decisions"),
    [(0.0, (Decision.OK, Decision.CANNOT_TELL)), (10.0, (Decision.TRACKING_ERROR,))],
)
def test_unequal_binning_is_no_tracking_error(
    watcher: Watcher, trail: float, decisions: tuple[Decision, ...]
) -> None:
    """Pairs of rows were read together, so each round star is half as high in the frame."""
    image = Field(height=1000, trail_px=trail, angle_deg=90).image()
    rows = image.reshape(500, 2, image.shape[1]).sum(axis=1)
    assert judged(watcher, rows, CCDSUM="1 2").decision in decisions
