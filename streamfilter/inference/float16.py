"""Converts an ONNX network to float16, for GPUs.

Input and output stay float32. So does what comes before the first convolution, whose input may
have any size, and the last sigmoid or softmax, whose small probabilities float16 cannot represent.
"""

import importlib
from itertools import takewhile

import onnx
import onnxruntime

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.graph import serialised

CONVERTER = f"onnxruntime {onnxruntime.__version__}"
"""The converter with its version: another version may write another file."""

_KEPT = ["Sigmoid", "Softmax"]


def to_float16(network: bytes) -> bytes:
    """Returns the float16 form of a float32 ONNX file.

    Raises
    ------
    EngineUnavailable
        The bytes are no ONNX file, or the converter does not accept it.
    """
    # Imported only here: the package adds its own folder to the module path.
    converter = importlib.import_module("onnxruntime.transformers.float16")
    models = importlib.import_module("onnxruntime.transformers.onnx_model")
    try:
        whole = onnx.load_model_from_string(network)
        before = takewhile(lambda node: node.op_type != "Conv", whole.graph.node)
        model = converter.convert_float_to_float16(
            whole,
            keep_io_types=True,
            op_block_list=_KEPT,
            node_block_list=[node.name for node in before],
        )
        edited = models.OnnxModel(model)
        # The converter casts the input to float16 and back before asinh, and the probabilities
        # after the sigmoid: inputs above 65,504 would become infinite.
        edited.remove_cascaded_cast_nodes()
        edited.topological_sort()
        onnx.checker.check_model(edited.model)
    except Exception as error:  # those of protobuf, onnx and the converter share no base class
        raise EngineUnavailable(f"the network cannot be put into float16: {error}") from error
    return serialised(edited.model)
