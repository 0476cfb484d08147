"""The package with its hard dependencies alone: no extra is needed to import it."""

import importlib.metadata
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent

# Modules that are an extra's own, loaded when they are chosen by name, and what each then lacks.
LEAVES = {
    "streamfilter.archive.annotator": "pyarrow",
    "streamfilter.archive.audit": "pyarrow",
    "streamfilter.archive.dask_cluster": "distributed",
    "streamfilter.archive.driver": "pyarrow",
    "streamfilter.archive.events": "pyarrow",
    "streamfilter.archive.input_files": "pyarrow",
    "streamfilter.archive.label_files": "pyarrow",
    "streamfilter.archive.labelled": "pyarrow",
    "streamfilter.archive.ledger": "pyarrow",
    "streamfilter.archive.local": "pyarrow",
    "streamfilter.archive.outputs": "pyarrow",
    "streamfilter.archive.parquet_nights": "pyarrow",
    "streamfilter.archive.tasks": "pyarrow",
    "streamfilter.console.app": "starlette",
    "streamfilter.console.label_table": "pyarrow",
    "streamfilter.console.server": "uvicorn",
    "streamfilter.inference.runtimes.openvino": "openvino",
    "streamfilter.inference.runtimes.tensorrt": "tensorrt",
    "streamfilter.library.arrow_packets": "pyarrow",
    "streamfilter.library.tables": "pyarrow",
    "streamfilter.traces.export": "opentelemetry",
    "streamfilter.traces.otlp": "opentelemetry",
    "streamfilter.traces.sampling": "opentelemetry",
}

IMPORT_ALL = """
import importlib, pkgutil, streamfilter
for found in pkgutil.walk_packages(streamfilter.__path__, "streamfilter."):
    if not found.name.endswith(".__main__"):
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            print(found.name, error.name)
"""


def hard_dependencies(name: str) -> set[str]:
    """Distributions that a plain install of a distribution brings, and their own."""
    found, wanted = set(), [name]
    while wanted:
        one = wanted.pop()
        if one not in found:
            found.add(one)
            for line in importlib.metadata.requires(one) or ():
                requirement = Requirement(line)
                extras = requirement.extras
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    wanted.append(requirement.name)
                    wanted += of_extras(requirement.name, extras)
    return found


def of_extras(name: str, extras: set[str]) -> list[str]:
    """What extras of a distribution bring."""
    lines = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    return [
        line.name
        for line in lines
        if line.marker and any(line.marker.evaluate({"extra": extra}) for extra in extras)
    ]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment whose packages are links to this one's, of hard dependencies."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in hard_dependencies("streamfilter"):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "streamfilter"}:
            place = packages / top
            if not top.endswith(".pth") and not place.exists():
                place.symlink_to(Path(str(distribution.locate_file(top))))
    (packages / "checkout.pth").write_text(str(ROOT))
    return folder / "bin" / "python"


@pytest.mark.process
def test_every_module_imports_without_any_extra(bare: Path, tmp_path: Path) -> None:
    """Only the leaf module of each extra's runtime fails, for lack of its own library."""
    done = subprocess.run(
        [str(bare), "-I", "-W", "error", "-c", IMPORT_ALL],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    found = dict(line.split() for line in done.stdout.splitlines())
    assert LEAVES == found, "import an extra's library in its leaf alone, and name that in LEAVES"


@pytest.mark.process
def test_a_bare_install_lists_runtimes_and_how_to_get_the_others(bare: Path) -> None:
    """ONNX Runtime is in every install."""
    done = subprocess.run(
        [str(bare), "-I", "-m", "streamfilter", "engines", "list"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    assert "onnxruntime" in done.stdout
    assert "pip install -e '.[openvino]'" in done.stdout
    assert "pip install -e '.[tensorrt]'" in done.stdout


def test_what_needs_a_gpu_is_not_installed_by_dev() -> None:
    """CI reaches no index of NVIDIA's and has no CUDA to compile against."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"]["tensorrt"]
    assert ["tensorrt", "pycuda"] == [Requirement(line).name for line in lines]
    brought = set(of_extras("streamfilter", {"dev"}))
    assert {"pytest", "openvino"} <= brought
    assert set() == {"tensorrt", "pycuda"} & brought
