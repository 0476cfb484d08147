"""`make gpu`: what is said where no GPU is, and what its report holds; no number of a GPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fake_gpu_here
import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).parent / "prove_on_gpu.py"


def proved(tmp_path: Path, *options: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """The script, run where it may write."""
    command = [sys.executable, str(SCRIPT), "--report", str(tmp_path / "report.md"), *options]
    environment = {**os.environ, **more}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_without_a_gpu_make_gpu_says_so_in_a_sentence() -> None:
    """Before anything is installed."""
    if not shutil.which("make") or shutil.which("nvidia-smi"):
        pytest.skip("needs make, and a machine without a GPU")
    command = ["make", "--no-print-directory", "gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert done.stderr.startswith("make gpu: no NVIDIA GPU answers on this machine")
    assert "" == done.stdout
    assert not (ROOT / ".venv-gpu").exists()


@pytest.mark.process
def test_without_pycuda_no_report_is_written(tmp_path: Path) -> None:
    """One line, with the mend."""
    done = proved(tmp_path, PYTHONPATH=str(ROOT))
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "no report written: the GPU cannot be reached" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.engine
def test_the_report_names_the_gpu_and_what_each_test_gave(
    tmp_path: Path, engine_home: Path
) -> None:
    """Here on the fake driver, with one small test: its outcome, and what it recorded."""
    home = tmp_path / "home"
    shutil.copytree(engine_home / "engines", home / "engines")
    path = f"{fake_gpu_here.FOLDER}{os.pathsep}{ROOT}"
    fake = {"FAKE_GPU": "Fake GPU", "STREAMFILTER_HOME": str(home), "PYTHONPATH": path}
    done = proved(tmp_path, "-k", "test_memory_of_the_device", **fake)
    assert 0 == done.returncode, done.stdout
    report = (tmp_path / "report.md").read_text()
    assert report.startswith("# TensorRT on Fake GPU\n")
    assert "passed: 1, FAILED: 0, skipped: 0" in report
    assert "| test_memory_of_the_device_is_reported | passed | buffers of two batches " in report
