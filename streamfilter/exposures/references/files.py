"""``file://``: files of this host, or of a disk that it shares."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamfilter.errors import CallFailed, MessageRejected, Reason, told


class Files:
    """Reads files in some folders (and below), also where links lead, and no others."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def read(self, uri: str, most: int) -> bytes:
        """The content of a file, or its first bytes.

        Raises
        ------
        MessageRejected
            It is not in the folders, missing, or no regular file.
        CallFailed
            It cannot be read now.
        """
        path = _path(uri)
        # What lies outside the folders is nobody's business, not even whether it is there.
        if not any(path.is_relative_to(folder.absolute()) for folder in self._folders):
            raise MessageRejected(Reason.REFERENCE_REFUSED, self._not_allowed())
        try:
            real = path.resolve(strict=True)
            if not any(real.is_relative_to(folder.resolve()) for folder in self._folders):
                raise MessageRejected(Reason.REFERENCE_REFUSED, self._not_allowed())
            # A device or a pipe would be read without end.
            if not real.is_file():
                raise MessageRejected(Reason.REFERENCE_UNREACHABLE, "not a regular file")
            with real.open("rb") as file:
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MessageRejected(Reason.REFERENCE_MISSING, f"no file {path}") from error
        except (PermissionError, RuntimeError, ValueError) as error:
            detail = f"the file {path} cannot be read: {told(error)}"
            raise MessageRejected(Reason.REFERENCE_UNREACHABLE, detail) from error
        except OSError as error:  # a shared disk that is away comes back
            raise CallFailed(f"the file {path} cannot be read: {told(error)}") from error

    def _not_allowed(self) -> str:
        if not self._folders:
            return "no folder is allowed: name one in exposures.reference_folders"
        return "not in a folder of exposures.reference_folders"


def _path(uri: str) -> Path:
    """The absolute path of a ``file://`` URI of this host."""
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
