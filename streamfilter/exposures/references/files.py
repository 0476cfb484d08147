"""Reads ``file://``: files of this host, or of a shared disk."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamfilter.errors import CallFailed, MessageRejected, Reason


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
            if not any(real.is_relative_to(folder.resolve()) for folder in self._folders):
                raise MessageRejected(Reason.REFERENCE_REFUSED, self._not_allowed())
            # A device or a pipe may have no end.
            if not real.is_file():
                raise MessageRejected(Reason.REFERENCE_UNREACHABLE, "not a regular file")
            with real.open("rb") as file:
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MessageRejected(Reason.REFERENCE_MISSING, f"no file {path}") from error
        except (PermissionError, RuntimeError, ValueError) as error:
            detail = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
            raise MessageRejected(Reason.REFERENCE_UNREACHABLE, detail) from error
        except OSError as error:  # such as a shared disk that is not mounted now
            raise CallFailed(f"{type(error).__name__}: {error.strerror}") from error

    def _not_allowed(self) -> str:
        if not self._folders:
            return "no folder is allowed: name one in exposures.reference_folders"
        return "not in a folder of exposures.reference_folders"


def _path(uri: str) -> Path:
    """Returns the absolute path in a ``file://`` URI of this host."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise MessageRejected(Reason.REFERENCE_REFUSED, f"no URI: {error}") from error
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
