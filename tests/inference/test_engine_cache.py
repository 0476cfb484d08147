"""Where the cache is."""

import os
import sys
from pathlib import Path

import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.cache import check_own, default_home


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


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """A file in a cache at ``tmp_path / "home"``."""
    path = tmp_path / "home" / "engines" / "tiny-1" / "tiny.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"network")
    return path


def test_a_cache_of_our_own_is_used(onnx: Path, tmp_path: Path) -> None:
    """This includes a cache behind a link, for example to a larger disk."""
    check_own(onnx, tmp_path / "home")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    check_own(tmp_path / "link" / onnx.relative_to(tmp_path / "home"), tmp_path / "link")


@pytest.mark.parametrize("place", ["home/engines/tiny-1/tiny.onnx", "home/engines", "home", "."])
def test_a_network_that_everybody_may_change_is_refused(
    onnx: Path, tmp_path: Path, place: str
) -> None:
    """The file, or a folder on the way to it; the message names it and the mend."""
    (tmp_path / place).chmod(0o777)
    with pytest.raises(EngineUnavailable, match="chmod o-w"):
        check_own(onnx, tmp_path / "home")


def test_a_sticky_folder_above_the_cache_is_no_harm(onnx: Path, tmp_path: Path) -> None:
    """/tmp is such a folder."""
    tmp_path.chmod(0o1777)
    check_own(onnx, tmp_path / "home")


def test_a_network_of_another_user_is_refused(onnx: Path, tmp_path: Path) -> None:
    """Who owns it can change it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(onnx.parent, 12345, -1)
    with pytest.raises(EngineUnavailable, match="owner 12345"):
        check_own(onnx, tmp_path / "home")
