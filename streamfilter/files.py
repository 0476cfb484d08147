"""Files that others see whole or not at all, and the folders that travel with the package."""

import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parent


def bundled_folder(name: str) -> Path:
    """The path of ``engines`` or ``schemas``, in an installed wheel or in a checkout.

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
    """Write a file, making its folder; it is there whole or not at all, also after a crash.

    Raises
    ------
    OSError
        It cannot be written; what stood there before still does.
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
    """Remove what writers of this file left that were killed; no other may be at work."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
