"""The cache of fetched engines: its folder, its lock, and checks of its files."""

import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.manifest import Manifest


def default_home(environ: Mapping[str, str]) -> Path:
    """Returns the cache folder: ``STREAMFILTER_HOME``, else the user's cache directory.

    That directory is ``XDG_CACHE_HOME`` (default ``~/.cache``) on Linux and ``~/Library/Caches``
    on macOS.
    """
    if chosen := environ.get("STREAMFILTER_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "streamfilter"
    # The XDG rules ignore a relative path.
    caches = Path(environ.get("XDG_CACHE_HOME", ""))
    return (caches if caches.is_absolute() else Path.home() / ".cache") / "streamfilter"


def onnx_path(manifest: Manifest, home: Path) -> Path:
    """Returns the path of an engine's ONNX file, which ``fetch`` makes."""
    return home / "engines" / f"{manifest.name}-{manifest.version}" / f"{manifest.name}.onnx"


def sha256_of(path: Path) -> str | None:
    """Returns the sha256 of a file in hexadecimal; None where there is no file.

    Raises
    ------
    EngineUnavailable
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EngineUnavailable(f"{path} cannot be read ({error.strerror})") from error


def check_own(path: Path, home: Path) -> None:
    """Refuse a file that others than this user, its group and root may replace.

    The sha256 alone is not enough: the file could be replaced before a runtime opens it.

    Raises
    ------
    EngineUnavailable
        The file or a folder from ``home`` down belongs to another user, or everybody may write the
        file or a folder on its path.
    """
    real, root = path.resolve(), home.resolve()
    for place in (real, *real.parents):
        facts = place.stat()
        inside = place.is_relative_to(root)
        # In a sticky folder (/tmp) nobody can rename another user's files.
        everybody = facts.st_mode & stat.S_IWOTH and (inside or not facts.st_mode & stat.S_ISVTX)
        if everybody or (inside and facts.st_uid not in (0, os.geteuid())):
            raise EngineUnavailable(
                f"{place} may be changed by others (owner {facts.st_uid}, mode "
                f"{stat.filemode(facts.st_mode)}), and a network is run from there: expected this "
                f"user ({os.geteuid()}) or root, and `chmod o-w {place}`; or set STREAMFILTER_HOME"
            )


@contextmanager
def folder_lock(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a folder; calls ``waiting`` first where another process holds it.

    Raises
    ------
    EngineUnavailable
        The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as error:
        raise EngineUnavailable(
            f"the engine cache {folder} cannot be written ({error.strerror}); "
            "set STREAMFILTER_HOME to a folder that can"
        ) from error
    with lock:
        # The system releases the lock however the process ends.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
