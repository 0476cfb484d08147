"""deploy/LIBRARY.md: its reference is made from docstrings, its examples run."""

import re
from pathlib import Path

import documents
import pytest
from documents import ROOT
from library_page import PAGE, reference, written

import streamfilter

README = ROOT / "README.md"


def test_the_reference_is_made_from_the_docstrings() -> None:
    """``python tests/library_page.py`` writes it anew."""
    assert reference() == written()


def test_the_reference_has_what_may_be_called_and_read() -> None:
    """Every public name with its methods, and the fields of the values, with their words."""
    page = written()
    for name in set(streamfilter.__all__) - {"__version__"}:
        found = getattr(streamfilter, name)
        members = vars(found) if isinstance(found, type) else ()
        assert f"### `{name}" in page
        fields = set(getattr(found, "__dataclass_fields__", ()))
        for member in (each for each in members if not each.startswith("_")):
            assert (f"- `{member}: " if member in fields else f"#### `{name}.{member}") in page
    assert "- `core: float`: The posterior of that output" in page
    assert "#### `Masked[code] -> Mask`" in page


def run(code: str, folder: Path) -> None:
    """Run an example in a folder where ``my_packets`` lies."""
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.fixture
def place(
    samples: Path, tmp_path: Path, engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A user's folder: packets, a damaged one among them, and a frame."""
    packets = tmp_path / "my_packets"
    packets.mkdir()
    for name in ("ztf/2695378462115010012.avro", "lsst/170587117053804617.bin"):
        (packets / Path(name).name).symlink_to(samples / name)
    (packets / "broken.avro").symlink_to(next((samples / "broken").iterdir()))
    frame = next((samples / "exposures" / "good").glob("mro2m4*"))
    (tmp_path / "x.fits").symlink_to(frame)
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_of_the_readme_gives_masks(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one's own alerts, in a handful of lines."""
    (code,) = (each for each in documents.blocks(README, "python") if "Filter()" in each)
    assert len([line for line in code.splitlines() if line]) <= 6
    run(code, place)
    found = capsys.readouterr().out
    assert re.search(r"170587117053804617.bin contaminated {'CR': (np.int64\()?6\d", found)
    assert "broken.avro rejected" in found


EXAMPLES = [each for each in documents.blocks(PAGE, "python") if "import streamfilter" in each]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_page_run(
    place: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each as it stands, by itself."""
    run(EXAMPLES[number], place)
