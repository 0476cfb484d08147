"""Networks in float16, as far as a CPU can hold them: types and numbers.

ONNX Runtime on a CPU sums in float32 and leaves some results there; what a GPU gives is for a
machine that has one.
"""

import functools
from pathlib import Path

import coarser
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, shape_inference

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import cache, float16, golden
from streamfilter.inference.engine import Tensor
from streamfilter.inference.manifest import Manifest, Precision, load

NAMES = ["maximask", "maxitrack", "stampmask"]

_MOST_PX = 2**17  # of a batch: seconds, and errors show as well in some stamps

pytestmark = pytest.mark.engine


@functools.cache
def networks(name: str, home: Path) -> tuple[bytes, bytes]:
    """An engine's network in float32 and in float16."""
    whole = cache.onnx_path(load(name), home).read_bytes()
    return whole, float16.to_float16(whole)


def session(network: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of weights that no path reads
    return onnxruntime.InferenceSession(network, options)


def run(network: bytes, batch: Tensor) -> Tensor:
    found: Tensor = session(network).run(None, {"image": batch})[0]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_edges_stay_float32_and_the_rest_is_float16(name: str, engine_home: Path) -> None:
    """So does what is before the first convolution; every convolution is of float16."""
    model = onnx.load_model_from_string(networks(name, engine_home)[1])
    edges = (*model.graph.input, *model.graph.output)
    assert [TensorProto.FLOAT] * 2 == [edge.type.tensor_type.elem_type for edge in edges]
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {one.name: one.type.tensor_type.elem_type for one in inferred.value_info}
    types |= {edge.name: edge.type.tensor_type.elem_type for edge in edges}
    kept = {node.op_type for node in model.graph.node if types[node.output[0]] == TensorProto.FLOAT}
    first = {"Abs", "Add", "Log", "Mul", "Sign"} if name == "stampmask" else {"Asinh"}
    assert first | {"Cast", "Softmax" if name == "maxitrack" else "Sigmoid"} == kept
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {TensorProto.FLOAT16} == {types[node.output[0]] for node in convolutions}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_within_the_manifests_tolerance(name: str, engine_home: Path) -> None:
    """This holds even with every single result rounded to float16."""
    whole, half = networks(name, engine_home)
    facts = load(name)
    exact = session(whole)
    for each in (half, coarser.float16(whole)):
        assert_within(facts, exact, session(each))


def assert_within(
    facts: Manifest, exact: onnxruntime.InferenceSession, other: onnxruntime.InferenceSession
) -> None:
    """On the made frames and stamps."""
    for batch in golden.batches(facts):
        batch = batch[: max(1, _MOST_PX // batch.shape[-1] ** 2)]
        expected, found = (one.run(None, {"image": batch})[0] for one in (exact, other))
        apart = np.abs(expected - found)
        mean = apart.mean(axis=(0, 2, 3)[: apart.ndim - 1], dtype=np.float64).max()
        difference = golden.Difference(float(apart.max()), float(mean))
        assert difference.within(facts.tolerance(Precision.FP16)), difference


def test_pixels_that_float16_has_not_are_no_harm(engine_home: Path) -> None:
    """A million sigma goes through asinh first."""
    batch = np.zeros((1, 1, 64, 64), np.float32)
    batch[..., 20:24, 20:24], batch[..., 40, 40] = 1e6, -1e6
    whole, half = networks("maximask", engine_home)
    found = run(half, batch)
    assert np.isfinite(found).all()
    assert 0.02 > np.abs(run(whole, batch) - found).mean()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_bytes_every_time(name: str, engine_home: Path) -> None:
    """No manifest contains its sha256, but the keys of plans depend on it."""
    whole, half = networks(name, engine_home)
    assert half == float16.to_float16(whole)


def test_what_is_no_network_is_refused() -> None:
    """The message has one line."""
    with pytest.raises(EngineUnavailable, match="cannot be put into float16"):
        float16.to_float16(b"\x08\x01garbage")
