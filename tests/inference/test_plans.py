"""Plans: every published network compiles for the GPUs that TensorRT-RTX builds for without one.

That a plan runs, and what it gives, is for a machine with a GPU.
"""

import functools
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import several_planes

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import cache, float16, plan_cache, plans
from streamfilter.inference.manifest import Precision, load


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    """A builder that needs no GPU."""
    module: ModuleType = pytest.importorskip(
        "tensorrt_rtx", reason="no builder of plans: pip install -e '.[rtx]'"
    )
    return module


@functools.cache
def network(name: str, precision: str, home: Path) -> bytes:
    """An engine's ONNX file at a precision."""
    whole = cache.onnx_path(load(name), home).read_bytes()
    return float16.to_float16(whole) if precision == Precision.FP16 else whole


KERNELS_BYTES = 8 * 2**20  # code for six profiles: more than the weights of a small network
NIGHT = pytest.mark.night  # the same code for another card; the first of them stands in `make unit`


@pytest.mark.engine
@pytest.mark.parametrize(
    "capability",
    ["SM86", pytest.param("SM89", marks=NIGHT), pytest.param("SM120", marks=NIGHT)],
)
@pytest.mark.parametrize("precision", plan_cache.PRECISIONS)
@pytest.mark.parametrize("name", ["deepcr", "maximask", "maxitrack", "stampmask"])
def test_a_published_network_compiles(
    name: str, precision: str, capability: str, rtx: ModuleType, engine_home: Path
) -> None:
    """It has every profile, and a plan with its weights at the precision."""
    if precision not in load(name).precisions:
        pytest.skip(f"{name} is not offered at {precision}")
    onnx = network(name, precision, engine_home)
    built = plans.build(rtx, load(name), onnx, capability=capability)
    assert len(onnx) < len(built.plan) < 2.5 * len(onnx) + KERNELS_BYTES


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
def test_timings_go_into_a_build_and_come_out(rtx: ModuleType, engine_home: Path) -> None:
    """The calls alone: this builder neither uses nor measures them."""
    onnx = network("maxitrack", "fp16", engine_home)
    built = plans.build(rtx, load("maxitrack"), onnx, capability="SM86", timings=b"")
    assert built.timings
    again = plans.build(rtx, load("maxitrack"), onnx, capability="SM86", timings=built.timings)
    assert len(built.plan) == len(again.plan)


@pytest.mark.engine
def test_a_build_tells_how_far_it_is(
    rtx: ModuleType, engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phase and step, here with no wait between two lines."""
    monkeypatch.setattr(plans, "_PROGRESS_S", 0.0)
    said: list[str] = []
    onnx = network("maxitrack", "float32", engine_home)
    plans.build(rtx, load("maxitrack"), onnx, capability="SM86", progress=said.append)
    assert all(re.fullmatch(r".+: \d+ of \d+", line) for line in said)
    assert said


@pytest.mark.parametrize("onnx", [b"xx", b"", b"\x08\x01garbage"])
def test_what_is_no_network_is_refused(onnx: bytes, rtx: ModuleType) -> None:
    """This includes bytes that the parser reads as a network without outputs."""
    with pytest.raises(EngineUnavailable, match="cannot build a plan of maximask"):
        plans.build(rtx, load("maximask"), onnx, capability="SM86")


def test_a_capability_that_the_builder_does_not_know_is_refused(
    rtx: ModuleType, engine_home: Path
) -> None:
    """The message names it."""
    manifest = load("maxitrack")
    onnx = cache.onnx_path(manifest, engine_home).read_bytes()
    with pytest.raises(EngineUnavailable, match="SM1"):
        plans.build(rtx, manifest, onnx, capability="SM1")


def test_profiles_are_shapes_that_the_network_takes() -> None:
    """Least, best and most grow; stamps and frames each have their side, others share one."""
    for manifest, sides in (
        (load("maximask"), [64, 96, 128, 400, 896]),
        (load("maxitrack"), [400]),
        (several_planes.MANIFEST, [32, 64, 96, 128, 400, 896]),
    ):
        found = plans.profiles(manifest)
        assert sides == [profile.most[-1] for profile in found]
        assert {len(manifest.planes)} == {profile.most[1] for profile in found}
        assert manifest.shape.admits(*found[-1].least[2:])
        for each in found:
            assert 1 == each.least[0] <= each.best[0] <= each.most[0]
            assert manifest.shape.admits(*each.most[2:])


# What the runner and the builder call, beside what the tests above call.
CALLED = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype",
        "num_optimization_profiles", "get_tensor_profile_shape", "create_execution_context",
    ),
    "IExecutionContext": (
        "set_optimization_profile_async", "set_input_shape", "infer_shapes", "get_tensor_shape",
        "update_device_memory_size_for_shapes", "set_device_memory", "set_tensor_address",
        "execute_async_v3",
    ),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "TensorIOMode": ("INPUT",),
    "DataType": ("FLOAT",),
}  # fmt: skip


def test_what_the_runner_calls_is_there(rtx: ModuleType) -> None:
    """In RTX's interface, which is TensorRT 11's, and in the fake one, where runs are tried."""
    fake_file = (Path(__file__).parent / "fake_gpu" / "tensorrt.py").read_text()
    for kind, names in CALLED.items():
        for name in names:
            assert hasattr(getattr(rtx, kind), name), f"{kind}.{name}"
            assert name in fake_file


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A builder as TensorRT 10 is, but for the compiler: what it builds proves plumbing alone."""
    file = Path(__file__).parent / "fake_gpu" / "tensorrt.py"
    spec = importlib.util.spec_from_file_location("fake_tensorrt", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("FAKE_GPU", "NVIDIA L4")
    return module


@pytest.mark.engine
def test_the_builder_of_10_is_asked_for_float32_alone(fake: ModuleType, engine_home: Path) -> None:
    """Strongly typed, a profile for each side, and no TF32 in place of float32."""
    onnx = network("maximask", "float32", engine_home)
    built = plans.build(fake, load("maximask"), onnx, timings=b"")
    facts = json.loads(built.plan.partition(b"\n")[0])
    assert (5, []) == (len(facts["profiles"]), facts["flags"])


@pytest.mark.engine
def test_timings_of_another_version_are_passed_over(fake: ModuleType, engine_home: Path) -> None:
    """The build begins with none, and gives its own."""
    onnx = network("maximask", "float32", engine_home)
    for timings in (b"", b"timings of 9.3.0"):
        built = plans.build(fake, load("maximask"), onnx, timings=timings)
        assert b"timings of 10.13.2" == built.timings


@pytest.mark.engine
def test_a_builder_without_a_gpu_is_no_traceback(
    fake: ModuleType, engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT answers with a TypeError there."""
    monkeypatch.delenv("FAKE_GPU")
    onnx = network("maxitrack", "float32", engine_home)
    with pytest.raises(EngineUnavailable, match=r"fake_tensorrt 10\.13\.2 cannot build .*nullptr"):
        plans.build(fake, load("maxitrack"), onnx)
