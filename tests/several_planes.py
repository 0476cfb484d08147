"""An engine of five planes without a network: it keeps what it was given."""

from pathlib import Path

import numpy as np
import pytest

from streamfilter.alerts.normalise import normalise
from streamfilter.alerts.pipeline import FurtherEngine
from streamfilter.inference import manifest
from streamfilter.inference.engine import Tensor
from streamfilter.inference.manifest import InputPlane, read_manifest
from streamfilter.records import EngineIdentity, Image, Plane, Stamp

FOLDER = Path(__file__).parent / "engines"
MANIFEST = read_manifest(FOLDER / "several-planes" / "engine.toml")
CODES = MANIFEST.codes


def offered(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the settings name this engine beside the package's own."""
    for place in (*manifest.folder().glob("*/"), *FOLDER.glob("*/")):
        (folder / place.name).symlink_to(place)
    monkeypatch.setattr(manifest, "folder", lambda: folder)


def asked_always() -> FurtherEngine:
    """This engine as a further one, of every science stamp."""
    identity = EngineIdentity(MANIFEST.name, "00" * 32, "none")
    return FurtherEngine(identity=identity, network=MANIFEST, when=None)


class SeveralPlanes:
    """Finds a residual where the difference is above 5 sigma, and nothing else."""

    manifest = MANIFEST
    runtime = "none"

    def __init__(self) -> None:
        self.batches: list[Tensor] = []
        self.warmed: list[tuple[int, int, int, int]] = []

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        self.warmed += shapes

    def infer(self, batch: Tensor) -> Tensor:
        self.batches.append(batch.copy())
        found = np.zeros((len(batch), len(CODES), *batch.shape[2:]), np.float32)
        found[:, CODES.index("RES")] = batch[:, list(InputPlane).index(InputPlane.DIFFERENCE)] > 5
        return found

    def close(self) -> None: ...


def noise(side: int = 30, seed: int = 0, sigma: float = 5.0) -> Image:
    """Sky around 100."""
    image: Image = np.random.default_rng(seed).normal(100, sigma, (side, side)).astype(np.float32)
    return image


def stamps(side: int = 30) -> dict[Plane, Stamp]:
    """A science stamp with its variance, a template and a difference."""
    images = [noise(side, seed) for seed in range(3)]
    variance = np.full((side, side), 25.0, np.float32)
    variance[0, 0] = 2500.0
    return {
        Plane.SCIENCE: Stamp(images[0], variance),
        Plane.TEMPLATE: Stamp(images[1]),
        Plane.DIFFERENCE: Stamp(images[2]),
    }


def padded(image: Image, side: int = 32) -> Image:
    """An image in the middle of a larger one, reflected at its edges."""
    before = (side - len(image)) // 2
    return np.pad(image, [(before, side - len(image) - before)] * 2, "symmetric")


def in_sigmas(stamp: Stamp) -> Image:
    """A stamp in units of its noise."""
    found = normalise(stamp)
    assert not isinstance(found, str)
    return found.image
