"""A network in float16, for GPUs: ONNX in, ONNX out.

Input and output stay float32, and so do asinh, which takes sigmas of any size, and the last
sigmoid or softmax, whose small probabilities float16 has not.
"""

import importlib

import onnx
import onnxruntime

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.graph import serialised

CONVERTER = f"onnxruntime {onnxruntime.__version__}"
"""Whose converter it is: another version may write another file."""

_KEPT = ["Asinh", "Sigmoid", "Softmax"]


def to_float16(network: bytes) -> bytes:
    """The float16 form of a float32 ONNX file.

    Raises
    ------
    EngineUnavailable
        It is no ONNX file, or none that the converter takes.
    """
    # Loaded here alone: the package puts its own folder on the path of modules.
    converter = importlib.import_module("onnxruntime.transformers.float16")
    models = importlib.import_module("onnxruntime.transformers.onnx_model")
    try:
        model = converter.convert_float_to_float16(
            onnx.load_model_from_string(network), keep_io_types=True, op_block_list=_KEPT
        )
        edited = models.OnnxModel(model)
        # The converter brings the input to float16 and back before asinh, and the probabilities
        # after the sigmoid: inputs above 65,504 would be infinite.
        edited.remove_cascaded_cast_nodes()
        edited.topological_sort()
        onnx.checker.check_model(edited.model)
    except Exception as error:  # protobuf's, onnx's and the converter's share no base
        raise EngineUnavailable(f"the network cannot be put into float16: {error}") from error
    return serialised(edited.model)
