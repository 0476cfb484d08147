"""Stampmask's network, made from the committed weights."""

from pathlib import Path

import numpy as np
import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import fetch, golden, runtimes, stampmask
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import load

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    fetch.fetch("stampmask", made)  # from the weights beside the manifest: nothing is downloaded
    return made


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, home: Path) -> Engine:
    try:
        return runtimes.open_engine("stampmask", request.param, home, 1)
    except EngineUnavailable as why:
        pytest.skip(str(why))


def images(*shape: int) -> Tensor:
    return np.random.default_rng(3).normal(0, 3, shape).astype(np.float32)


def test_probabilities_are_the_trainings(engine: Engine) -> None:
    """Within 1e-5 of the framework's on the golden frames; OpenVINO within the tolerance."""
    allowed = golden.TOLERANCE
    if engine.runtime.startswith("openvino"):
        allowed = load("stampmask").tolerances[0].largest
    assert allowed > golden.largest_difference(engine)


@pytest.mark.parametrize("sides", [(16, 16), (32, 32), (64, 64), (40, 72), (128, 128)])
def test_any_sides_that_the_manifest_admits(engine: Engine, sides: tuple[int, int]) -> None:
    """A part of an image that is far from the cut gives what the whole gives."""
    assert engine.manifest.shape.admits(*sides)
    found = engine.infer(images(2, 5, *sides))
    assert (2, stampmask.CLASSES, *sides) == found.shape
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("valid", [0, 1])
def test_planes_that_are_missing_do_no_harm(engine: Engine, valid: int) -> None:
    """All but science: empty sky, whose noise is 1, is no contaminant, whether valid is told."""
    batch = np.zeros((4, 5, 64, 64), np.float32)
    batch[:, 0] = np.random.default_rng(2).normal(0, 1, (4, 64, 64))
    batch[:, 4] = valid
    found = engine.infer(batch)
    assert np.isfinite(found).all()
    codes = engine.manifest.codes
    for code in ("CR", "TRL", "HCL", "DCL", "HP", "DP", "SAT", "SP", "RES"):
        assert 0.2 > found[:, codes.index(code), 16:48, 16:48].max()


def test_a_hit_that_only_science_shows_is_found_on_science_alone(engine: Engine) -> None:
    """One sharp track on noise, with no other plane."""
    batch = np.zeros((1, 5, 64, 64), np.float32)
    batch[0, 0] = np.random.default_rng(1).normal(0, 1, (64, 64))
    batch[0, 4] = 1
    track = (np.arange(30, 38), np.arange(26, 34))
    batch[0, 0][track] += 60
    found = engine.infer(batch)[0, engine.manifest.codes.index("CR")]
    assert found[track].mean() > 0.5
    assert np.delete(found.ravel(), np.ravel_multi_index(track, (64, 64))).mean() < 0.02
