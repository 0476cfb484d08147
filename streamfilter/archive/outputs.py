"""The Parquet files of one task: written under other names, and renamed when all are whole."""

import contextlib
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from streamfilter.errors import ConfigurationInvalid, StreamfilterError, plain_words
from streamfilter.library.tables import METADATA

ANNOTATIONS, REJECTS = "annotations", "rejects"
"""Folders of the two tables."""
UNKNOWN_NIGHT = "__HIVE_DEFAULT_PARTITION__"
"""Night of alerts without a time, as Hive names what is null."""
PART = "part-{}.parquet"
_TEMPORARY = ".{}.tmp"
_WITHOUT = ("night", "rejected", "detail")
"""Columns that annotations have not: the folder's name, and those of the other table."""
_ROW_GROUP = 100_000
_BUFFER_BYTES = 64 * 2**20


class OutputUnwritable(StreamfilterError):
    """A file cannot be written; the run ends, and ``--resume`` goes on."""


@dataclass(frozen=True, slots=True)
class Written:
    """One file of a task, and its rows."""

    path: str
    """Below the output's folder."""
    rows: int


@dataclass(slots=True)
class _Open:
    """A file that is being written."""

    writer: pq.ParquetWriter
    temporary: Path
    target: Path
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        self.rows += batch.num_rows
        size = sum(each.nbytes for each in self.waiting)
        if size > _BUFFER_BYTES or sum(each.num_rows for each in self.waiting) >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.Table.from_batches(self.waiting), _ROW_GROUP)
            self.waiting = []


class TaskOutput:
    """Writes the rows of one task: annotations by night, and what was rejected.

    Parameters
    ----------
    folder
        Of the whole output.
    name
        Of the task.
    schema
        That of ``Filter.table``.
    """

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._folder, self._name = folder, name
        kept = [column for column in schema if column.name not in _WITHOUT]
        self._annotations = pa.schema(kept, schema.metadata)
        self._rejects = rejects_schema(schema)
        self._open: dict[str, _Open] = {}

    def add(self, batch: pa.RecordBatch) -> tuple[int, int]:
        """Write a batch of rows; returns how many were annotated, and how many rejected.

        Raises
        ------
        OutputUnwritable
            The disk is full, or the folder cannot be written.
        """
        rejected = batch.filter(pc.is_valid(batch.column("rejected")))
        if rejected.num_rows:
            self._add(REJECTS, self._rejects, rejected)
        judged = batch.filter(pc.is_null(batch.column("rejected")))
        nights = judged.column("night").fill_null(UNKNOWN_NIGHT)
        for night in pc.unique(nights).to_pylist():
            place = f"{ANNOTATIONS}/night={night}"
            self._add(place, self._annotations, judged.filter(pc.equal(nights, night)))
        return judged.num_rows, rejected.num_rows

    def refuse(self, refused: Iterable[dict[str, Any]]) -> None:
        """Write rows of rejects for what is no packet; raises as ``add`` does."""
        if rows := list(refused):
            batch = pa.RecordBatch.from_pylist(rows, self._rejects)
            self._add(REJECTS, self._rejects, batch)

    def _add(self, place: str, schema: pa.Schema, batch: pa.RecordBatch) -> None:
        try:
            if place not in self._open:
                self._open[place] = self._opened(place, schema)
            self._open[place].add(batch.select(schema.names))
        except OSError as error:
            raise self._unwritable(error) from error

    def _opened(self, place: str, schema: pa.Schema) -> _Open:
        folder = self._folder / place
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / PART.format(self._name)
        # A task may be under way twice: a cluster starts it again where a worker seems dead.
        temporary = folder / _TEMPORARY.format(f"{target.name}.{secrets.token_hex(4)}")
        return _Open(pq.ParquetWriter(temporary, schema, compression="zstd"), temporary, target)

    def finish(self) -> tuple[Written, ...]:
        """Rename all files, once each is whole and on the disk; raises as ``add`` does."""
        try:
            for each in self._open.values():
                each.flush()
                each.writer.close()
                _sync(each.temporary)
            for each in self._open.values():
                each.temporary.replace(each.target)
                _sync(each.target.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        return tuple(
            Written(str(each.target.relative_to(self._folder)), each.rows)
            for each in self._open.values()
        )

    def discard(self) -> None:
        """Remove what is not finished."""
        for each in self._open.values():
            with contextlib.suppress(OSError, pa.ArrowException):  # the disk may be full
                each.writer.close()
            each.writer.is_open = False  # or it would try again when it is collected
            each.temporary.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> OutputUnwritable:
        return OutputUnwritable(
            f"{self._folder}: {plain_words(error)}; make room or mend it, then go on with --resume"
        )


def annotations_in(path: Path, columns: Sequence[str]) -> ds.Dataset:
    """Returns the annotations of an output, or of a folder or file of them; nothing is read yet.

    Parameters
    ----------
    path
        Folder of an output, or of its annotations, or a file of them.
    columns
        Those that are needed.

    Raises
    ------
    ConfigurationInvalid
        There are none, or not with these columns.
    """
    place = path / ANNOTATIONS if (path / ANNOTATIONS).is_dir() else path
    if place is path and (path / REJECTS).is_dir():
        raise ConfigurationInvalid(f"{path}: no alert was annotated: {REJECTS}/ says why")
    night = ds.partitioning(pa.schema([("night", pa.string())]), flavor="hive")
    try:
        found = ds.dataset(place, format="parquet", partitioning=night)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationInvalid(f"{place}: no annotations in Parquet: {error}") from error
    if missing := [name for name in columns if name not in found.schema.names]:
        there = ", ".join(found.schema.names) or "none"
        raise ConfigurationInvalid(
            f"{place}: no column {missing[0]}; there are {there} (`annotate --columns` keeps "
            "others)"
        )
    return found


def rejects_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of rejects: where, the reason, the detail."""
    names = ("source", "index", "rejected", "detail")
    metadata = {METADATA: schema.metadata[METADATA]}
    return pa.schema([schema.field(name) for name in names], metadata)


def remove_leftovers(folder: Path, known: frozenset[str]) -> list[str]:
    """Remove files of tasks that were not finished; returns their paths below the folder.

    Parameters
    ----------
    known
        Files that the ledger names.
    """
    removed = []
    for table in (ANNOTATIONS, REJECTS):
        for file in sorted((folder / table).rglob("*part-*")):
            name = str(file.relative_to(folder))
            if file.is_file() and name not in known:
                file.unlink()
                removed.append(name)
    return removed


def _sync(path: Path) -> None:
    """Bring a file, or a folder's names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
