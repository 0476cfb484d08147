"""Reads ``file://``: files of this host, or of a shared disk."""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamfilter.errors import CallFailed, MessageRejected, Reason, plain_words

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Files:
    """Reads files in some folders and below, and no others; links may not lead out of them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def read(self, uri: str, most: int) -> bytes:
        """Returns the content of a file, or its first ``most`` bytes.

        Raises
        ------
        MessageRejected
            The file is not in the folders, missing, or not a regular file.
        CallFailed
            The file cannot be read now.
        """
        path = _path(uri)
        # An answer must not tell whether a file outside the folders exists.
        if not any(path.is_relative_to(folder.absolute()) for folder in self._folders):
            raise MessageRejected(Reason.REFERENCE_REFUSED, self._not_allowed())
        try:
            real = path.resolve(strict=True)
            folders = (folder.resolve() for folder in self._folders)
            folder = next((each for each in folders if real.is_relative_to(each)), None)
            if folder is None:
                raise MessageRejected(Reason.REFERENCE_REFUSED, self._not_allowed())
            with open(_opened(folder, real.relative_to(folder).parts), "rb") as file:
                # A device or a pipe would be read without end.
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise MessageRejected(Reason.REFERENCE_UNREACHABLE, "not a regular file")
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MessageRejected(Reason.REFERENCE_MISSING, f"no file {path}") from error
        except (PermissionError, RuntimeError, ValueError) as error:
            detail = f"the file {path} cannot be read: {plain_words(error)}"
            raise MessageRejected(Reason.REFERENCE_UNREACHABLE, detail) from error
        except OSError as error:  # such as a shared disk that is not mounted now
            if error.errno == errno.ELOOP:
                detail = "it was replaced by a link while it was opened"
                raise MessageRejected(Reason.REFERENCE_REFUSED, detail) from error
            raise CallFailed(f"the file {path} cannot be read: {plain_words(error)}") from error

    def _not_allowed(self) -> str:
        if not self._folders:
            return "no folder is allowed: name one in exposures.reference_folders"
        return "not in a folder of exposures.reference_folders"


def _opened(folder: Path, parts: Sequence[str]) -> int:
    """A descriptor of what stands below a folder, opened step by step and over no link.

    The path was looked at before. Whoever may write in the folder can put a link in the place of
    any of its parts meanwhile; opened so, it leads out of the folder at no moment.
    """
    step = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=step)
            os.close(step)
            step = inner
        # Not waiting: a pipe opens when somebody writes to it. A folder has no parts.
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=step)
    finally:
        os.close(step)


def _path(uri: str) -> Path:
    """Returns the absolute path in a ``file://`` URI of this host."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise MessageRejected(Reason.REFERENCE_REFUSED, f"no URI: {uri[:100]!r}") from error
    path = unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or not path.startswith("/")
        or "\0" in path
        or ".." in Path(path).parts
    ):
        raise MessageRejected(
            Reason.REFERENCE_REFUSED,
            "expected file:///path with an absolute path of this host, without ..",
        )
    return Path(path)
