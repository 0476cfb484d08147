"""Was everything done once? The ledger against the files, and the files against each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamfilter.archive.ledger import Entry
from streamfilter.archive.outputs import ANNOTATIONS, REJECTS

_MOST_NAMED = 10
_KEY = ("survey", "alert_id")


@dataclass(slots=True)
class Audit:
    """What the audit found; an output without ``wrong`` is whole."""

    rows: int = 0
    annotated: int = 0
    rejected: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    """In words: rows or files that are missing, or too many."""
    repeated: int = 0
    """Rows whose alert stands in another row too: the input has it more than once."""
    repeated_keys: list[str] = field(default_factory=list)
    """The first of them, ``survey alert_id``."""


def audit(folder: Path, entries: Sequence[Entry], *, published: bool = False) -> Audit:
    """Returns whether all rows in are annotated or rejected, once each, in files that are whole.

    Parameters
    ----------
    published
        To topics: then only what is no packet stands in files.
    """
    found = Audit()
    for each in entries:
        rejected = sum(each.rejected.values())
        found.rows += each.rows
        found.annotated += each.annotated
        found.rejected += rejected
        found.refused += each.refused
        if each.rows != each.annotated + rejected:
            found.wrong.append(
                f"{each.task['files'][0]['path']}: {each.rows} packets were read, "
                f"{each.annotated} annotated and {rejected} rejected"
            )
    named = {name: rows for each in entries for name, rows in each.files.items()}
    _files_against_ledger(folder, named, found)
    if not found.wrong:
        expected = {ANNOTATIONS: found.annotated, REJECTS: found.rejected + found.refused}
        if published:
            expected = {ANNOTATIONS: 0, REJECTS: found.refused}
        for table, rows in expected.items():
            there = sum(rows for name, rows in named.items() if name.startswith(f"{table}/"))
            if there != rows:
                found.wrong.append(f"{table}: {there} rows; the ledger counts {rows}")
        _keys(folder, sorted(named), found)
    return found


def _files_against_ledger(folder: Path, named: dict[str, int], found: Audit) -> None:
    there = {
        str(file.relative_to(folder))
        for table in (ANNOTATIONS, REJECTS)
        for file in (folder / table).rglob("part-*.parquet")
    }
    found.wrong += [f"{name}: no task wrote it" for name in sorted(there - set(named))]
    for name, rows in sorted(named.items()):
        try:
            footer = pq.read_metadata(folder / name)
        except (OSError, pa.ArrowException) as error:
            found.wrong.append(f"{name}: {error}")
            continue
        if footer.num_rows != rows:
            found.wrong.append(f"{name}: {footer.num_rows} rows; the ledger has {rows}")


def _keys(folder: Path, names: Sequence[str], found: Audit) -> None:
    """Look for alerts and places that stand twice, one night after the other."""
    annotations = [name for name in names if name.startswith(f"{ANNOTATIONS}/")]
    for _, files in groupby(annotations, key=lambda name: name.split("/")[1]):
        columns = [*_KEY, "source", "index"]
        tables = [
            pq.read_table(folder / name, columns=columns, partitioning=None) for name in files
        ]
        table = pa.concat_tables(tables)
        for place in _twice(table, ["source", "index"]):
            found.wrong.append(f"{place['source']}[{place['index']}] was annotated twice")
        for key in _twice(table, list(_KEY)):
            found.repeated += key["survey_count"] - 1
            if len(found.repeated_keys) < _MOST_NAMED:
                found.repeated_keys.append(f"{key['survey']} {key['alert_id']}")


def _twice(table: pa.Table, key: list[str]) -> Iterator[dict[str, Any]]:
    counted = table.group_by(key).aggregate([(key[0], "count")])
    several = counted.filter(pc.greater(counted[f"{key[0]}_count"], 1))
    yield from several.to_pylist()
