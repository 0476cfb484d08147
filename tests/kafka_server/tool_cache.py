"""Where the tests keep what they fetch or build: beside the checkouts, so that each finds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache() -> Path:
    """The folder, ``$XDG_CACHE_HOME/streamfilter-tests``; it may be deleted at any time."""
    above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(above) / "streamfilter-tests"


@contextmanager
def alone_with(place: Path) -> Iterator[None]:
    """Let one process at a time fetch or build what comes to a place; the next finds it there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
