"""MaxiMask's network as ONNX: 14 probabilities per pixel, from weights without TensorFlow.

Source: Paillassa, Bertin & Bouy 2020, A&A 634, A48, and the graph of the MaxiMask 1.4.1 release.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from streamfilter.inference.graph import Graph
from streamfilter.inference.savedmodel import Weights

_SOURCE = "Weights of MaxiMask 1.4.1, copyright 2018 Maxime Paillassa, MIT licence."

# Convolutions of each encoder level; a 2x2 maximum follows every level.
_ENCODER = (
    ("conv1",),
    ("conv2",),
    ("conv3_1", "conv3_2"),
    ("conv4_1", "conv4_2"),
    ("conv5_1", "conv5_2"),
)
# Convolutions of each decoder level, from the deepest up.
_DECODER = (
    ("upconv5_2", "upconv5_1"),
    ("upconv4_2", "upconv4_1"),
    ("upconv3_2", "upconv3_1"),
    ("upconv2",),
    ("upconv1",),
)
# Side paths by the decoder level that they start below: unpooled and convolved up to full size.
_SIDE_PATHS = (
    (5, ("ucp4_conv4", "ucp4_conv3", "ucp4_conv2", "ucp4_conv1")),
    (4, ("ucp3_conv3", "ucp3_conv2", "ucp3_conv1")),
    (3, ("ucp2_conv2", "ucp2_conv1")),
    (2, ("ucp1_conv1",)),
)
_DEEPEST = 5


def build(weights: Mapping[str, Weights]) -> onnx.ModelProto:
    """The network with dynamic batch, height and width.

    Input ``image`` (N, 1, H, W), background-subtracted and divided by sigma; output
    ``probabilities`` (N, 14, H, W) in the order of the class table. H and W are multiples of 16:
    a map that is odd at the fifth level is padded there, as TensorFlow's SAME does.

    Raises
    ------
    KeyError
        A variable is missing.
    """
    network = _Network(weights)
    graph = network.graph
    x = graph.node("Asinh", [graph.input("image", ("N", 1, "H", "W"))], "asinh")
    for level, convolutions in enumerate(_ENCODER, start=1):
        for name in convolutions:
            x = network.convolve(x, name)
        x = network.pool(x, level)
    x = network.convolve(x, "convmid")
    decoded: dict[int, str] = {}
    for level, convolutions in zip(range(_DEEPEST, 0, -1), _DECODER, strict=True):
        x = network.unpool(x, level)
        x = graph.node("Add", [x, network.skips[level]], f"skip{level}")
        for name in convolutions:
            x = network.convolve(x, name)
        decoded[level] = x
    sides = [decoded[1]]
    for start, convolutions in _SIDE_PATHS:
        x = decoded[start]
        for level, name in zip(range(start - 1, 0, -1), convolutions, strict=True):
            x = network.convolve(network.unpool(x, level), name)
        sides.append(x)
    x = graph.node("Concat", sides, "sides", axis=1)
    x = network.convolve(x, "final_conv", rectified=False)
    graph.output(graph.node("Sigmoid", [x], "probabilities"), ("N", 14, "H", "W"))
    return graph.model(_SOURCE)


class _Network:
    """The graph so far, and what unpooling needs of each pooling."""

    def __init__(self, weights: Mapping[str, Weights]) -> None:
        self.graph = Graph("maximask")
        self.skips: dict[int, str] = {}
        self._weights = weights
        self._masks: dict[int, tuple[str, str, str]] = {}
        self._unpooled: dict[tuple[str, int], str] = {}

    def convolve(self, x: str, name: str, *, rectified: bool = True) -> str:
        """Convolve 3x3 with bias to the same size, then rectify."""
        kernel = np.ascontiguousarray(self._weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
        inputs = [
            x,
            self.graph.constant(f"{name}_kernel", kernel),
            self.graph.constant(f"{name}_bias", self._weights[f"{name}/bias"]),
        ]
        x = self.graph.node("Conv", inputs, name, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
        return self.graph.node("Relu", [x], f"{name}_relu") if rectified else x

    def pool(self, x: str, level: int) -> str:
        """2x2 maximum; keeps where each maximum was.

        Of equal values the first in reading order counts, as in TensorFlow's argmax: rectified
        maps tie at zero almost everywhere.
        """
        graph = self.graph
        self.skips[level] = x
        if level == _DEEPEST:
            x = self._padded_to_even(x)
        corner = [self._corner(x, level, row, column) for row in (0, 1) for column in (0, 1)]
        top = graph.node("Max", corner[:2], f"top{level}")
        bottom = graph.node("Max", corner[2:], f"bottom{level}")
        self._masks[level] = (
            graph.node("GreaterOrEqual", [top, bottom], f"in_top{level}"),
            graph.node("GreaterOrEqual", corner[:2], f"top_in_left{level}"),
            graph.node("GreaterOrEqual", corner[2:], f"bottom_in_left{level}"),
        )
        return graph.node("Max", [top, bottom], f"pool{level}")

    def unpool(self, y: str, level: int) -> str:
        """Put each value back where the maximum of its 2x2 block was, zeros elsewhere.

        No scatter: of the four corners of a block one takes the value, by what was compared in
        ``pool``, and the corners are interleaved.
        """
        if (y, level) in self._unpooled:
            return self._unpooled[y, level]
        graph, name = self.graph, f"unpool{level}_{y}"
        in_top, top_in_left, bottom_in_left = self._masks[level]
        top, bottom = self._split(y, in_top, f"{name}_row")
        corners = [
            *self._split(top, top_in_left, f"{name}_top"),
            *self._split(bottom, bottom_in_left, f"{name}_bottom"),
        ]
        x = graph.node("Concat", corners, f"{name}_corners", axis=1)
        x = graph.node("DepthToSpace", [x], name, blocksize=2, mode="DCR")
        if level == _DEEPEST:
            x = self._cropped_as(x, self.skips[level], name)
        self._unpooled[y, level] = x
        return x

    def _split(self, y: str, mask: str, name: str) -> tuple[str, str]:
        """The values where the mask holds, and the others; zeros elsewhere."""
        zero = self.graph.constant("zero", np.zeros((), np.float32))
        first = self.graph.node("Where", [mask, y, zero], f"{name}_first")
        return first, self.graph.node("Sub", [y, first], f"{name}_second")

    def _corner(self, x: str, level: int, row: int, column: int) -> str:
        """Every second pixel of every second row."""
        ints = self.graph.ints
        beyond = 2**31 - 1
        inputs = [x, ints(row, column), ints(beyond, beyond), ints(2, 3), ints(2, 2)]
        return self.graph.node("Slice", inputs, f"corner{level}_{row}{column}")

    def _padded_to_even(self, x: str) -> str:
        """Pad an odd height or width by one at the end, with what no maximum takes."""
        graph = self.graph
        sides = graph.node("Shape", [x], "deepest_sides", start=2)
        odd = graph.node("Mod", [sides, graph.ints(2)], "deepest_odd")
        pads = graph.node("Concat", [graph.ints(0, 0, 0, 0, 0, 0), odd], "deepest_pads", axis=0)
        below = graph.constant("minus_one", np.array(-1, np.float32))
        return graph.node("Pad", [x, pads, below], "deepest_even", mode="constant")

    def _cropped_as(self, x: str, like: str, name: str) -> str:
        """Cut the padded row and column off again."""
        ints = self.graph.ints
        sides = self.graph.node("Shape", [like], f"{name}_sides", start=2)
        return self.graph.node("Slice", [x, ints(0, 0), sides, ints(2, 3)], f"{name}_cropped")
