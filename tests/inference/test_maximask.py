"""MaxiMask as ONNX against plain numpy, on sizes that TensorFlow's model does not take."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from numpy_network import maximask

from streamfilter.inference import cache
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import load
from streamfilter.inference.runtimes import open_engine

Floats = npt.NDArray[np.float32]

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def model(engine_home: Path) -> onnx.ModelProto:
    return onnx.load(cache.onnx_path(load("maximask"), engine_home))


@pytest.fixture(scope="module")
def engine(engine_home: Path) -> Engine:
    return open_engine("maximask", "onnxruntime", engine_home, 1)


@pytest.fixture(scope="module")
def weights(model: onnx.ModelProto) -> Mapping[str, Floats]:
    """The authors' kernels (height, width, in, out), without the channels added for speed."""
    found: dict[str, Floats] = {}
    for tensor in model.graph.initializer:
        name, _, part = tensor.name.rpartition("_")
        if part not in ("kernel", "bias"):
            continue
        array = onnx.numpy_helper.to_array(tensor)
        if name.startswith(("ucp", "upconv1")) and array.shape[0] == 16:
            array = array[:14]
        if part == "kernel":
            array = array.transpose(2, 3, 1, 0)
        if name == "final_conv" and part == "kernel":
            array = array.reshape(3, 3, 5, 16, 14)[:, :, :, :14].reshape(3, 3, 70, 14)
        found[f"{name}/{part}"] = array
    return found


def image(height: int, width: int) -> Floats:
    """Noise with a star, a hit, a hot column and an empty corner, where every block ties."""
    random = np.random.default_rng(height * width)
    made = random.normal(size=(height, width)).astype(np.float32)
    made[10:14, 10:14] += 30
    made[20, 5:12] += 100
    made[:, 17] += 20
    made[-16:, -16:] = 0
    return made


@pytest.mark.parametrize("shape", [(32, 32), (48, 80), (64, 64), (64, 96)])
def test_it_equals_the_network_in_plain_numpy(
    engine: Engine, weights: Mapping[str, Floats], shape: tuple[int, int]
) -> None:
    """This includes maps with an odd side at the fifth level (48, 80), and different sides."""
    found = engine.infer(image(*shape)[None, None])[0]
    expected = maximask(image(*shape).astype(np.float64), weights)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert expected.max() > 0.9


def test_a_mixed_batch_equals_its_images_one_by_one(engine: Engine) -> None:
    """An image's probabilities do not depend on its neighbours in the batch."""
    images = np.stack([image(64, 64) * scale for scale in (0, 0.1, 1, 10, -1)])[:, None]
    together = engine.infer(images)
    alone = np.concatenate([engine.infer(one[None]) for one in images])
    np.testing.assert_allclose(alone, together, atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [64, 96, 128, 400])
def test_every_side_gives_a_probability_per_class_and_pixel(engine: Engine, side: int) -> None:
    """Finite, in [0, 1], in the manifest's order."""
    found = engine.infer(image(side, side)[None, None])
    assert (1, len(engine.manifest.classes), side, side) == found.shape
    assert np.isfinite(found).all()
    assert 0 <= found.min() <= found.max() <= 1


def test_the_hot_column_is_one(engine: Engine) -> None:
    """Class names stand at the right outputs."""
    hot = engine.infer(image(96, 96)[None, None])[0, engine.manifest.codes.index("HCL")]
    assert hot[30:70, 17].mean() > 0.9
    assert hot[30:70, 40:60].max() < 0.1


def test_the_graph_is_what_every_runtime_takes(model: onnx.ModelProto) -> None:
    """Opset 17 to 21, IR at most 10, no operator that TensorRT lacks, free batch and sides."""
    onnx.checker.check_model(model, full_check=True)
    assert 17 <= model.opset_import[0].version <= 21
    assert model.ir_version <= 10
    operators = {node.op_type for node in model.graph.node}
    assert set() == operators & {"MaxUnpool", "ScatterND", "ScatterElements", "Scatter", "If"}
    free = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert ["N", "", "H", "W"] == free
