"""deepCR's network: the ONNX against the network as its authors draw it, in numpy."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import numpy_helper

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import deepcr, golden, runtimes
from streamfilter.inference.engine import Tensor
from streamfilter.inference.graph import serialised
from streamfilter.inference.manifest import load

Reals = npt.NDArray[np.float64]


def made_weights() -> dict[str, npt.NDArray[np.float32]]:
    """Random arrays of every name and shape in the release."""
    random, made = np.random.default_rng(7), {}

    def double(name: str, inner: int, outer: int) -> None:
        for number, taken in ((0, inner), (3, outer)):
            made[f"{name}.{number}.weight"] = random.normal(0, 0.2, (outer, taken, 3, 3))
            made[f"{name}.{number}.bias"] = random.normal(0, 0.1, outer)
            for part in ("weight", "running_var"):
                made[f"{name}.{number + 1}.{part}"] = random.uniform(0.5, 2, outer)
            for part in ("bias", "running_mean"):
                made[f"{name}.{number + 1}.{part}"] = random.normal(0, 0.5, outer)

    double("inc.conv.conv", 1, 32)
    made["inc.conv.conv.0.weight"] /= 300  # the sky
    double("down1.mpconv.1.conv", 32, 64)
    double("up8.conv.conv", 64, 32)
    made["up8.up.weight"] = random.normal(0, 0.1, (64, 32, 2, 2))
    made["up8.up.bias"] = random.normal(0, 0.1, 32)
    made["outc.conv.weight"] = random.normal(0, 0.005, (1, 32, 1, 1))
    made["outc.conv.bias"] = random.normal(0, 0.1, 1)
    return {f"module.{name}": np.asarray(array, np.float32) for name, array in made.items()}


def convolved(x: Reals, kernel: Reals, bias: Reals) -> Reals:
    """3x3 to the same size; maps are (channel, height, width)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(kernel), *x.shape[1:]))
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
            total += np.einsum("oi,ihw->ohw", kernel[:, :, row, column], part)
    return np.asarray(total + bias[:, None, None])


def drawn(image: Reals, weights: dict[str, npt.NDArray[np.float32]]) -> Reals:
    """Probabilities of one image, batch normalisation as a step of its own."""
    given = {
        name.removeprefix("module."): each.astype(np.float64) for name, each in weights.items()
    }

    def twice(x: Reals, name: str) -> Reals:
        for number in (0, 3):
            x = convolved(x, given[f"{name}.{number}.weight"], given[f"{name}.{number}.bias"])
            gain, shift, mean, variance = (
                given[f"{name}.{number + 1}.{part}"][:, None, None]
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gain + shift, 0)
        return x

    fine = twice(40 * image[None] + 300, "inc.conv.conv")
    height, width = image.shape
    x = fine.reshape(32, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    x = twice(x, "down1.mpconv.1.conv")
    spread = np.einsum("ihw,iorc->ohrwc", x, given["up8.up.weight"])
    x = spread.reshape(32, height, width) + given["up8.up.bias"][:, None, None]
    x = twice(np.concatenate([fine, x]), "up8.conv.conv")
    logits = np.einsum("i,ihw->hw", given["outc.conv.weight"][0, :, 0, 0], x)
    return np.asarray(1 / (1 + np.exp(-logits - given["outc.conv.bias"][0])))


def test_the_onnx_is_the_network_as_drawn() -> None:
    """Batch normalisation is folded into the convolutions, and nothing is lost by that."""
    import onnxruntime

    weights = made_weights()
    session = onnxruntime.InferenceSession(serialised(deepcr.build(weights)))
    image = np.random.default_rng(1).normal(0, 2, (18, 26)).astype(np.float32)
    (found,) = session.run(None, {"image": image[None, None]})
    np.testing.assert_allclose(drawn(image.astype(np.float64), weights), found[0, 0], atol=2e-5)
    assert 0.05 < found.std()


def test_a_weight_that_is_missing_is_named() -> None:
    """The fetcher makes a sentence of it."""
    weights = made_weights()
    del weights["module.up8.up.bias"]
    with pytest.raises(KeyError, match=r"module\.up8\.up\.bias"):
        deepcr.build(weights)


def test_the_bytes_are_the_same_on_every_run() -> None:
    """The manifest holds the file's sha256."""
    weights = made_weights()
    assert serialised(deepcr.build(weights)) == serialised(deepcr.build(weights))
    assert {"inc.conv.conv.0.kernel", "up8.up.weight", "sky"} <= {
        each.name
        for each in deepcr.build(weights).graph.initializer
        if numpy_helper.to_array(each).size
    }


@pytest.mark.engine
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_probabilities_are_the_authors(runtime: str, engine_home: Path) -> None:
    """Within 1e-5 of deepCR 0.3.1's own on PyTorch; OpenVINO within the tolerance."""
    try:
        engine = runtimes.open_engine("deepcr", runtime, engine_home, 1)
    except EngineUnavailable as why:
        if runtime == "onnxruntime":
            raise
        pytest.skip(str(why))
    allowed = golden.TOLERANCE
    if runtime == "openvino":
        allowed = load("deepcr").tolerances[0].largest
    assert allowed > golden.largest_difference(engine)


@pytest.mark.engine
def test_a_hit_is_found_and_a_star_is_not(engine_home: Path) -> None:
    """In an image in units of its noise."""
    engine = runtimes.open_engine("deepcr", "onnxruntime", engine_home, 1)
    image: Tensor = np.random.default_rng(3).normal(0, 1, (1, 1, 64, 64)).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    image[0, 0] += 80 * np.exp(-((y - 40) ** 2 + (x - 44) ** 2) / (2 * 1.6**2))
    image[0, 0, 20, 14:19] += 40
    found = engine.infer(image)[0, 0]
    assert 0.5 < found[20, 14:19].min()
    assert 0.1 > found[32:, 32:].max()
