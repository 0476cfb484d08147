"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real packets and frames; they are not part of the project."""
    folder = Path(os.environ.get("STREAMFILTER_SAMPLES", ROOT.parent / "shared" / "samples"))
    if not folder.is_dir():
        pytest.skip(f"no real packets at {folder}: set STREAMFILTER_SAMPLES")
    return folder
