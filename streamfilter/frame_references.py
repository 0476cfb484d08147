"""Frames that a message refers to: read only if they are the ones announced."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposure_records import FrameReference


def fetch(reference: FrameReference, folders: Sequence[Path], max_bytes: int) -> bytes:
    """The content of a referenced file.

    Parameters
    ----------
    folders
        Files in these folders (and below) may be read; no others, also not through links.
    max_bytes
        Larger files are refused.

    Raises
    ------
    MessageRejected
        The file is not allowed, missing, unreadable, too large, or not the one announced.
    """
    path = _path(reference.uri)
    if reference.size > max_bytes:
        detail = f"{reference.size} bytes announced; the limit is {max_bytes}"
        raise MessageRejected(Reason.REFERENCE_TOO_LARGE, detail)
    # What lies outside the folders is nobody's business, not even whether it is there.
    if not any(path.is_relative_to(folder.absolute()) for folder in folders):
        raise MessageRejected(Reason.REFERENCE_REFUSED, _not_allowed(folders))
    try:
        real = path.resolve(strict=True)
        if not any(real.is_relative_to(folder.resolve()) for folder in folders):
            raise MessageRejected(Reason.REFERENCE_REFUSED, _not_allowed(folders))
        # A device or a pipe would be read without end.
        if not real.is_file():
            raise MessageRejected(Reason.REFERENCE_UNREACHABLE, "not a regular file")
        with real.open("rb") as file:
            content = file.read(reference.size + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MessageRejected(Reason.REFERENCE_MISSING, f"no file {path}") from error
    except (OSError, RuntimeError, ValueError) as error:
        detail = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        raise MessageRejected(Reason.REFERENCE_UNREACHABLE, detail) from error
    if len(content) != reference.size:
        found = f"over {reference.size}" if len(content) > reference.size else str(len(content))
        detail = f"{found} bytes; {reference.size} are announced"
        raise MessageRejected(Reason.REFERENCE_DIFFERS, detail)
    if hashlib.sha256(content).hexdigest() != reference.sha256:
        detail = f"its sha256 is not {reference.sha256[:12]}..., which is announced"
        raise MessageRejected(Reason.REFERENCE_DIFFERS, detail)
    return content


def _path(uri: str) -> Path:
    """The absolute path of a ``file://`` URI of this host."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise MessageRejected(Reason.REFERENCE_REFUSED, f"no URI: {error}") from error
    if parts.scheme.lower() != "file":
        raise MessageRejected(
            Reason.REFERENCE_REFUSED,
            f"scheme {parts.scheme[:20]!r} is not supported yet; expected file:///path, "
            "or the frame inside the message",
        )
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


def _not_allowed(folders: Sequence[Path]) -> str:
    if not folders:
        return "no folder is allowed: name one in exposures.reference_folders"
    return "not in a folder of exposures.reference_folders"
