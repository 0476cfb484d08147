"""MaxiTrack's network as ONNX: detects tiles with tracking errors; needs no TensorFlow.

Source: Paillassa, Bertin & Bouy 2020, A&A 634, A48, and the graph of the MaxiMask 1.4.1 release.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from streamfilter.inference.graph import Graph
from streamfilter.inference.savedmodel import Weights

_SOURCE = "Weights of MaxiTrack 1.4.1, copyright 2018 Maxime Paillassa, MIT licence."

_SIDE_PX = 400  # fixed, because each activation has its own slope
_CONVOLUTIONS = (
    ("conv1", "variables/2"),
    ("conv2", "variables/5"),
    ("conv3", "variables/8"),
    ("conv4", "variables/11"),
    ("conv5", "variables/14"),
)
_DENSE = (("dense1", "variables/17"), ("dense2", "variables/20"))


def build(weights: Mapping[str, Weights]) -> onnx.ModelProto:
    """Returns the network with variable batch.

    Input ``image`` (N, 1, 400, 400), background-subtracted and divided by sigma; output
    ``probabilities`` (N, 2): well tracked, tracking error.

    Raises
    ------
    KeyError
        A variable is missing.
    """
    graph = Graph("maxitrack")
    x = graph.node("Asinh", [graph.input("image", ("N", 1, _SIDE_PX, _SIDE_PX))], "asinh")
    for name, slope in _CONVOLUTIONS:
        kernel = np.ascontiguousarray(weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
        x = graph.node(
            "Conv",
            [x, graph.constant(f"{name}_kernel", kernel), _bias(graph, weights, name)],
            name,
            kernel_shape=(9, 9),
            pads=(4, 4, 4, 4),
        )
        slopes = np.ascontiguousarray(weights[slope].transpose(2, 0, 1))
        x = graph.node("PRelu", [x, graph.constant(f"{name}_slopes", slopes)], f"{name}_prelu")
        x = graph.node("MaxPool", [x], f"{name}_pool", kernel_shape=(2, 2), strides=(2, 2))
    x = graph.node("Flatten", [x], "flat", axis=1)
    for name, slope in _DENSE:
        x = _dense(graph, weights, x, name)
        bend = graph.constant(f"{name}_slopes", weights[slope])
        x = graph.node("PRelu", [x, bend], f"{name}_prelu")
    x = _dense(graph, weights, x, "dense3")
    graph.output(graph.node("Softmax", [x], "probabilities", axis=1), ("N", 2))
    return graph.model(_SOURCE)


def _dense(graph: Graph, weights: Mapping[str, Weights], x: str, name: str) -> str:
    """Add a fully connected layer."""
    kernel = weights[f"{name}/kernel"]
    if name == "dense1":
        # TensorFlow flattens height, width, channel; the map here is channel, height, width.
        units, channels = kernel.shape[1], weights["conv5/bias"].size
        side = _SIDE_PX // 2 ** len(_CONVOLUTIONS)
        kernel = kernel.reshape(side, side, channels, units).transpose(2, 0, 1, 3)
        kernel = np.ascontiguousarray(kernel.reshape(-1, units))
    inputs = [x, graph.constant(f"{name}_kernel", kernel), _bias(graph, weights, name)]
    return graph.node("Gemm", inputs, name)


def _bias(graph: Graph, weights: Mapping[str, Weights], name: str) -> str:
    """Add the bias of a layer as a constant."""
    return graph.constant(f"{name}_bias", weights[f"{name}/bias"])
