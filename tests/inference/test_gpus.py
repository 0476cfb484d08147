"""Which GPU is here, and what is said where none is; the driver is a stand-in."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import gpus


@pytest.fixture(autouse=True)
def _imported_anew() -> Iterator[None]:
    """No test leaves its pycuda to the next."""
    before = {name: sys.modules.pop(name, None) for name in ("pycuda", "pycuda.driver")}
    yield
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pycuda without a GPU behind it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fake_gpu"))


def test_a_gpu_is_its_model_and_capability(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a plan contains both."""
    monkeypatch.setenv("FAKE_GPU", "NVIDIA L4")
    assert gpus.Gpu(name="NVIDIA L4", capability="8.9") == gpus.here()


def test_a_gpu_that_does_not_answer_is_named(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has its number and the driver's error."""
    monkeypatch.setenv("FAKE_GPU", "NVIDIA L4")
    with pytest.raises(EngineUnavailable, match=r"no GPU 3 answers here .*invalid device ordinal"):
        gpus.here(3)


@pytest.mark.parametrize(
    ("why", "mend"),
    [
        ("libcuda.so.1: cannot open shared object file", "install NVIDIA's driver"),
        ("No module named 'pycuda'", r"pip install -e '\.\[tensorrt\]'"),
    ],
)
def test_what_is_missing_comes_with_its_mend(
    why: str, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of the system, or the package."""
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("")
    (tmp_path / "pycuda" / "driver.py").write_text(f"raise ImportError({why!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineUnavailable, match=mend):
        gpus.here()
