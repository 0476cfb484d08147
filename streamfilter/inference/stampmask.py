"""Stampmask's network as ONNX: ten probabilities per pixel from five planes of an alert.

A small encoder and decoder; every operator is plain (convolutions, repetition, sums), so that
every runtime takes it. ``engines/training`` makes the weights.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from streamfilter.inference.graph import Graph

Weights = npt.NDArray[np.float32]

CLASSES = 10
PLANES = 5
_SOURCE = "Weights of stampmask, trained by streamfilter, BSD-3-Clause."


def build(weights: Mapping[str, Weights]) -> onnx.ModelProto:
    """Returns the network with variable batch, height and width.

    Input ``image`` (N, 5, H, W): science, template and difference in units of their own sigma, the
    logarithm of the variance, and where there is data. Output ``probabilities`` (N, 10, H, W). H
    and W are multiples of 8.

    Raises
    ------
    KeyError
        A weight is missing.
    """
    network = _Network(weights)
    graph = network.graph
    x = network.compress(graph.input("image", ("N", PLANES, "H", "W")))
    fine = network.convolve(network.convolve(x, "first"), "fine")
    half = network.convolve(network.halve(fine, "half_down"), "half_in")
    half = network.convolve(half, "half")
    quarter = network.convolve(network.halve(half, "quarter_down"), "quarter")
    deepest = network.convolve(network.halve(quarter, "eighth_down"), "eighth")
    quarter = network.join(deepest, quarter, "quarter_up")
    quarter = network.convolve(quarter, "quarter_out")
    half = network.join(quarter, half, "half_up")
    half = network.convolve(half, "half_out")
    fine = network.join(half, fine, "fine_up")
    fine = network.convolve(fine, "fine_out")
    logits = network.convolve(fine, "classes", rectified=False)
    graph.output(graph.node("Sigmoid", [logits], "probabilities"), ("N", CLASSES, "H", "W"))
    return graph.model(_SOURCE)


class _Network:
    """The graph under construction."""

    def __init__(self, weights: Mapping[str, Weights]) -> None:
        self.graph = Graph("stampmask")
        self._weights = weights

    def compress(self, x: str) -> str:
        """Take sign(x) log(1 + |x|): as asinh for large values, at a tenth of its time."""
        graph = self.graph
        size = graph.node("Abs", [x], "size")
        size = graph.node("Add", [size, graph.constant("one", np.array(1, np.float32))], "size_1")
        return graph.node(
            "Mul", [graph.node("Sign", [x], "sign"), graph.node("Log", [size], "log")], "compressed"
        )

    def convolve(self, x: str, name: str, *, rectified: bool = True) -> str:
        """Convolve with bias to the same size, then rectify."""
        x = self._convolution(x, name, stride=1)
        return self.graph.node("Relu", [x], f"{name}_relu") if rectified else x

    def halve(self, x: str, name: str) -> str:
        """Convolve 2x2 blocks into one pixel each, then rectify."""
        return self.graph.node("Relu", [self._convolution(x, name, stride=2)], f"{name}_relu")

    def join(self, deep: str, skip: str, name: str) -> str:
        """Convolve 1x1, repeat every value over its 2x2 block, add a map of that size."""
        scales = self.graph.constant("twice", np.array((1, 1, 2, 2), np.float32))
        doubled = self.graph.node(
            "Resize",
            [self._convolution(deep, name, stride=1), "", scales],
            f"{name}_doubled",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        joined = self.graph.node("Add", [doubled, skip], f"{name}_joined")
        return self.graph.node("Relu", [joined], f"{name}_relu")

    def _convolution(self, x: str, name: str, *, stride: int) -> str:
        kernel = np.ascontiguousarray(self._weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
        side = kernel.shape[-1]
        inputs = [
            x,
            self.graph.constant(f"{name}_kernel", kernel),
            self.graph.constant(f"{name}_bias", self._weights[f"{name}/bias"]),
        ]
        pad = side // 2 if stride == 1 else 0
        return self.graph.node(
            "Conv", inputs, name, kernel_shape=(side, side), pads=(pad,) * 4,
            strides=(stride, stride),
        )  # fmt: skip
