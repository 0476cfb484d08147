"""Where the cache is."""

import sys
from pathlib import Path

import pytest

from streamfilter.inference.cache import default_home


def test_the_users_choice_comes_first() -> None:
    """STREAMFILTER_HOME wins over the cache directory."""
    chosen = default_home({"STREAMFILTER_HOME": "/data/sf", "XDG_CACHE_HOME": "/caches"})
    assert Path("/data/sf") == chosen


def test_a_home_in_the_users_folder_is_expanded() -> None:
    """A tilde is the user's own folder."""
    assert Path.home() / "sf" == default_home({"STREAMFILTER_HOME": "~/sf"})


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has ~/Library/Caches")
@pytest.mark.parametrize("caches", ["", "relative"])
def test_without_a_choice_it_is_the_users_cache_directory(caches: str) -> None:
    """An XDG_CACHE_HOME that is empty or relative is ignored, as XDG says."""
    assert Path.home() / ".cache" / "streamfilter" == default_home({"XDG_CACHE_HOME": caches})


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has ~/Library/Caches")
def test_the_xdg_cache_directory_is_used() -> None:
    """XDG_CACHE_HOME names the parent."""
    assert Path("/caches/streamfilter") == default_home({"XDG_CACHE_HOME": "/caches"})
