"""Makes networks: from their authors' release, or the package's own weights, to ONNX to cache."""

import hashlib
import importlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from streamfilter.errors import EngineUnavailable, plain_words
from streamfilter.files import remove_unfinished, write_whole
from streamfilter.inference import cache, savedmodel, state_dict
from streamfilter.inference.manifest import Manifest, Release, load
from streamfilter.inference.progress import Progress, silent

# Modules whose ``build(weights)`` makes an engine's network; they import onnx.
NETWORKS: dict[str, str] = {
    "deepcr": "streamfilter.inference.deepcr",
    "maximask": "streamfilter.inference.maximask",
    "maxitrack": "streamfilter.inference.maxitrack",
    "stampmask": "streamfilter.inference.stampmask",
}

# The wheel has 52 MB: a slow line takes minutes, and a dead one must end.
_DOWNLOAD_TIMEOUT_S = 1800


def fetch(name: str, home: Path, *, wheel: Path | None = None, progress: Progress = silent) -> Path:
    """Returns the path of an engine's ONNX file; makes it first where the cache has none.

    Weights that come with the package are not downloaded.

    Parameters
    ----------
    name
        Name of the engine, as in ``engines/``.
    home
        The cache folder; see ``cache.default_home``.
    wheel
        The release's file, which is a wheel but for deepcr's, for machines without access to a
        package index.
    progress
        Called with a line of text for each step.

    Raises
    ------
    EngineUnavailable
        There is no such engine, its weights are not available or not the pinned ones, or the cache
        cannot be written, or others may write it. No incomplete file is left behind.
    """
    return fetch_release(load(name), home, wheel=wheel, progress=progress)


def fetch_release(
    manifest: Manifest, home: Path, *, wheel: Path | None = None, progress: Progress = silent
) -> Path:
    """Like ``fetch``, for a manifest that is already loaded."""
    path = _fetched(manifest, home, wheel, progress)
    cache.check_own(path, home)
    return path


def _fetched(manifest: Manifest, home: Path, wheel: Path | None, progress: Progress) -> Path:
    path = cache.onnx_path(manifest, home)
    if cache.sha256_of(path) == manifest.onnx_sha256:
        return path

    def waiting() -> None:
        progress(f"waiting for another process that fetches {manifest.name}")

    with cache.folder_lock(path.parent, waiting):
        found = cache.sha256_of(path)
        if found == manifest.onnx_sha256:
            return path  # another process made it while this one waited
        if found is not None:
            progress(
                f"{path} is not what it should be (sha256 {found[:12]}, "
                f"expected {manifest.onnx_sha256[:12]}): making it anew"
            )
        try:
            remove_unfinished(path)
            _make(manifest, path, wheel, progress)
        except OSError as error:
            raise EngineUnavailable(
                f"{path} cannot be made ({error}); set STREAMFILTER_HOME to a folder with room"
            ) from error
    progress(f"{manifest.name} {manifest.version} is at {path}")
    return path


def _make(manifest: Manifest, path: Path, wheel: Path | None, progress: Progress) -> None:
    """Make the ONNX file from the weights, and put the licence beside it."""
    if manifest.release is not None:
        source = manifest.release.file
        weights, licence = _released(manifest, manifest.release, wheel, progress)
    else:
        source = f"the weights of {manifest.name}"
        weights, licence = _packaged(manifest, wheel)
    progress(f"writing {manifest.name} as ONNX")
    content = _onnx(manifest, weights)
    if (made := hashlib.sha256(content).hexdigest()) != manifest.onnx_sha256:
        raise EngineUnavailable(
            f"the ONNX made of {source} has sha256 {made}, the manifest says "
            f"{manifest.onnx_sha256}: streamfilter's network and its manifest do not agree; "
            "reinstall streamfilter"
        )
    write_whole(path.with_name("LICENSE"), licence)
    write_whole(path, content)


def _packaged(
    manifest: Manifest, wheel: Path | None
) -> tuple[dict[str, savedmodel.Weights], bytes]:
    """Returns the weights and the licence text that come with the package."""
    file = manifest.weights
    assert file is not None, "a manifest names a release or a file"
    if wheel is not None:
        raise EngineUnavailable(
            f"the weights of {manifest.name} come with streamfilter and are in no wheel of their "
            "own; leave --wheel out"
        )
    if (found := cache.sha256_of(file)) != manifest.weights_sha256:
        raise EngineUnavailable(
            f"{file} has sha256 {found or 'none (no such file)'}, expected "
            f"{manifest.weights_sha256}: reinstall streamfilter"
        )
    with np.load(file, allow_pickle=False) as archive:
        weights = {name: archive[name] for name in archive.files}
    return weights, file.with_name("LICENSE").read_bytes()


def _released(
    manifest: Manifest, release: Release, wheel: Path | None, progress: Progress
) -> tuple[dict[str, savedmodel.Weights], bytes]:
    """Returns the weights and the licence text of the authors' release."""
    with tempfile.TemporaryDirectory(prefix="streamfilter-") as scratch:
        wheel = wheel or _download(manifest.name, release, Path(scratch), progress)
        if (found := cache.sha256_of(wheel)) != release.sha256:
            raise EngineUnavailable(
                f"{wheel} is not {release.file}: its sha256 is {found or 'none (no such file)'}, "
                f"expected {release.sha256}"
            )
        progress(f"reading the weights of {manifest.name} from {release.file}")
        return _open(manifest, release, wheel)


def _onnx(manifest: Manifest, weights: Mapping[str, savedmodel.Weights]) -> bytes:
    """Returns the network with its weights, as the bytes of an ONNX file."""
    if manifest.name not in NETWORKS:
        raise EngineUnavailable(
            f"no network is known for engine {manifest.name!r}; there are {', '.join(NETWORKS)}"
        )
    graph = importlib.import_module("streamfilter.inference.graph")
    network = importlib.import_module(NETWORKS[manifest.name])
    try:
        content: bytes = graph.serialised(network.build(weights))
    except KeyError as error:
        raise EngineUnavailable(
            f"the weights of {manifest.name} hold no variable {error}"
        ) from error
    return content


def _open(
    manifest: Manifest, release: Release, file: Path
) -> tuple[dict[str, savedmodel.Weights], bytes]:
    """Returns the arrays and the licence text in a release's file."""
    if release.state_dict is not None:
        names = [release.state_dict, release.licence]
        data, licence = _members(file, names, release.state_dict)
        _check_weights(manifest, file, data)
        return state_dict.arrays(data), licence
    folder = f"{release.saved_model}/variables"
    names = [f"{folder}/variables.index", f"{folder}/variables.data-00000-of-00001"]
    index, data, licence = _members(file, [*names, release.licence], folder)
    _check_weights(manifest, file, data)
    return savedmodel.variables(index, data), licence


def _members(file: Path, names: Sequence[str], what: str) -> list[bytes]:
    """Returns files in a wheel or source archive; nothing of it is written to disk or run."""
    try:
        if file.name.endswith(".tar.gz"):
            with tarfile.open(file, "r:gz") as archive:
                return [_member(archive, name) for name in names]
        with zipfile.ZipFile(file) as wheel:
            return [wheel.read(name) for name in names]
    except (OSError, EOFError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise EngineUnavailable(
            f"{file} does not hold {what} whole: {plain_words(error)}"
        ) from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Returns one file of a source archive."""
    content = archive.extractfile(name)
    if content is None:
        raise KeyError(f"{name} is no file")
    return content.read()


def _check_weights(manifest: Manifest, file: Path, data: bytes) -> None:
    if (found := hashlib.sha256(data).hexdigest()) != manifest.weights_sha256:
        raise EngineUnavailable(
            f"the weights in {file} have sha256 {found}, expected {manifest.weights_sha256}"
        )


def _download(name: str, release: Release, folder: Path, progress: Progress) -> Path:
    """Download the release's file by pip, with the user's settings; returns its path.

    pip asks a source archive for its dependencies by running it, although none are wanted. So it
    is told the pinned sha256, and runs nothing else.
    """
    mend = (
        f"download {release.file} elsewhere, and `streamfilter engines fetch {name} --wheel FILE` "
        "puts it into the cache"
    )
    if find_spec("pip") is None:
        raise EngineUnavailable(f"{sys.executable} has no pip to download {release.file}; {mend}")
    progress(f"downloading {release.file} (or from pip's cache)")
    pinned = folder / "release.txt"
    pinned.write_text(
        f"{release.package}=={release.version} --hash=sha256:{release.sha256}\n", encoding="utf-8"
    )
    form = "--only-binary" if release.file.endswith(".whl") else "--no-binary"
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", form, release.package),
        *("--quiet", "--disable-pip-version-check", "--no-input", "--dest", str(folder)),
        *("--require-hashes", "--requirement", str(pinned)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"pip did not download {release.file} ({error}); {mend}") from error
    file = folder / release.file
    if done.returncode != 0 or not file.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
        raise EngineUnavailable(
            f"pip did not download {release.file} (exit {done.returncode}, it says: {lines[-1]}); "
            f"{mend}"
        )
    return file
