"""MaxiTrack as ONNX."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import cache, golden
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import load
from streamfilter.inference.runtimes import open_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine(engine_home: Path) -> Engine:
    return open_engine("maxitrack", "onnxruntime", engine_home, 1)


def test_a_batch_equals_its_tiles_one_by_one(engine: Engine) -> None:
    """The number of tiles does not matter, and each row sums to one."""
    tiles = golden.frames(3)
    together = engine.infer(tiles)
    assert (3, 2) == together.shape
    np.testing.assert_allclose(np.ones(3), together.sum(axis=1), rtol=1e-6)
    alone = np.concatenate([engine.infer(tile[None]) for tile in tiles])
    np.testing.assert_allclose(alone, together, atol=1e-6, rtol=0)


def test_trailed_stars_are_a_tracking_error(engine: Engine) -> None:
    """The class of the code TRACKING_ERROR is the one that drifted frames raise."""
    error = engine.infer(golden.frames(2))[:, engine.manifest.codes.index("TRACKING_ERROR")]
    assert error[0] < 0.01
    assert error[1] > 0.99


def test_another_side_is_refused(engine: Engine) -> None:
    """The slopes tie the network to its tile."""
    with pytest.raises(EngineUnavailable, match="400 x 400 px"):
        engine.infer(np.zeros((1, 1, 416, 416), np.float32))


def test_the_graph_is_well_formed(engine_home: Path) -> None:
    """Opset 17 to 21 and IR at most 10, as every runtime takes."""
    model = onnx.load(cache.onnx_path(load("maxitrack"), engine_home))
    onnx.checker.check_model(model, full_check=True)
    assert 17 <= model.opset_import[0].version <= 21
    assert model.ir_version <= 10
