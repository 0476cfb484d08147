"""Labels as Parquet: the only module of the page that needs pyarrow."""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from streamfilter.console.label_rows import COLUMNS, rows_of
from streamfilter.console.labels import Label

_TYPES = {
    "when": pa.timestamp("us", "UTC"), "partition": pa.int32(), "offset": pa.int64(),
    "core": pa.float64(),
}  # fmt: skip
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])


def parquet(labels: Iterable[Label]) -> bytes:
    """Returns a Parquet file with a row of ``COLUMNS`` for each label."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows_of(labels), SCHEMA), out, compression="zstd")
    return out.getvalue()
