"""`streamfilter engines`: what a user sees and which exit code follows."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from streamfilter.cli.engines import engines
from streamfilter.errors import EngineUnavailable
from streamfilter.inference import cache, runtimes
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import load


def streamfilter(
    home: Path, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> "subprocess.CompletedProcess[str]":
    """The installed command, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "streamfilter", *arguments],
        env={**os.environ, "STREAMFILTER_HOME": str(home), "PIP_NO_INDEX": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copied(engine_home: Path, tmp_path: Path) -> Path:
    """A cache with MaxiTrack alone, which a test may damage."""
    manifest = load("maxitrack")
    path = cache.onnx_path(manifest, tmp_path)
    path.parent.mkdir(parents=True)
    shutil.copy(cache.onnx_path(manifest, engine_home), path)
    return tmp_path


@pytest.mark.process
def test_the_list_shows_what_is_not_cached(tmp_path: Path) -> None:
    """Name, version, weights, sides and the cache's place, without fetching anything."""
    done = streamfilter(tmp_path, "engines", "list")
    assert 0 == done.returncode
    for word in ("maximask", "1.4.1", load("maximask").weights_sha256[:12], "400 x 400 px", " no "):
        assert word in done.stdout
    assert str(tmp_path) in done.stdout
    assert [] == list(tmp_path.iterdir())


@pytest.mark.engine
def test_the_list_shows_what_is_cached_and_what_is_damaged(copied: Path) -> None:
    """The file is hashed, not only looked for."""
    assert "yes" in streamfilter(copied, "engines", "list").stdout
    cache.onnx_path(load("maxitrack"), copied).write_bytes(b"")
    assert "damaged" in streamfilter(copied, "engines", "list").stdout


@pytest.mark.engine
def test_verify_of_a_right_engine_exits_0(copied: Path) -> None:
    """The largest difference from TensorFlow is shown."""
    done = streamfilter(copied, "engines", "verify", "maxitrack")
    assert 0 == done.returncode
    assert "right" in done.stdout
    assert "sha256 as pinned" in done.stdout


@pytest.mark.engine
def test_verify_of_a_damaged_engine_exits_1(copied: Path) -> None:
    """One byte is enough; the file is not run."""
    path = cache.onnx_path(load("maxitrack"), copied)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    done = streamfilter(copied, "engines", "verify")
    assert 1 == done.returncode
    assert "WRONG" in done.stdout
    assert done.stderr.startswith("streamfilter: maxitrack: not what it should be")


@pytest.mark.process
def test_verify_without_an_engine_says_what_to_do(tmp_path: Path) -> None:
    """Nothing is fetched behind the user's back; one line, no traceback."""
    done = streamfilter(tmp_path, "engines", "verify", "maximask")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "`streamfilter engines fetch maximask` first" in done.stderr


@pytest.mark.process
def test_a_fetch_without_an_index_names_the_wheel_option(tmp_path: Path) -> None:
    """One line on standard error, exit code 1, nothing left in the cache."""
    done = streamfilter(tmp_path, "engines", "fetch", "maximask")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "--wheel FILE" in done.stderr
    assert [".lock"] == [path.name for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.process
def test_a_wrong_wheel_is_refused(tmp_path: Path) -> None:
    """Its sha256 and the expected one are named."""
    wrong = tmp_path / "MaxiMask-1.4.1-py3-none-any.whl"
    wrong.write_bytes(b"PK")
    done = streamfilter(tmp_path / "home", "engines", "fetch", "maximask", "--wheel", str(wrong))
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    release = load("maximask").release
    assert release is not None
    assert f"expected {release.sha256}" in done.stderr


@pytest.mark.process
def test_an_unknown_engine_is_a_wrong_argument(tmp_path: Path) -> None:
    """Exit code 2, with the names there are."""
    done = streamfilter(tmp_path, "engines", "fetch", "maxmask")
    assert 2 == done.returncode
    assert "'maximask', 'maxitrack'" in done.stderr


@pytest.mark.engine
def test_the_bench_is_json_on_request(copied: Path) -> None:
    """Rate and percentiles per batch size and side, with the machine's facts."""
    options = ("--json", "--threads", "2", "--seconds", "0.1", "--runtime", "onnxruntime")
    done = streamfilter(copied, "engines", "bench", "maxitrack", *options)
    assert (0, "") == (done.returncode, done.stderr)
    found = json.loads(done.stdout)
    assert 2 == found["machine"]["threads"]
    speeds = found["engines"][0]["speeds"]
    assert {400} == {speed["side_px"] for speed in speeds}
    assert all(0 < speed["p50_s"] <= speed["p99_s"] for speed in speeds)


@pytest.mark.engine
def test_the_bench_times_the_runtimes_side_by_side(copied: Path) -> None:
    """By default all that work here, with the same cells."""
    options = ("bench", "maxitrack", "--json", "--seconds", "0", "--precision", "float32")
    found = json.loads(streamfilter(copied, "engines", *options).stdout)["engines"]
    ways = [one["runtime"].split()[0] for one in found]
    assert [state.runtime for state in runtimes.states() if state.precisions] == ways
    assert 1 == len({tuple(speed["batch"] for speed in one["speeds"]) for one in found})


@pytest.mark.engine
def test_the_bench_refuses_a_precision_that_the_named_runtime_lacks(copied: Path) -> None:
    """It is not timed at another one."""
    options = ("bench", "maxitrack", "--runtime", "onnxruntime", "--precision", "bf16")
    done = streamfilter(copied, "engines", *options)
    assert (1, "") == (done.returncode, done.stdout)
    assert "has no precision 'bf16'" in done.stderr


@pytest.mark.engine
def test_verify_holds_the_chosen_runtime_and_precision(copied: Path) -> None:
    """Differences are within the manifest's limit; the runtime is named with its version."""
    state = next(state for state in runtimes.states() if state.precisions)
    precision = state.precisions[-1]
    options = ("maxitrack", "--runtime", state.runtime, "--precision", precision)
    done = streamfilter(copied, "engines", "verify", *options)
    assert (0, "") == (done.returncode, done.stderr)
    assert f"{state.runtime} {state.version}" in done.stdout


@pytest.mark.process
def test_the_list_shows_the_runtimes_and_what_they_run_at(tmp_path: Path) -> None:
    """ONNX Runtime is in every install."""
    done = streamfilter(tmp_path, "engines", "list")
    line = next(line for line in done.stdout.splitlines() if "onnxruntime" in line)
    assert "float32" in line
    assert all(state.version in done.stdout for state in runtimes.states())


FAKE_GPU = Path(__file__).parent.parent / "inference" / "fake_gpu"


def with_fake_gpu(home: Path, *arguments: str, **fake: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command with stand-ins for TensorRT and the driver, which test only the plumbing."""
    path = {"PYTHONPATH": str(FAKE_GPU)}
    return streamfilter(home, *arguments, environment={**path, **fake})


@pytest.mark.process
def test_a_build_without_tensorrt_says_what_brings_it(tmp_path: Path) -> None:
    """One line; nothing is fetched for it."""
    done = streamfilter(tmp_path, "engines", "build")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "on the host with the GPU" in done.stderr
    assert "pip install -e '.[tensorrt]'" in done.stderr
    assert [] == list(tmp_path.iterdir())


@pytest.mark.process
def test_a_build_without_a_gpu_says_so(tmp_path: Path) -> None:
    """It is one line that says how to look for a GPU."""
    done = with_fake_gpu(tmp_path, "engines", "build")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "no GPU 0 answers here" in done.stderr
    assert "nvidia-smi -L" in done.stderr


@pytest.mark.engine
def test_a_build_makes_plans_that_the_list_shows(copied: Path) -> None:
    """It builds both precisions, none at the second time, and both again for another version."""
    done = with_fake_gpu(copied, "engines", "build", "maxitrack", FAKE_GPU="NVIDIA L4")
    assert (0, 2) == (done.returncode, done.stderr.count(": built in "))
    for word in ("float32", "fp16", "tensorrt 10.13.2", "NVIDIA L4 (8.9)"):
        assert word in streamfilter(copied, "engines", "list").stdout
    again = with_fake_gpu(copied, "engines", "build", "maxitrack", FAKE_GPU="NVIDIA L4")
    assert (0, "") == (again.returncode, again.stderr)
    later = {"FAKE_GPU": "NVIDIA L4", "FAKE_TENSORRT": "11.4.0"}
    newer = with_fake_gpu(copied, "engines", "build", "maxitrack", **later)
    assert "its builder is 'tensorrt 10.13.2', here 'tensorrt 11.4.0'" in newer.stderr
    assert 2 == newer.stderr.count(": built in ")


@pytest.mark.engine
def test_a_build_at_a_precision_that_gpus_have_not_is_refused(copied: Path) -> None:
    """It is not built at another one."""
    options = ("build", "maxitrack", "--precision", "bf16")
    done = with_fake_gpu(copied, "engines", *options, FAKE_GPU="NVIDIA L4")
    assert 1 == done.returncode
    assert "no precision 'bf16'; choose 'float32' or 'fp16'" in done.stderr


@pytest.mark.process
def test_the_list_says_why_tensorrt_cannot_run_here(tmp_path: Path) -> None:
    """It is installed, and no GPU answers; other runtimes are listed as before."""
    done = with_fake_gpu(tmp_path, "engines", "list")
    assert 0 == done.returncode
    assert "tensorrt: no GPU 0 answers here" in done.stdout
    assert "10.13.2" in done.stdout


def test_a_named_runtime_that_cannot_run_is_an_error(copied: Path) -> None:
    """The error says how to mend it; no other runtime is used instead."""
    options = ("verify", "maxitrack", "--runtime", "tensorrt")
    for done, mend in (
        (streamfilter(copied, "engines", *options), "pip install -e '.[tensorrt]'"),
        (with_fake_gpu(copied, "engines", *options), "`nvidia-smi -L` lists"),
    ):
        assert (1, "") == (done.returncode, done.stdout)
        assert mend in done.stderr


@pytest.mark.engine
def test_tensorrt_is_verified_and_timed_like_the_others(copied: Path) -> None:
    """The driver is a fake one, so this tests only the plumbing."""
    fake = {"FAKE_GPU": "Fake GPU"}
    options = ("maxitrack", "--runtime", "tensorrt", "--precision", "fp16")
    done = with_fake_gpu(copied, "engines", "verify", *options, **fake)
    assert 0 == done.returncode, done.stderr
    assert "tensorrt 10.13.2 fp16" in done.stdout
    options = ("maxitrack", "--runtime", "tensorrt", "--runtime", "onnxruntime")
    more = ("--precision", "float32", "--seconds", "0", "--json")
    done = with_fake_gpu(copied, "engines", "bench", *options, *more, **fake)
    runtimes = [one["runtime"].split()[0] for one in json.loads(done.stdout)["engines"]]
    assert ["tensorrt", "onnxruntime"] == runtimes


class Shifted:
    """ONNX Runtime with every probability changed."""

    runtime = "openvino 0"

    def __init__(self, engine: Engine, by: float) -> None:
        self.manifest, self._engine, self._by = engine.manifest, engine, by

    def infer(self, batch: Tensor) -> Tensor:
        return self._engine.infer(batch) + np.float32(self._by)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("by", "verdict"), [(5e-5, "right"), (2e-4, "WRONG"), (float("nan"), "WRONG")]
)
def test_verify_of_a_runtime_that_differs_exits_1(
    by: float, verdict: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs by more than the manifest's 1e-4 for MaxiTrack, or by NaN."""
    module, ort = ModuleType("shifted"), runtimes.opener("onnxruntime")
    module.__dict__["open"] = lambda *given: Shifted(ort(*given), by)
    monkeypatch.setitem(sys.modules, "shifted", module)
    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", "shifted")
    monkeypatch.setenv("STREAMFILTER_HOME", str(copied))
    done = CliRunner().invoke(engines, ["verify", "maxitrack", "--runtime", "openvino"])
    assert ("WRONG" == verdict) is isinstance(done.exception, EngineUnavailable)
    assert verdict in done.output
