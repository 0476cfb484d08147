"""Where fetched engines are kept, and how a file gets there whole or not at all."""

import fcntl
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.manifest import Manifest


def default_home(environ: Mapping[str, str]) -> Path:
    """The cache folder: ``STREAMFILTER_HOME``, else the user's cache directory.

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
    """Where the engine's ONNX file is, once it is fetched."""
    return home / "engines" / f"{manifest.name}-{manifest.version}" / f"{manifest.name}.onnx"


def sha256_of(path: Path) -> str | None:
    """The sha256 of a file's bytes in hexadecimal; None where there is no file.

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


@contextmanager
def only_one(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the folder's lock; tells ``waiting`` where another process holds it first.

    Raises
    ------
    EngineUnavailable
        The folder cannot be made or written to.
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
        # The system gives the lock back when the process ends, however it ends.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
