"""Filters that a process shares: what an engine of archives calls from Arrow batches to batches."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from streamfilter.library.filter import Filter

if TYPE_CHECKING:
    import pyarrow as pa

_Key = tuple[object, ...]


@dataclass(slots=True)
class _Shared:
    filter: Filter
    users: int = 0


_opened: dict[_Key, _Shared] = {}
_lock = Lock()


def annotate_batches(
    batches: "Iterable[pa.RecordBatch]",
    config: str | os.PathLike[str] | None = None,
    *,
    engine: str | None = None,
    planes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    overrides: Sequence[str] = (),
    threads: int = 1,
) -> "Iterator[pa.RecordBatch]":
    """Yields the rows of ``Filter.annotate``, with a filter that the whole process shares.

    Engines of large archives send a function to processes of their own and call it there for each
    partition. The network is opened at the first call in a process. Calls with the same arguments
    share it, also at the same time.

    Parameters
    ----------
    batches
        As ``Filter.annotate`` takes them: a column ``packet``, or a survey's own columns.
    config, engine, planes, columns, overrides
        As ``Filter`` takes them. A file has to be there wherever the function is called.
    threads
        Of the network; such engines have a process, or a call, for each core.

    Yields
    ------
    RecordBatch
        With the schema ``Filter(...).layout.schema`` of a filter with the same arguments. A packet
        that cannot be used is a row with its reason in ``rejected``.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        As ``Filter`` does.
    MessageRejected
        As ``Filter.annotate`` does.

    Examples
    --------
    >>> annotate = functools.partial(streamfilter.annotate_batches, columns=["rb"])
    >>> frame.mapInArrow(annotate, schema)  # of Spark
    """
    with shared_filter(
        config,
        engine=engine,
        planes=planes,
        columns=columns,
        overrides=overrides,
        threads=threads,
    ) as filter_:
        yield from filter_.annotate(batches)


@contextmanager
def shared_filter(
    config: str | os.PathLike[str] | None = None,
    *,
    engine: str | None = None,
    planes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    overrides: Sequence[str] = (),
    threads: int = 1,
) -> Iterator[Filter]:
    """Returns this process's filter with these settings, which stays open for the next user.

    A filter with other settings is closed once nobody uses it and another is opened: a process
    of a cluster lives longer than the job that it was started for. Raises as ``Filter`` does.
    """
    chosen = None if planes is None else tuple(planes)
    key = (_state(config), engine, chosen, tuple(columns), tuple(overrides), threads)
    with _lock:
        if key not in _opened:
            for other in [each for each, shared in _opened.items() if not shared.users]:
                _opened.pop(other).filter.close()
            _opened[key] = _Shared(
                Filter(
                    config,
                    engine=engine,
                    planes=planes,
                    columns=columns,
                    overrides=overrides,
                    threads=threads,
                )
            )
        shared = _opened[key]
        shared.users += 1
    try:
        yield shared.filter
    finally:
        with _lock:
            shared.users -= 1


def _state(config: str | os.PathLike[str] | None) -> _Key | None:
    """Returns what tells whether a file of settings is still the same; None where there is none."""
    if config is None or not Path(config).exists():  # the filter says what is wrong with it
        return None if config is None else (os.fspath(config),)
    found = Path(config).stat()
    return str(Path(config).resolve()), found.st_size, found.st_mtime_ns
