"""Inputs by address, such as ``s3://bucket/night``: what fsspec opens; s3fs is of the extra ``s3``.

A store's address and credentials come from the environment, so that none stands in a ledger.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from glob import has_magic
from typing import Any
from urllib.parse import urlsplit

from streamfilter.errors import (
    ConfigurationInvalid,
    StreamfilterError,
    how_to_install,
    plain_words,
)

_MARK, _LOCAL = "://", "file://"
_AHEAD_BYTES = 8 * 2**20
"""Of one request, where a file is read from its beginning to its end."""
_TIMES = ("LastModified", "mtime", "last_modified", "updated")
_ETAGS = ("ETag", "etag")


class StoreUnavailable(StreamfilterError):
    """A store does not give what it listed: the task is not done, and is done with ``--resume``."""


Stored = tuple[str, int, int, str]
"""Address, size in bytes (-1 where it is not told), time in ns (0), and ETag ("")."""


def is_address(path: str) -> bool:
    """Whether a path is one of a store, not of this machine."""
    return _MARK in path and not path.startswith(_LOCAL)


def without_scheme(path: str) -> str:
    """Returns the path of ``file://`` addresses; others as they are."""
    return path.removeprefix(_LOCAL)


def files_at(address: str) -> list[Stored]:
    """Returns the files at an address: one, those below a folder, or those that a pattern names.

    As of folders of this machine, hidden ones are left out.

    Raises
    ------
    FileNotFoundError
        There is none.
    ConfigurationInvalid
        fsspec, or what it needs for the scheme, is not installed; or the address cannot be one.
    StoreUnavailable
        The store does not answer, or grants no access.
    """
    store, path = _store(address)
    with _asked(address):
        if has_magic(path):
            tops = list(store.glob(path.rstrip("/"), detail=True).values())
        else:
            tops = [store.info(path)]
        found = dict[str, Any]()
        for top in tops:
            if top["type"] == "directory":
                below = store.find(top["name"], detail=True)
                found |= {n: i for n, i in below.items() if not _hidden(n, top["name"])}
            else:
                found[top["name"]] = top
    if not tops:
        raise FileNotFoundError(f"no file or folder matches {address}")
    files = [found[name] for name in sorted(found) if not name.endswith("/")]
    return [(store.unstrip_protocol(each["name"]), *_facts(each)) for each in files]


def opened(address: str, *, in_order: bool) -> io.BufferedReader:
    """Returns a file of a store, to be read.

    Parameters
    ----------
    in_order
        Whether it is read from its beginning to its end, so that reading ahead pays.

    Raises
    ------
    FileNotFoundError, PermissionError
        It is not there any more, or not for us.
    ConfigurationInvalid, StoreUnavailable
        As ``files_at``; reading it raises StoreUnavailable, too.
    """
    store, path = _store(address)
    cache = "readahead" if in_order else "none"
    with _asked(address):
        file = store.open(path, "rb", block_size=_AHEAD_BYTES, cache_type=cache)
    return io.BufferedReader(_Read(file, address), 2**16)


class _Read(io.RawIOBase):
    """A file of a store, whose failures are no damage of the file: else a cut archive was seen."""

    def __init__(self, file: Any, address: str) -> None:
        self._read, self._address = file, address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._read.read(len(buffer))
        except Exception as error:
            raise _unavailable(self._address, error) from error
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._read.seek(offset, whence))

    def tell(self) -> int:
        return int(self._read.tell())

    def close(self) -> None:
        if not self.closed:
            self._read.close()
        super().close()


def _store(address: str) -> tuple[Any, str]:
    if urlsplit(address).password is not None:
        raise ConfigurationInvalid(
            f"{address.partition(_MARK)[0]}://...: a password in an address would stand in the "
            "ledger; give credentials in the environment"
        )
    try:
        from fsspec.core import url_to_fs

        store, path = url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise ConfigurationInvalid(
            f"{address}: {plain_words(error)}: for object stores {how_to_install('s3')}"
        ) from error
    except ValueError as error:
        raise ConfigurationInvalid(
            f"{address}: {plain_words(error)}; expected an address such as s3://bucket/night"
        ) from error
    return store, path


@contextmanager
def _asked(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file or folder {address}") from error
    except PermissionError as error:
        raise PermissionError(f"no access to {address}: {plain_words(error)}") from error
    except Exception as error:  # botocore's have no common root with s3fs's
        raise _unavailable(address, error) from error


def _unavailable(address: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"{address}: the store does not give it: {plain_words(error)}")


def _hidden(name: str, top: str) -> bool:
    return any(part.startswith(".") for part in name.removeprefix(top).split("/"))


def _facts(info: dict[str, Any]) -> tuple[int, int, str]:
    """Returns size, time and ETag, as far as the store tells them."""
    when = next((info[name] for name in _TIMES if name in info), 0)
    seconds = when.timestamp() if isinstance(when, datetime) else when
    time_ns = round(seconds * 10**9) if isinstance(seconds, int | float) else 0
    etag = next((str(info[name]).strip('"') for name in _ETAGS if info.get(name)), "")
    size = info.get("size")
    return (-1 if size is None else int(size)), time_ns, etag
