"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

from streamfilter.inference.cache import default_home
from streamfilter.inference.fetch import fetch

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real packets and frames; they are not part of the project."""
    folder = Path(os.environ.get("STREAMFILTER_SAMPLES", ROOT.parent / "shared" / "samples"))
    if not folder.is_dir():
        pytest.skip(f"no real packets at {folder}: set STREAMFILTER_SAMPLES")
    return folder


@pytest.fixture(scope="session")
def engine_home() -> Path:
    """The engine cache with MaxiMask and MaxiTrack in it, fetched on first use."""
    home = default_home(os.environ)
    for name in ("maximask", "maxitrack"):
        fetch(name, home, progress=print)
    return home
