"""deploy/notebooks: committed without outputs, with public names alone, and they run."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT

import streamfilter

NOTEBOOKS = ROOT / "deploy" / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("name", NAMES)


def test_there_is_one_for_alerts_and_one_for_frames() -> None:
    """The library's page leads to both."""
    page = (ROOT / "deploy" / "LIBRARY.md").read_text()
    assert ["alerts.ipynb", "frame.ipynb"] == NAMES
    assert [] == [name for name in NAMES if f"(notebooks/{name})" not in page]


def code_cells(name: str) -> list[dict[str, Any]]:
    cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@every_notebook
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    """And is read in five minutes: a change of it can be reviewed."""
    cells = code_cells(name)
    assert [] == [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"]]
    assert sum(len(cell["source"]) for cell in cells) < 80


@every_notebook
def test_a_notebook_calls_what_is_public(name: str) -> None:
    """What else the package has may change with any version."""
    text = "".join(line for cell in code_cells(name) for line in cell["source"])
    assert set() == set(re.findall(r"\bstreamfilter\.(\w+)", text)) - set(streamfilter.__all__)
    assert [] == re.findall(r"from streamfilter\S* import", text)


def outputs(path: Path, folder: Path) -> list[dict[str, Any]]:
    """All outputs of a notebook that is run in a folder."""
    nbformat = pytest.importorskip("nbformat", reason="no Jupyter: install the extra dev")
    nbclient = pytest.importorskip("nbclient", reason="no Jupyter: install the extra dev")
    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
    return [each for cell in book.cells for each in cell.get("outputs", ())]


PICTURES = {"alerts.ipynb": 3, "frame.ipynb": 2}
SAID = {
    "alerts.ipynb": r"Counter\({'clean': \d+",
    "frame.ipynb": r"'(TRL|CR|DCL)': '[\d.]+ %'",
}


# Each starts a Jupyter kernel and takes ten seconds of a core.
@pytest.mark.night
@pytest.mark.parametrize("packets", ["simulated", "real"])
@every_notebook
def test_a_notebook_runs(
    name: str,
    packets: str,
    engine_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """On real alerts and frames, and on simulated ones where there are none."""
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.delenv("STREAMFILTER_SAMPLES", raising=False)
    if packets == "real":
        monkeypatch.setenv("STREAMFILTER_SAMPLES", str(request.getfixturevalue("samples")))
    shown = outputs(NOTEBOOKS / name, tmp_path)
    data = [each["data"] for each in shown if "data" in each]
    texts = " ".join(each.get("text/html", "") for each in data)
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', texts)
    encoded += [each["image/png"] for each in data if "image/png" in each]
    pictures = [base64.b64decode(each) for each in encoded]
    assert PICTURES[name] == sum(each.startswith(b"\x89PNG") for each in pictures)
    assert any(re.search(SAID[name], each.get("text/plain", "")) for each in data)
    assert packets == "real" or (tmp_path / "night").is_dir()
