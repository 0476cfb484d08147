"""Packets as Arrow and Parquet have them, made from real ones."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource

LEFT_OUT = ("prv_candidates", "fp_hists", "prvDiaSources", "prvDiaForcedSources", "ssObject")
"""Lists, which Fink keeps too, but no field map names."""


def records(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The records of packets, as a broker that keeps them has them."""
    finder = SchemaFinder([PackageSource()], Limits())
    found = []
    for file in files:
        envelope = finder.open(file.read_bytes(), ())
        record = fastavro.schemaless_reader(io.BytesIO(envelope.body), envelope.schema.parsed, None)
        assert isinstance(record, dict)
        found.append({k: v for k, v in record.items() if k not in LEFT_OUT})
    return found


def fink_like(files: Sequence[Path], path: Path, *, row_group: int = 8) -> Path:
    """A Parquet file of whole alerts with their stamps, in row groups."""
    table = pa.Table.from_pylist(records(files))
    pq.write_table(table, path, row_group_size=row_group)
    return path
