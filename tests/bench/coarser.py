"""MaxiMask with coarser numbers, as ONNX files that ONNX Runtime runs on a CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from streamfilter.inference.engine import Tensor


def float16(network: bytes) -> bytes:
    """Weights and results rounded to float16, but for the sums within an operator and the edges.

    ONNX Runtime leaves results of a float16 file in float32 where it has no operator of float16.
    """
    model = onnx.load_model_from_string(network)
    for weights in model.graph.initializer:
        if weights.data_type == TensorProto.FLOAT:
            values = np.frombuffer(weights.raw_data, "<f4")
            weights.raw_data = values.astype("<f2").astype("<f4").tobytes()
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type in ("Asinh", "Conv", "Relu", "PRelu", "Gemm", "Add", "Mul"):
            name = node.output[0]
            node.output[0] = f"{name}_exact"
            half = helper.make_node("Cast", [f"{name}_exact"], [f"{name}_half"], to=10)
            nodes += [half, helper.make_node("Cast", [f"{name}_half"], [name], to=1)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    content: bytes = model.SerializeToString()
    return content


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Hands batches to the calibration."""

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Tensor] | None:
        """The next batch; None after the last."""
        batch = next(self._left, None)
        return None if batch is None else {"image": batch}


def int8(network: Path, made: Path, calibration: Sequence[Tensor], *, encoder: bool) -> None:
    """Write a file with Q/DQ around convolutions: a scale per channel of weights, one per map.

    Without ``encoder``, the convolutions before the deepest map and the last one are left, which
    is where the maxima are whose places the decoder needs.
    """
    nodes = onnx.load(network).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    left = [name for name in convolutions if name.startswith(("conv", "final"))]
    quantize_static(
        network,
        made,
        _Reader(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=[] if encoder else left,
    )
