"""What is to be done of an archive, in pieces that are done whole or not at all."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from streamfilter.archive.input_files import InputFile

_SMALL_BYTES = 2**20
_BUNDLE_FILES, _BUNDLE_BYTES = 500, 16 * 2**20
"""Small files are one task together: a Parquet file for each alert would be unreadable."""
_SLICE_BYTES, _MOST_SLICES = 32 * 2**20, 8
"""A large file of packets is read by several workers, each of which judges a part.

Every part has to step over the members of the others, 0.1 ms each, where a stamp takes 6 to 12 ms.
"""
_STORED_SLICE_BYTES, _MOST_STORED_SLICES = 128 * 2**20, 4
"""The same in a store, from which each of them reads the whole file."""
_ID_DIGITS = 16


Piece = tuple[InputFile, int, int]
"""A file, which part of it, and of how many."""


class Kind(StrEnum):
    """What a task's files hold."""

    PACKETS = "packets"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of the work: some small files, a part of a large one, or a row group."""

    kind: Kind
    files: tuple[InputFile, ...]
    part: int = 0
    """Of packets, which n-th of the file; of Parquet, the row group."""
    parts: int = 1
    rows: int | None = None
    """Where the file says it."""

    @property
    def name(self) -> str:
        """Sixteen hexadecimal digits: the same files give the same name."""
        told = [
            [each.path, each.size, each.modified_ns, *([each.etag] if each.etag else [])]
            for each in self.files
        ]
        text = json.dumps([told, self.part, self.parts])
        return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]

    @property
    def size(self) -> int:
        """Bytes of the input, of a part its share."""
        return sum(max(each.size, 0) for each in self.files) // self.parts

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What identifies each piece of the input, however small files are bundled."""
        return tuple((each, self.part, self.parts) for each in self.files)

    def as_json(self) -> dict[str, Any]:
        """Returns the task as the ledger has it."""
        return {**asdict(self), "kind": self.kind.value}


def tasks_of(files: Sequence[InputFile]) -> list[Task]:
    """Returns the tasks of files: small ones are bundled, large ones divided."""
    tasks, bundle, size = [], list[InputFile](), 0
    for file in files:
        if file.is_parquet:
            tasks += _row_groups(file)
        elif file.size > _SMALL_BYTES:
            parts = _parts(file)
            tasks += [Task(Kind.PACKETS, (file,), part, parts) for part in range(parts)]
        else:
            if len(bundle) == _BUNDLE_FILES or (bundle and size + file.size > _BUNDLE_BYTES):
                tasks.append(Task(Kind.PACKETS, tuple(bundle)))
                bundle, size = [], 0
            bundle.append(file)
            size += max(file.size, 0)
    if bundle:
        tasks.append(Task(Kind.PACKETS, tuple(bundle)))
    return tasks


def _parts(file: InputFile) -> int:
    size, most = _SLICE_BYTES, _MOST_SLICES
    if file.is_stored:
        size, most = _STORED_SLICE_BYTES, _MOST_STORED_SLICES
    return min(-(-file.size // size), most)


def _row_groups(file: InputFile) -> list[Task]:
    try:
        with file.parquet() as opened:
            footer = opened.metadata
    except (OSError, pa.ArrowException):  # its task says what is wrong with it
        return [Task(Kind.PARQUET, (file,))]
    groups = footer.num_row_groups
    return [
        Task(Kind.PARQUET, (file,), part, groups, footer.row_group(part).num_rows)
        for part in range(groups)
    ]
