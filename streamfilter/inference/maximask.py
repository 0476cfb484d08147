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
# The last convolutions of the decoder and of the side paths: 14 channels each.
_BRANCHES = ("upconv1", "ucp4_conv1", "ucp3_conv1", "ucp2_conv1", "ucp1_conv1")


def build(weights: Mapping[str, Weights]) -> onnx.ModelProto:
    """Returns the network with variable batch, height and width.

    Input ``image`` (N, 1, H, W), background-subtracted and divided by sigma; output
    ``probabilities`` (N, 14, H, W) in the order of the class table. H and W are multiples of 16:
    a map with an odd side at the fifth level is padded there, as TensorFlow's SAME does.

    Raises
    ------
    KeyError
        A variable is missing.
    """
    network = _Network(_in_blocks(weights))
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
    """The graph under construction, and the positions of the maxima of each pooling."""

    def __init__(self, weights: Mapping[str, Weights]) -> None:
        self.graph = Graph("maximask")
        self.skips: dict[int, str] = {}
        self._weights = weights
        self._masks: dict[int, str] = {}
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
        """Pool by 2x2 maxima, and keep a mask of the maximum's place in each block.

        Of equal values the first in reading order counts, as in TensorFlow's argmax: rectified
        maps tie at zero almost everywhere. The mask comes from three more maxima of the block:
        its first value ``c``, its top row ``t`` and its left column ``l``. With c, t, l = 1 where
        they equal the maximum, else 0, the place in reading order is 3 - c - l + t (l - 2).
        """
        graph = self.graph
        self.skips[level] = x
        pooled = self._maximum(x, (2, 2), f"pool{level}", level)
        corner, top, left = (
            self._equal(
                self._maximum(x, kernel, f"{name}{level}", level), pooled, f"in_{name}{level}"
            )
            for name, kernel in (("corner", (1, 1)), ("top", (1, 2)), ("left", (2, 1)))
        )
        place = graph.node("Sub", [left, self._number(2)], f"left{level}_less_2")
        place = graph.node("Mul", [top, place], f"top{level}_share")
        place = graph.node("Sub", [place, corner], f"top{level}_share_less_corner")
        place = graph.node("Sub", [place, left], f"place{level}_less_3")
        place = graph.node("Add", [place, self._number(3)], f"place{level}")
        places = self._places(pooled, level)
        self._masks[level] = self._equal(self._doubled(place, level), places, f"mask{level}")
        return pooled

    def unpool(self, y: str, level: int) -> str:
        """Put each value back where the maximum of its 2x2 block was, zeros elsewhere.

        No scatter: every value is repeated over its block and kept where the mask says.
        """
        if (y, level) not in self._unpooled:
            inputs = [self._doubled(y, level), self._masks[level]]
            self._unpooled[y, level] = self.graph.node("Mul", inputs, f"unpool{level}_{y}")
        return self._unpooled[y, level]

    def _maximum(self, x: str, kernel: tuple[int, int], name: str, level: int) -> str:
        """Add the maximum of a part of every 2x2 block."""
        # An odd side (25 px of 400) is padded at the end, where half a block is missing.
        end = [side - 1 if level == _DEEPEST else 0 for side in kernel]
        return self.graph.node(
            "MaxPool", [x], name, kernel_shape=kernel, strides=(2, 2), pads=(0, 0, *end)
        )

    def _doubled(self, x: str, level: int) -> str:
        """Repeat every value over its 2x2 block; cut to the level's size where that is odd."""
        graph, name = self.graph, f"doubled{level}_{x}"
        scales = graph.constant("twice", np.array((1, 1, 2, 2), np.float32))
        x = graph.node(
            "Resize",
            [x, "", scales],
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self._cut(x, level) if level == _DEEPEST else x

    def _places(self, pooled: str, level: int) -> str:
        """Add the place, in reading order, of every pixel in its block: 0, 1 over 2, 3."""
        graph = self.graph
        block = graph.constant("block", np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))
        sides = graph.node("Shape", [pooled], f"pool{level}_sides", start=2)
        repeats = graph.node("Concat", [graph.ints(1, 1), sides], f"blocks{level}", axis=0)
        places = graph.node("Tile", [block, repeats], f"places{level}")
        return self._cut(places, level) if level == _DEEPEST else places

    def _cut(self, x: str, level: int) -> str:
        """Cut off the padding of an odd side."""
        graph = self.graph
        sides = graph.node("Shape", [self.skips[level]], f"{x}_sides", start=2)
        return graph.node("Slice", [x, graph.ints(0, 0), sides, graph.ints(2, 3)], f"{x}_cut")

    def _equal(self, x: str, y: str, name: str) -> str:
        """Add a map that is 1 where two maps are equal, else 0."""
        equal = self.graph.node("Equal", [x, y], f"{name}_equal")
        return self.graph.node("Cast", [equal], name, to=onnx.TensorProto.FLOAT)

    def _number(self, value: int) -> str:
        """Add a constant scalar."""
        return self.graph.constant(f"number_{value}", np.array(value, np.float32))


def _in_blocks(weights: Mapping[str, Weights]) -> dict[str, Weights]:
    """Returns the weights with 16 channels instead of 14 before the last convolution.

    The two extra channels are zero, so only the speed changes: vector units take 8 or 16 channels
    at a time, and a runtime that blocks channels need not reorder 14 of them.
    """
    padded = dict(weights)
    for name in _BRANCHES:
        padded[f"{name}/kernel"] = np.pad(weights[f"{name}/kernel"], ((0, 0),) * 3 + ((0, 2),))
        padded[f"{name}/bias"] = np.pad(weights[f"{name}/bias"], (0, 2))
    last = weights["final_conv/kernel"].reshape(3, 3, len(_BRANCHES), 14, 14)
    last = np.pad(last, ((0, 0), (0, 0), (0, 0), (0, 2), (0, 0)))
    padded["final_conv/kernel"] = last.reshape(3, 3, -1, 14)
    return padded
