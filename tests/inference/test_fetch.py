"""Fetching an engine from a wheel, and everything that can go wrong on the way."""

import multiprocessing
import os
import signal
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_release
from tiny_release import TinyRelease

from streamfilter.errors import EngineUnavailable
from streamfilter.files import write_whole
from streamfilter.inference import cache, fetch, manifest
from streamfilter.inference.engine import Running
from streamfilter.inference.manifest import load
from streamfilter.inference.runtimes import ort


@pytest.fixture
def tiny(tmp_path: Path) -> TinyRelease:
    tiny_release.known()
    return tiny_release.release(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def files(home: Path) -> list[str]:
    """What is in the cache, the lock aside."""
    return sorted(path.name for path in home.rglob("*") if path.is_file() and path.name != ".lock")


def test_a_wheel_becomes_an_onnx_file_beside_its_licence(tiny: TinyRelease, home: Path) -> None:
    """The file has the pinned sha256 and runs."""
    path = fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel)
    assert tiny.manifest.onnx_sha256 == cache.sha256_of(path)
    assert ["LICENSE", "tiny.onnx"] == files(home)
    engine = ort.open(tiny.manifest, path, Running())
    image = np.array([[[[-1.0, 0.0, 2.0]]]], np.float32)
    np.testing.assert_allclose(1 / (1 + np.exp(-(2 * image + 0.25))), engine.infer(image), 1e-6)


def test_a_cached_engine_needs_no_wheel(tiny: TinyRelease, home: Path) -> None:
    """The second fetch says nothing and touches nothing."""
    first = fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel)
    written = first.stat().st_mtime_ns
    tiny.wheel.unlink()
    said: list[str] = []
    again = fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel, progress=said.append)
    assert (first, written, []) == (again, again.stat().st_mtime_ns, said)


def test_a_damaged_cache_file_is_made_anew_and_said(tiny: TinyRelease, home: Path) -> None:
    """A file whose sha256 is wrong is never handed out."""
    path = fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel)
    path.write_bytes(path.read_bytes()[:-1])
    said: list[str] = []
    fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel, progress=said.append)
    assert tiny.manifest.onnx_sha256 == cache.sha256_of(path)
    assert "is not what it should be" in said[0]


def test_weights_of_the_package_become_the_same_file(
    tiny: TinyRelease, home: Path, tmp_path: Path
) -> None:
    """Nothing is fetched; a second call says nothing."""
    given = tiny.packaged(tmp_path / "tiny")
    path = fetch.fetch_release(given, home)
    assert given.onnx_sha256 == cache.sha256_of(path)
    assert ["LICENSE", "tiny.onnx"] == files(home)
    said: list[str] = []
    assert path == fetch.fetch_release(given, home, progress=said.append)
    assert [] == said


@pytest.mark.parametrize("content", [b"other", None], ids=["damaged", "missing"])
def test_weights_of_the_package_that_are_not_the_pinned_ones_are_refused(
    tiny: TinyRelease, home: Path, tmp_path: Path, content: bytes | None
) -> None:
    """The message names the file, and how to mend it."""
    given = tiny.packaged(tmp_path / "tiny")
    assert given.weights is not None
    given.weights.unlink()
    if content is not None:
        given.weights.write_bytes(content)
    with pytest.raises(EngineUnavailable, match=r"weights.npz has sha256 .*: reinstall"):
        fetch.fetch_release(given, home)
    assert [] == files(home)


def test_a_wheel_for_weights_of_the_package_is_refused(
    tiny: TinyRelease, home: Path, tmp_path: Path
) -> None:
    """It would not be looked at."""
    with pytest.raises(EngineUnavailable, match="leave --wheel out"):
        fetch.fetch_release(tiny.packaged(tmp_path / "tiny"), home, wheel=tiny.wheel)


@pytest.mark.parametrize("pin", ["wheel", "weights", "onnx"])
def test_a_wrong_sha256_leaves_nothing(tiny: TinyRelease, home: Path, pin: str) -> None:
    """Wheel, weights and ONNX are each held against their pin."""
    zeros = "0" * 64
    wrong = {
        "wheel": replace(tiny.manifest, release=replace(tiny.release, sha256=zeros)),
        "weights": replace(tiny.manifest, weights_sha256=zeros),
        "onnx": replace(tiny.manifest, onnx_sha256=zeros),
    }[pin]
    with pytest.raises(EngineUnavailable, match="sha256"):
        fetch.fetch_release(wrong, home, wheel=tiny.wheel)
    assert [] == files(home)


def test_a_wheel_without_the_model_is_refused(tiny: TinyRelease, home: Path) -> None:
    """The message names the folder that was looked for."""
    release = replace(tiny.release, saved_model="tiny/other")
    with pytest.raises(EngineUnavailable, match="does not hold tiny/other/variables"):
        fetch.fetch_release(replace(tiny.manifest, release=release), home, wheel=tiny.wheel)


def test_a_file_that_is_no_wheel_is_refused(tiny: TinyRelease, home: Path) -> None:
    """It is refused even if its sha256 were the pinned one."""
    tiny.wheel.write_bytes(b"not a zip")
    release = replace(tiny.release, sha256=cache.sha256_of(tiny.wheel) or "")
    with pytest.raises(EngineUnavailable, match="does not hold"):
        fetch.fetch_release(replace(tiny.manifest, release=release), home, wheel=tiny.wheel)


def test_a_network_that_misses_a_variable_is_refused(
    tiny: TinyRelease, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable."""
    monkeypatch.setitem(fetch.NETWORKS, "tiny", fetch.NETWORKS["maximask"])
    with pytest.raises(EngineUnavailable, match="hold no variable 'upconv1/kernel'"):
        fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel)


def test_a_cache_that_cannot_be_written_says_how_to_mend(tiny: TinyRelease, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineUnavailable, match="set STREAMFILTER_HOME"):
        fetch.fetch_release(tiny.manifest, tmp_path / "file", wheel=tiny.wheel)


@pytest.mark.process
def test_pip_takes_the_wheel_from_where_the_user_says(
    tiny: TinyRelease, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip is run with the user's own settings; here a folder instead of an index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny.wheel.parent))
    path = fetch.fetch_release(tiny.manifest, home)
    assert tiny.manifest.onnx_sha256 == cache.sha256_of(path)


@pytest.fixture
def source(tmp_path: Path) -> TinyRelease:
    tiny_release.known()
    return tiny_release.source_release(tmp_path)


def test_a_source_archive_with_a_state_dict_becomes_the_same_file(
    source: TinyRelease, home: Path, tmp_path: Path
) -> None:
    """Nothing in it is run."""
    path = fetch.fetch_release(source.manifest, home, wheel=source.wheel)
    assert source.manifest.onnx_sha256 == cache.sha256_of(path)
    assert "Do as you like.\n" == path.with_name("LICENSE").read_text()
    assert not (tmp_path / "ran").exists()


def test_a_source_archive_without_the_state_dict_is_refused(
    source: TinyRelease, home: Path
) -> None:
    """The message names the file that was looked for, and a damaged archive is said too."""
    other = replace(source.release, state_dict="Tiny-1.0/other.pth")
    with pytest.raises(EngineUnavailable, match=r"does not hold Tiny-1\.0/other\.pth whole"):
        fetch.fetch_release(replace(source.manifest, release=other), home, wheel=source.wheel)
    source.wheel.write_bytes(source.wheel.read_bytes()[:200])
    cut = replace(source.release, sha256=cache.sha256_of(source.wheel) or "")
    with pytest.raises(EngineUnavailable, match=r"does not hold Tiny-1\.0/tiny\.pth whole"):
        fetch.fetch_release(replace(source.manifest, release=cut), home, wheel=source.wheel)
    assert [] == files(home)


@pytest.mark.process
def test_pip_runs_no_source_archive_but_the_pinned_one(
    source: TinyRelease, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip asks a source archive for its dependencies by running it: not before its sha256 fits."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source.wheel.parent))
    zeros = replace(source.release, sha256="0" * 64)
    with pytest.raises(EngineUnavailable, match="pip did not download"):
        fetch.fetch_release(replace(source.manifest, release=zeros), home)
    assert not (tmp_path / "ran").exists()
    path = fetch.fetch_release(source.manifest, home)
    assert source.manifest.onnx_sha256 == cache.sha256_of(path)


@pytest.mark.process
def test_a_download_that_fails_names_the_way_without_an_index(
    tiny: TinyRelease, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip said, and --wheel."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(EngineUnavailable, match=r"No matching distribution.*--wheel FILE"):
        fetch.fetch_release(tiny.manifest, home)
    assert [] == files(home)


def _fetch_and_say(tiny: TinyRelease, home: Path, ready: Callable[[], None], said: Path) -> None:
    tiny_release.known()
    ready()
    lines: list[str] = []
    fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel, progress=lines.append)
    said.write_text("\n".join(lines))


def test_two_processes_at_once_make_it_once(tiny: TinyRelease, home: Path, tmp_path: Path) -> None:
    """One process writes; the other waits, and then uses its file."""
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(2)
    said = [tmp_path / "said0", tmp_path / "said1"]
    both = [
        spawn.Process(target=_fetch_and_say, args=(tiny, home, gate.wait, path)) for path in said
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [0, 0] == [process.exitcode for process in both]
    assert 1 == sum("writing tiny as ONNX" in path.read_text() for path in said)
    assert ["LICENSE", "tiny.onnx"] == files(home)


def _write_and_be_killed(path: Path) -> None:
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.replace = killed  # type: ignore[assignment,method-assign]
    write_whole(path, b"half")


def test_a_killed_writer_leaves_no_file_and_no_lasting_rest(tiny: TinyRelease, home: Path) -> None:
    """Killed before the rename: no file under its name, and the next fetch clears the rest."""
    path = cache.onnx_path(tiny.manifest, home)
    path.parent.mkdir(parents=True)
    process = multiprocessing.get_context("spawn").Process(
        target=_write_and_be_killed, args=(path,)
    )
    process.start()
    process.join(60)
    assert -signal.SIGKILL == process.exitcode
    assert not path.exists()
    assert 1 == len(files(home))
    fetch.fetch_release(tiny.manifest, home, wheel=tiny.wheel)
    assert ["LICENSE", "tiny.onnx"] == files(home)


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    """A failure while writing removes what was begun."""
    (tmp_path / "there").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "there", b"content")
    assert [tmp_path / "there"] == list(tmp_path.iterdir())


def test_the_made_wheel_is_one(tiny: TinyRelease) -> None:
    """The tests' own release holds what a release holds."""
    with zipfile.ZipFile(tiny.wheel) as archive:
        assert archive.testzip() is None


@pytest.mark.engine
@pytest.mark.parametrize("name", manifest.names())
def test_the_cached_networks_are_what_the_manifests_pin(name: str, engine_home: Path) -> None:
    """Fetched with this onnx version, to the byte."""
    found = load(name)
    assert found.onnx_sha256 == cache.sha256_of(cache.onnx_path(found, engine_home))
