"""Runtimes: chosen by name, or the first that works."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import documents
import fake_gpu_here
import pytest
from documents import ROOT

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import runtimes
from streamfilter.inference.engine import Running


def uninstall(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a runtime's library be one that cannot be imported."""
    monkeypatch.setitem(sys.modules, runtime, None)
    monkeypatch.delitem(sys.modules, runtimes.RUNTIMES[runtime], raising=False)


def usable() -> list[str]:
    return [state.runtime for state in runtimes.states() if state.precisions]


def test_the_page_on_engines_has_a_row_for_every_runtime() -> None:
    """In the order in which ``auto`` tries them."""
    page = ROOT / "engines" / "README.md"
    rows = documents.rows(documents.section(page, "Runtimes"))
    named = [name for first, *_ in rows for name in documents.spans(first)]
    assert list(runtimes.RUNTIMES) == named, "mend the table of engines/README.md, Runtimes"


def test_an_unknown_runtime_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """Nothing is fetched for a runtime that is not there."""
    with pytest.raises(EngineUnavailable, match=r"no runtime 'cuda'; .*openvino, tensorrt"):
        runtimes.open_engine("maximask", "cuda", tmp_path, 1)
    assert [] == list(tmp_path.iterdir())


def test_a_runtime_that_is_not_installed_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library cannot be imported, and no other runtime replaces it."""
    uninstall("onnxruntime", monkeypatch)
    with pytest.raises(EngineUnavailable, match=r"pip install -e '\.' in a checkout"):
        runtimes.open_engine("maximask", "onnxruntime", tmp_path, 1)


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    """The message says what there is."""
    with pytest.raises(EngineUnavailable, match="there are deepcr, maximask, "):
        runtimes.open_engine("other", "onnxruntime", tmp_path, 1)


def test_a_runtime_of_an_extra_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user can copy the command; nothing was fetched before it was said."""
    uninstall("openvino", monkeypatch)
    with pytest.raises(EngineUnavailable, match=r"pip install -e '\.\[openvino\]'"):
        runtimes.open_engine("maximask", "openvino", tmp_path, 1)
    assert [] == list(tmp_path.iterdir())


def test_a_precision_that_no_runtime_has_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """Nothing is fetched for it."""
    with pytest.raises(EngineUnavailable, match="'int8'; there are float32, bf16, fp16"):
        runtimes.open_engine("maximask", "onnxruntime", tmp_path, 1, precision="int8")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.process
def test_openvino_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """No telemetry is loaded, and no identity is left in the home directory."""
    if "openvino" not in usable():
        pytest.skip("OpenVINO is not installed")
    code = (
        "import sys, streamfilter.inference.runtimes.openvino\n"
        "sys.exit(sys.modules['openvino_telemetry'] is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"HOME": str(tmp_path)}, check=False)
    assert 0 == done.returncode
    assert [] == list(tmp_path.iterdir())


@pytest.mark.engine
def test_a_precision_that_the_runtime_lacks_is_refused(engine_home: Path) -> None:
    """It is not run at another one."""
    with pytest.raises(EngineUnavailable, match=r"has no precision 'bf16'; choose 'float32'"):
        runtimes.open_engine("maxitrack", "onnxruntime", engine_home, 1, precision="bf16")


def test_the_state_of_a_runtime_that_is_not_installed_is_the_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no precision here; the others are as they were."""
    uninstall("openvino", monkeypatch)
    states = {state.runtime: state for state in runtimes.states()}
    openvino, onnxruntime = states["openvino"], states["onnxruntime"]
    assert ((), "") == (openvino.precisions, openvino.version)
    assert "pip install -e '.[openvino]'" in openvino.why_not
    assert (("float32",), "") == (onnxruntime.precisions, onnxruntime.why_not)


@pytest.mark.engine
def test_auto_takes_the_first_that_works(engine_home: Path) -> None:
    """The choice is said in one line."""
    said: list[str] = []
    engine = runtimes.open_engine("maxitrack", "auto", engine_home, 1, progress=said.append)
    assert usable()[0] == engine.runtime.split()[0]
    assert said[0].startswith(f"runtime auto: {engine.runtime}")


@pytest.mark.engine
def test_auto_takes_tensorrt_where_a_gpu_is(
    engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a fake one, so that the order alone is proved."""
    shutil.copytree(engine_home / "engines", tmp_path / "engines")
    said: list[str] = []
    with fake_gpu_here.installed(monkeypatch):
        engine = runtimes.open_engine("maxitrack", "auto", tmp_path, 1, progress=said.append)
        engine.close()
    assert said[-1].startswith("runtime auto: tensorrt 10.13.2")


@pytest.mark.engine
def test_auto_says_why_it_passed_over_a_runtime(
    engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how to install it."""
    uninstall("openvino", monkeypatch)
    said: list[str] = []
    engine = runtimes.open_engine("maxitrack", "auto", engine_home, 1, progress=said.append)
    assert usable()[0] == engine.runtime.split()[0]
    assert "; not openvino: the runtime 'openvino' is not installed" in said[0]


@pytest.mark.engine
def test_auto_without_a_runtime_that_can_names_them_all(
    engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its reason; it is not run at another precision."""
    uninstall("openvino", monkeypatch)
    with pytest.raises(EngineUnavailable, match=r"not openvino: .*; not onnxruntime: .* 'bf16'"):
        runtimes.open_engine("maxitrack", "auto", engine_home, 1, precision="bf16")


@pytest.mark.engine
def test_a_runtime_is_told_about_plans_and_whom_to_tell(
    engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime gets them from the settings."""
    given: list[Running] = []
    module = ModuleType("told")
    module.__dict__["open"] = lambda manifest, path, running: given.append(running)
    monkeypatch.setitem(sys.modules, "told", module)
    monkeypatch.setitem(runtimes.RUNTIMES, "told", "told")
    said: list[str] = []
    runtimes.open_engine(
        "maxitrack", "told", engine_home, 1,
        precision="fp16", plans="refuse", progress=said.append,
    )  # fmt: skip
    given[0].progress("building")
    assert ("fp16", "refuse", ["building"]) == (given[0].precision, given[0].plans, said)
