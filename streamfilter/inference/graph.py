"""Builds an ONNX graph node by node; every version of onnx writes the same bytes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

# TensorRT's parser accepts opset 9 to 25 and IR up to 10; ONNX Runtime 1.20 accepts both values.
OPSET = 17
IR_VERSION = 8

Dimension = int | str
Array = npt.NDArray[np.float32] | npt.NDArray[np.int64]


class Graph:
    """An ONNX graph under construction: nodes and constants in the order of adding.

    The protobuf messages are filled here and not by ``onnx.helper``, whose defaults change with its
    version: the manifest contains the file's sha256.
    """

    def __init__(self, name: str) -> None:
        self._graph = onnx.GraphProto(name=name)
        self._constants: set[str] = set()

    def input(self, name: str, shape: Sequence[Dimension]) -> str:
        """Declare a float32 input; a dimension given by name is variable. Returns the name."""
        self._graph.input.append(_value(name, shape))
        return name

    def output(self, name: str, shape: Sequence[Dimension]) -> None:
        """Declare the output of a node as a float32 output of the graph."""
        self._graph.output.append(_value(name, shape))

    def constant(self, name: str, values: Array) -> str:
        """Add a constant, once for each name; returns the name."""
        if name not in self._constants:
            self._constants.add(name)
            kind = onnx.TensorProto.INT64 if values.dtype == np.int64 else onnx.TensorProto.FLOAT
            little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            self._graph.initializer.append(
                onnx.TensorProto(
                    name=name, data_type=kind, dims=values.shape, raw_data=little.tobytes()
                )
            )
        return name

    def ints(self, *values: int) -> str:
        """Add a constant vector of int64; returns its name."""
        name = "ints_" + "_".join(str(value).replace("-", "m") for value in values)
        return self.constant(name, np.array(values, np.int64))

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        **attributes: int | str | Sequence[int],
    ) -> str:
        """Add a node with one output; returns the output's name."""
        node = onnx.NodeProto(op_type=operator, name=output, input=inputs, output=[output])
        for key in sorted(attributes):
            node.attribute.append(_attribute(key, attributes[key]))
        self._graph.node.append(node)
        return output

    def model(self, source: str) -> onnx.ModelProto:
        """Returns the whole model; ``source`` names the owner and the licence of the weights."""
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="streamfilter")
        model.graph.CopyFrom(self._graph)
        model.doc_string = source
        model.opset_import.append(onnx.OperatorSetIdProto(domain="", version=OPSET))
        return model


def serialised(model: onnx.ModelProto) -> bytes:
    """Returns the bytes of a model, the same on every run."""
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def _value(name: str, shape: Sequence[Dimension]) -> onnx.ValueInfoProto:
    """Returns the description of a float32 tensor."""
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for dimension in shape:
        if isinstance(dimension, int):
            value.type.tensor_type.shape.dim.add(dim_value=dimension)
        else:
            value.type.tensor_type.shape.dim.add(dim_param=dimension)
    return value


def _attribute(name: str, value: int | str | Sequence[int]) -> onnx.AttributeProto:
    """Returns an attribute whose type is that of its value."""
    if isinstance(value, str):
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.STRING, s=value.encode())
    if isinstance(value, int):
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INT, i=value)
    return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS, ints=value)
