"""The folder of real packets is told by the environment, to whoever reads from it."""

from pathlib import Path

import pytest

from training.samples import BESIDE, samples_folder

ROOT = Path(__file__).parents[2]


def test_the_environment_says_where_real_packets_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it says nothing they lie beside the checkout."""
    monkeypatch.setenv("STREAMFILTER_SAMPLES", "/elsewhere")
    assert Path("/elsewhere") == samples_folder()
    monkeypatch.delenv("STREAMFILTER_SAMPLES")
    assert BESIDE == samples_folder()


def test_no_program_has_a_folder_of_its_own() -> None:
    """A bench that named the folder itself would read another one than it was told."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("engines/training/*.py")]
    naming = [path.name for path in files if '"samples"' in path.read_text()]
    assert ["samples.py"] == [name for name in naming if not name.startswith("test_")]
