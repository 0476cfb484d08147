"""Golden numbers: results of the program that a network comes from, with which it is compared.

They are in ``engines/<name>/golden.npz``: the authors' TensorFlow program's, written by
``tests/inference/make_golden.py``, or the training's own, written by ``engines/training``.
The frames are made again from their seed, so only the numbers are stored.
"""

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import manifest
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest, Per, Tolerance

TOLERANCE = 1e-5
"""Largest difference of a probability between that program and a float32 runtime."""

FRAMES: dict[Per, int] = {Per.PIXEL: 2, Per.TILE: 8}
"""Frames per golden file; fewer for a pixel network, which has many results per frame."""

_SIDE_PX = 400  # side of the input of the authors' SavedModels
_POINTS = 600  # pixels per frame whose probabilities are stored
_SEED = 1907


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """The program's results.

    ``values`` is (N, P, K) at the ``rows`` and ``columns`` of P pixels for a pixel network, and
    (N, K) for a tile network. ``means`` (N, K) are over all pixels.
    """

    frames_sha256: str
    rows: npt.NDArray[np.int16]
    columns: npt.NDArray[np.int16]
    values: npt.NDArray[np.float32]
    means: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest absolute difference of a probability, and largest mean of one class."""

    largest: float
    mean: float

    def within(self, allowed: Tolerance) -> bool:
        """Returns whether both are within a tolerance of the manifest."""
        return self.largest <= allowed.largest and self.mean <= allowed.mean


def frames(count: int, planes: int = 1) -> Tensor:
    """Returns frames (count, planes, 400, 400), float32 in units of sigma, with stars and defects.

    They are sums and products of whole numbers from a generator that numpy keeps frozen, rounded to
    float16: the same bits on every machine. Planes after the first are the first, shifted and
    fainter.
    """
    random = np.random.RandomState(_SEED)
    made = np.zeros((count, 1, _SIDE_PX, _SIDE_PX), np.float32)
    for number, frame in enumerate(made[:, 0]):
        frame += (random.randint(-40, 41, frame.shape) + random.randint(-40, 41, frame.shape)) / 33
        _stars(frame, random, drift=6 * (number % 2))
        frame[:, random.randint(_SIDE_PX)] += 60  # hot column
        frame[random.randint(_SIDE_PX), :] = -30  # dead line
        for _ in range(30):  # cosmic rays
            row, column = random.randint(0, _SIDE_PX - 12, 2)
            for step in range(random.randint(1, 12)):
                frame[row + step // 2, column + step] += random.randint(20, 300)
        frame[300:340, 100 * (number % 3) : 100 * (number % 3) + 60] = 0  # no data: equal values
        frame /= 4 ** (number // 2)  # ever fainter, so that a tile network is unsure of some
    made = made.astype(np.float16).astype(np.float32)
    others = [np.roll(made, 5 * plane, (2, 3)) / 2**plane for plane in range(planes)]
    return np.concatenate(others, axis=1)


def _stars(frame: npt.NDArray[np.float32], random: np.random.RandomState, *, drift: int) -> None:
    """Add stars; with a drift they are trailed along the rows."""
    across = np.array((1, 4, 10, 16, 10, 4, 1), np.float32) / 16
    along = np.convolve(across, np.ones(1 + drift, np.float32))
    star = across[:, None] * along[None, :]
    for _ in range(120):
        row = random.randint(0, _SIDE_PX - star.shape[0])
        column = random.randint(0, _SIDE_PX - star.shape[1])
        place = frame[row : row + star.shape[0], column : column + star.shape[1]]
        place += random.randint(5, 60) ** 2 // 4 * star


def points() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Returns rows and columns of the stored pixels: the corners, then random ones."""
    random = np.random.RandomState(_SEED + 1)
    rows, columns = random.randint(0, _SIDE_PX, (2, _POINTS))
    last = _SIDE_PX - 1
    rows[:4], columns[:4] = (0, 0, last, last), (0, last, 0, last)
    return rows.astype(np.int16), columns.astype(np.int16)


def sha256(batch: Tensor) -> str:
    """Returns the sha256 of a batch's little-endian bytes."""
    return hashlib.sha256(batch.astype("<f4").tobytes()).hexdigest()


def golden_of(probabilities: Tensor, batch: Tensor) -> Golden:
    """Returns the golden numbers of a batch from its (N, K, H, W) or (N, K) probabilities."""
    rows, columns = points()
    if probabilities.ndim == 2:
        values, means = probabilities, probabilities.astype(np.float64)
    else:
        values = probabilities[:, :, rows, columns].transpose(0, 2, 1)
        means = probabilities.mean(axis=(2, 3), dtype=np.float64)
    return Golden(sha256(batch), rows, columns, values, means)


def path(name: str) -> Path:
    """Returns the path of an engine's golden numbers."""
    return manifest.folder() / name / "golden.npz"


def save(golden: Golden, file: Path) -> None:
    """Write golden numbers."""
    np.savez_compressed(
        file,
        frames_sha256=np.array(golden.frames_sha256),
        rows=golden.rows,
        columns=golden.columns,
        values=golden.values,
        means=golden.means,
    )


def load(file: Path) -> Golden:
    """Read golden numbers.

    Raises
    ------
    EngineUnavailable
        The file is missing or damaged.
    """
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as archive:
            return Golden(
                str(archive["frames_sha256"]),
                archive["rows"],
                archive["columns"],
                archive["values"],
                archive["means"],
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EngineUnavailable(
            f"the golden numbers {file} cannot be read ({error}): reinstall streamfilter"
        ) from error


def batches(facts: Manifest) -> Iterator[Tensor]:
    """Yields batches for comparing runtimes: the frames, and parts of them as stamps."""
    whole = frames(FRAMES[facts.per], len(facts.planes))
    yield whole
    if facts.shape.side_px is None:
        for side in facts.sides_px:
            starts = range(0, _SIDE_PX - side + 1, side)
            places = [(top, left) for top in starts for left in starts]
            cut = [whole[:, :, y : y + side, x : x + side] for y, x in places]
            yield np.concatenate(cut)


def difference(engine: Engine, measure: Engine) -> Difference:
    """Returns how far an engine's probabilities are from another's on ``batches``."""
    differences = [
        np.abs(engine.infer(batch) - measure.infer(batch)) for batch in batches(engine.manifest)
    ]
    means = [
        each.mean(axis=(0, 2, 3)[: each.ndim - 1], dtype=np.float64).max() for each in differences
    ]
    # numpy's maximum is NaN where any value is, unlike Python's.
    return Difference(float(np.max([each.max() for each in differences])), float(np.max(means)))


def largest_difference(engine: Engine) -> float:
    """Returns the largest difference from the golden probabilities; above TOLERANCE is wrong.

    Raises
    ------
    EngineUnavailable
        There are no golden numbers for the engine, or numpy makes other frames here.
    """
    facts: Manifest = engine.manifest
    golden = load(path(facts.name))
    batch = frames(FRAMES[facts.per], len(facts.planes))
    if sha256(batch) != golden.frames_sha256:
        raise EngineUnavailable(
            f"numpy {np.__version__} makes other golden frames than the file was written for: "
            "please report it"
        )
    here = golden_of(engine.infer(batch), batch)
    values, means = np.abs(here.values - golden.values), np.abs(here.means - golden.means)
    return float(np.max([values.max(), means.max()]))
