"""Plans: every published network compiles for the GPUs that TensorRT-RTX builds for without one.

That a plan runs, and what it gives, is for a machine with a GPU.
"""

from pathlib import Path
from types import ModuleType

import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import cache, plans
from streamfilter.inference.manifest import load


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    """A builder that needs no GPU."""
    module: ModuleType = pytest.importorskip(
        "tensorrt_rtx", reason="no builder of plans: pip install 'streamfilter[rtx]'"
    )
    return module


@pytest.mark.engine
@pytest.mark.parametrize("capability", ["SM86", "SM89", "SM120"])
@pytest.mark.parametrize("name", ["maximask", "maxitrack"])
def test_a_published_network_compiles(
    name: str, capability: str, rtx: ModuleType, engine_home: Path
) -> None:
    """With every profile, into a plan that holds its weights."""
    manifest = load(name)
    onnx = cache.onnx_path(manifest, engine_home).read_bytes()
    plan = plans.build(rtx, manifest, onnx, capability=capability)
    assert 10 * 2**20 < len(plan)


@pytest.mark.parametrize("onnx", [b"xx", b"", b"\x08\x01garbage"])
def test_what_is_no_network_is_refused(onnx: bytes, rtx: ModuleType) -> None:
    """Also what the parser takes for a network without outputs."""
    with pytest.raises(EngineUnavailable, match="cannot build a plan of maximask"):
        plans.build(rtx, load("maximask"), onnx, capability="SM86")


def test_a_capability_that_the_builder_does_not_know_is_refused(
    rtx: ModuleType, engine_home: Path
) -> None:
    """It is named."""
    manifest = load("maxitrack")
    onnx = cache.onnx_path(manifest, engine_home).read_bytes()
    with pytest.raises(EngineUnavailable, match="SM1"):
        plans.build(rtx, manifest, onnx, capability="SM1")


def test_profiles_are_shapes_that_the_network_takes() -> None:
    """Least, best and most grow, and stamps and frames each have their side."""
    for name, sides in (("maximask", [64, 96, 128, 400]), ("maxitrack", [400])):
        manifest = load(name)
        found = plans.profiles(manifest)
        assert sides == [profile.best[-1] for profile in found]
        for each in found:
            assert 1 == each.least[0] <= each.best[0] <= each.most[0]
            assert manifest.shape.admits(*each.most[2:])
