"""deepCR's network for HST ACS/WFC as ONNX: the probability of a cosmic ray per pixel.

Source: Zhang & Bloom 2020, ApJ 889, 24 (arXiv 1907.09500), and ``deepCR/unet_batchnorm.py`` of the
deepCR 0.3.1 release.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from streamfilter.inference.graph import Graph

Weights = npt.NDArray[np.float32]

ELECTRONS_A_SIGMA = 40.0
SKY_ELECTRONS = 300.0
"""The network was trained on exposures in electrons, sky and all. Fed so, any camera's frame in
units of its noise is as those were; 300 is about what the noise of 40 goes with there."""
_SMALLEST = 1e-5  # added to the variances, as in the normalisation of PyTorch
_SOURCE = "Weights of deepCR 0.3.1 (ACS-WFC), copyright 2019 UC Berkeley, BSD-3-Clause licence."


def build(weights: Mapping[str, Weights]) -> onnx.ModelProto:
    """Returns the network with variable batch, height and width.

    Input ``image`` (N, 1, H, W), background-subtracted and divided by sigma; output
    ``probabilities`` (N, 1, H, W) of a cosmic ray. H and W are even.

    Raises
    ------
    KeyError
        A weight is missing.
    """
    network = _Network(weights)
    graph = network.graph
    x = graph.input("image", ("N", 1, "H", "W"))
    x = graph.node("Mul", [x, network.number("gain", ELECTRONS_A_SIGMA)], "without_sky")
    x = graph.node("Add", [x, network.number("sky", SKY_ELECTRONS)], "electrons")
    fine = network.convolve_twice(x, "inc.conv.conv")
    x = graph.node("MaxPool", [fine], "pooled", kernel_shape=(2, 2), strides=(2, 2))
    x = network.convolve_twice(x, "down1.mpconv.1.conv")
    x = network.double(x, "up8.up")
    x = graph.node("Concat", [fine, x], "joined", axis=1)
    x = network.convolve_twice(x, "up8.conv.conv")
    x = network.classify(x, "outc.conv")
    graph.output(graph.node("Sigmoid", [x], "probabilities"), ("N", 1, "H", "W"))
    return graph.model(_SOURCE)


class _Network:
    """The graph under construction."""

    def __init__(self, weights: Mapping[str, Weights]) -> None:
        self.graph = Graph("deepcr")
        self._weights = weights

    def number(self, name: str, value: float) -> str:
        """Add a constant number."""
        return self.graph.constant(name, np.array(value, np.float32))

    def convolve_twice(self, x: str, name: str) -> str:
        """Convolve 3x3 to the same size, normalise and rectify; two times."""
        for number in (0, 3):
            kernel, bias = self._normalised(f"{name}.{number}", f"{name}.{number + 1}")
            place = f"{name}.{number}"
            inputs = [
                x,
                self.graph.constant(f"{place}.kernel", kernel),
                self.graph.constant(f"{place}.bias", bias),
            ]
            x = self.graph.node("Conv", inputs, place, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
            x = self.graph.node("Relu", [x], f"{place}.relu")
        return x

    def double(self, x: str, name: str) -> str:
        """Make 2x2 pixels of every one."""
        inputs = [x, self._constant(f"{name}.weight"), self._constant(f"{name}.bias")]
        return self.graph.node("ConvTranspose", inputs, name, kernel_shape=(2, 2), strides=(2, 2))

    def classify(self, x: str, name: str) -> str:
        """Convolve 1x1 with bias."""
        inputs = [x, self._constant(f"{name}.weight"), self._constant(f"{name}.bias")]
        return self.graph.node("Conv", inputs, name, kernel_shape=(1, 1))

    def _constant(self, name: str) -> str:
        return self.graph.constant(name, self._weights[f"module.{name}"])

    def _normalised(self, convolution: str, normalisation: str) -> tuple[Weights, Weights]:
        """Returns kernel and bias of a convolution with the batch normalisation behind it."""
        kernel, bias = (
            self._weights[f"module.{convolution}.{part}"].astype(np.float64)
            for part in ("weight", "bias")
        )
        gain, shift, mean, variance = (
            self._weights[f"module.{normalisation}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + _SMALLEST)
        return (
            (kernel * gain[:, None, None, None]).astype(np.float32),
            ((bias - mean) * gain + shift).astype(np.float32),
        )
