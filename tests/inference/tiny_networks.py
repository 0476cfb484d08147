"""Networks of a few nodes, made here, whose probabilities are known in closed form.

Each holds some of the operators that the published networks are made of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamfilter.inference.graph import Graph, serialised
from streamfilter.inference.manifest import (
    Manifest,
    OutputClass,
    Per,
    Precision,
    Release,
    ShapeRule,
    Tolerance,
)

Batch = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float64]

# float32: asinh below zero loses bits where it is the logarithm of a small difference, as on GPUs,
# whose own logarithm may lose more: one of three plans built on an H200 failed at 5e-6.
# bf16 has 8 bits of significand: 2^-9 of a value that a sigmoid's slope of 1/4 brings down.
TOLERANCES = (
    Tolerance(precision=Precision.FLOAT32, largest=5e-5, mean=5e-6),
    Tolerance(precision=Precision.BF16, largest=0.02, mean=0.005),
    # float16 has 11.
    Tolerance(precision=Precision.FP16, largest=0.003, mean=0.001),
)


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A network: its graph, and the same in numpy."""

    name: str
    per: Per
    classes: int
    build: Callable[[Graph, str], str]
    """Adds the nodes to a graph from the input on; the name of what the sigmoid takes."""
    logits: Callable[[Logits], Logits]

    def expected(self, batch: Batch) -> Batch:
        """(N, K, H, W) or (N, K) probabilities."""
        probabilities: Logits = 1 / (1 + np.exp(-self.logits(batch.astype(np.float64))))
        return probabilities.astype(np.float32)


def stretched(graph: Graph, x: str) -> str:
    """asinh, by a gain."""
    gain = graph.constant("gain", np.array(0.5, np.float32))
    return graph.node("Mul", [graph.node("Asinh", [x], "asinh"), gain], "mul")


def blurred(graph: Graph, x: str) -> str:
    """Two 3 x 3 filters with zeros beyond the edge: a mean, and the pixel to the right."""
    kernels = np.zeros((2, 1, 3, 3), np.float32)
    kernels[0], kernels[1, 0, 1, 2] = 1 / 8, 1
    return graph.node("Conv", [x, graph.constant("kernels", kernels)], "conv", pads=(1, 1, 1, 1))


def blurred_logits(batch: Logits) -> Logits:
    height, width = batch.shape[2:]
    padded = np.pad(batch[:, 0], ((0, 0), (1, 1), (1, 1)))
    near = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.stack([np.sum(near, axis=0) / 8, near[5]], axis=1)


def rebuilt(graph: Graph, x: str) -> str:
    """Maxima of 2 x 2 blocks put back at all four places."""
    pooled = graph.node("MaxPool", [x], "pool", kernel_shape=(2, 2), strides=(2, 2))
    four = graph.node("Concat", [pooled] * 4, "four", axis=1)
    return graph.node("DepthToSpace", [four], "unpool", blocksize=2, mode="DCR")


def rebuilt_logits(batch: Logits) -> Logits:
    count, _, height, width = batch.shape
    blocks: Logits = batch.reshape(count, 1, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    return blocks.repeat(2, axis=2).repeat(2, axis=3)


def averaged(graph: Graph, x: str) -> str:
    """One number an image, by two classes."""
    mean = graph.node("GlobalAveragePool", [x], "average")
    flat = graph.node("Flatten", [mean], "flat", axis=1)
    return graph.node("MatMul", [flat, graph.constant("w", np.array([[4, -4]], np.float32))], "dot")


TINY = (
    Tiny(name="stretched", per=Per.PIXEL, classes=1, build=stretched,
         logits=lambda batch: np.arcsinh(batch) / 2),
    Tiny(name="blurred", per=Per.PIXEL, classes=2, build=blurred, logits=blurred_logits),
    Tiny(name="rebuilt", per=Per.PIXEL, classes=1, build=rebuilt, logits=rebuilt_logits),
    Tiny(name="averaged", per=Per.TILE, classes=2, build=averaged,
         logits=lambda batch: batch.mean(axis=(2, 3)) * np.array([[4, -4]])),
)  # fmt: skip


def write(network: Tiny, folder: Path) -> Path:
    """The network's ONNX file in a folder."""
    graph = Graph(network.name)
    logits = network.build(graph, graph.input("image", ("N", 1, "H", "W")))
    rest = ("H", "W") if network.per is Per.PIXEL else ()
    graph.output(graph.node("Sigmoid", [logits], "probabilities"), ("N", network.classes, *rest))
    path = folder / f"{network.name}.onnx"
    path.write_bytes(serialised(graph.model("A test's.")))
    return path


def manifest(network: Tiny) -> Manifest:
    """What the network takes and gives; it has no release."""
    nowhere = Release(package="", version="", file="", sha256="", saved_model="-", licence="")
    return Manifest(
        name=network.name,
        version="1",
        release=nowhere,
        input_name="image",
        planes=("science",),
        shape=ShapeRule(multiple_px=2, min_side_px=2),
        sides_px=(64, 96, 128),
        dtype="float32",
        normalisation="none",
        output_name="probabilities",
        per=network.per,
        classes=tuple(
            OutputClass(code=f"C{number}", training_prior=0.5) for number in range(network.classes)
        ),
        weights_sha256="",
        onnx_sha256="",
        tolerances=TOLERANCES,
    )


def resident_bytes() -> int:
    """Memory that this process holds."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    return int(statm.read_text().split()[1]) * 4096
