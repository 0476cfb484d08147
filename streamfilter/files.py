"""Atomic writing of files, and the folders that are part of the package."""

import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parent


def bundled_folder(name: str) -> Path:
    """Returns the folder ``engines`` or ``schemas``, in an installed wheel or in a checkout.

    Raises
    ------
    FileNotFoundError
        The installation is incomplete.
    """
    for candidate in (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"no folder {name!r} beside {_PACKAGE}: reinstall streamfilter")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically, also across a crash; its folder is made where it is missing.

    Raises
    ------
    OSError
        The file cannot be written; an older file of this name is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # readers may be other users
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files of killed writers; nobody may be writing this file now."""
    for temporary in path.parent.glob(f".{path.name}.*"):
        temporary.unlink(missing_ok=True)
