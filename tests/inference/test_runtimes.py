"""Runtimes: chosen by name, and what ONNX Runtime's engine keeps of the contract."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_release

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import fetch, runtimes
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import load
from streamfilter.inference.runtimes import ort


@pytest.fixture
def tiny(tmp_path: Path) -> Engine:
    tiny_release.known()
    release = tiny_release.release(tmp_path)
    path = fetch.fetch_release(release.manifest, tmp_path / "home", wheel=release.wheel)
    return ort.open(release.manifest, path, threads=1)


def test_an_unknown_runtime_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """Nothing is fetched for a runtime that is not there."""
    with pytest.raises(EngineUnavailable, match="no runtime 'cuda'; there are onnxruntime"):
        runtimes.open_engine("maximask", "cuda", tmp_path, 1)
    assert [] == list(tmp_path.iterdir())


def test_a_runtime_that_is_not_installed_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library cannot be imported: no other runtime is taken."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "streamfilter.inference.runtimes.ort")
    with pytest.raises(EngineUnavailable, match="pip install 'streamfilter'"):
        runtimes.open_engine("maximask", "onnxruntime", tmp_path, 1)


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    """The message says what there is."""
    with pytest.raises(EngineUnavailable, match="there are maximask, maxitrack"):
        runtimes.open_engine("other", "onnxruntime", tmp_path, 1)


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    """The path is in the message."""
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x01garbage")
    with pytest.raises(EngineUnavailable, match=r"cannot open .*bad\.onnx"):
        ort.open(load("maximask"), tmp_path / "bad.onnx", threads=1)


def test_an_onnx_of_another_network_is_refused(tmp_path: Path) -> None:
    """Input and output names are held against the manifest."""
    tiny_release.known()
    release = tiny_release.release(tmp_path)
    path = fetch.fetch_release(release.manifest, tmp_path / "home", wheel=release.wheel)
    with pytest.raises(EngineUnavailable, match=r"\['image', 'probabilities'\]; the manifest"):
        ort.open(replace(release.manifest, input_name="pixels"), path, threads=1)


def test_the_runtime_is_named_with_its_version(tiny: Engine) -> None:
    """It goes into annotations and metrics."""
    assert tiny.runtime.startswith("onnxruntime 1.")


def test_the_result_is_the_callers_own(tiny: Engine) -> None:
    """Later runs do not change it, nor does a change of the input."""
    batch = np.full((2, 1, 8, 8), 0.5, np.float32)
    first = tiny.infer(batch)
    kept = first.copy()
    batch[:] = -3
    tiny.infer(batch)
    np.testing.assert_array_equal(kept, first)
    first[:] = 0
    assert first.flags.writeable


def test_a_large_batch_is_run_in_parts_with_the_same_result(tiny: Engine) -> None:
    """More pixels than one run holds change nothing but the memory."""
    batch = np.linspace(-3, 3, 9 * 128 * 128, dtype=np.float32).reshape(9, 1, 128, 128)
    expected = np.concatenate([tiny.infer(one[None]) for one in batch])
    np.testing.assert_array_equal(expected, tiny.infer(batch))


def test_a_strided_batch_is_taken(tiny: Engine) -> None:
    """A view is as good as a copy."""
    wide = np.random.default_rng(0).normal(size=(2, 1, 8, 16)).astype(np.float32)
    view = wide[..., ::2]
    np.testing.assert_array_equal(tiny.infer(view.copy()), tiny.infer(view))


def test_a_closed_engine_says_so(tiny: Engine) -> None:
    """And closing twice is no error."""
    tiny.close()
    tiny.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        tiny.infer(np.zeros((1, 1, 8, 8), np.float32))


@pytest.mark.engine
def test_several_threads_get_their_own_results(engine_home: Path) -> None:
    """Batches of several shapes at once give what they give alone."""
    engine = runtimes.open_engine("maximask", "onnxruntime", engine_home, 1)
    random = np.random.default_rng(0)
    shapes = [(1, 1, 64, 64), (3, 1, 64, 64), (1, 1, 96, 64), (2, 1, 32, 32)]
    batches = [random.normal(0, 20, shape).astype(np.float32) for shape in shapes] * 3
    expected = [engine.infer(batch) for batch in batches]
    gate = threading.Barrier(4)

    def infer(number: int) -> bool:
        if number < 4:
            gate.wait(10)
        return bool(np.allclose(expected[number], engine.infer(batches[number]), atol=1e-6))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(infer, range(len(batches))))


@pytest.mark.engine
def test_memory_does_not_grow_with_new_shapes(engine_home: Path) -> None:
    """After the largest run, runs of other shapes hold no more."""
    engine = runtimes.open_engine("maximask", "onnxruntime", engine_home, 1)
    engine.warm_up(((4, 1, 128, 128), (16, 1, 64, 64)))
    before = _resident_bytes()
    for count in range(1, 16, 2):
        engine.warm_up(((count, 1, 64, 64), (count // 4 + 1, 1, 96, 96)))
    assert _resident_bytes() - before < 100 * 2**20


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    return int(statm.read_text().split()[1]) * 4096
