"""An engine of five planes without a network: it keeps what it was given."""

import numpy as np

from streamfilter.alerts.normalise import normalise
from streamfilter.inference.engine import Tensor
from streamfilter.inference.manifest import InputPlane, Manifest, OutputClass, Per, ShapeRule
from streamfilter.records import Image, Plane, Stamp

CODES = ("CR", "TRL", "HCL", "DCL", "HP", "DP", "SAT", "SP", "BBG", "RES")
MANIFEST = Manifest(
    name="several-planes",
    version="1",
    input_name="image",
    planes=tuple(InputPlane),
    shape=ShapeRule(multiple_px=32, min_side_px=32),
    sides_px=(32, 64, 96, 128),
    dtype="float32",
    normalisation="each plane by its own noise",
    output_name="probabilities",
    per=Per.PIXEL,
    classes=tuple(OutputClass(code=code, training_prior=0.01) for code in CODES),
    weights_sha256="",
    onnx_sha256="",
)


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
