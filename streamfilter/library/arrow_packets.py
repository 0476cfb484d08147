"""Packets and alerts in Arrow batches; needs pyarrow, as ``tables`` does."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streamfilter.alerts.decode import ColumnPlan
from streamfilter.alerts.pipeline import Pipeline
from streamfilter.errors import MessageRejected, Reason
from streamfilter.records import Alert, Message, Origin, Rejected
from streamfilter.schemas.definition import parse_definition

PACKET = "packet"
"""Column of whole packets; without it, the columns are those of a survey's records."""
SOURCE, INDEX = "streamfilter_source", "streamfilter_index"
"""Columns that name a row, where they are there; else its number does."""
IN_BATCHES = "batches"
_RECORD = "topLevelRecord"  # as Spark calls it: the fields decide which survey it is
_UNITS = {"ms": "timestamp-millis", "us": "timestamp-micros", "ns": "timestamp-nanos"}


def alerts_of(batches: Iterable[pa.RecordBatch], pipeline: Pipeline) -> Iterator[Alert | Rejected]:
    """Yields the alert of each row, in order, or why there is none.

    Raises
    ------
    MessageRejected
        The columns are neither ``packet`` nor those of a survey's records.
    TypeError
        Something is no batch, such as a column of a table.
    """
    plan: ColumnPlan | None = None
    read: pa.Schema | None = None
    row = 0
    for batch in batches:
        if not isinstance(batch, pa.RecordBatch):
            raise TypeError(
                f"a batch given as {type(batch).__name__}: expected pyarrow.RecordBatch, as "
                "table.to_batches() gives"
            )
        names = _column(batch, SOURCE) or [IN_BATCHES] * batch.num_rows
        numbers = _column(batch, INDEX) or range(row, row + batch.num_rows)
        origins = [Origin(*each) for each in zip(names, [0] * len(names), numbers, strict=True)]
        row += batch.num_rows
        if PACKET in batch.schema.names:
            for origin, value in zip(origins, _column(batch, PACKET) or [], strict=True):
                yield pipeline.decode(Message(origin, value))
            continue
        if plan is None or batch.schema != read:
            plan, read = column_plan(batch.schema, pipeline), batch.schema
        columns = [_values(batch, path) for path in plan.paths]
        for origin, values in zip(origins, zip(*columns, strict=True), strict=True):
            yield plan.alert(Message(origin, None), values)


def column_plan(schema: pa.Schema, pipeline: Pipeline) -> ColumnPlan:
    """Returns how alerts are read from these columns.

    Raises
    ------
    MessageRejected
        No survey's map fits them.
    """
    fields = [(field.name, _avro_type(field.type, field.name)) for field in schema]
    definition = {
        "type": "record",
        "name": _RECORD,
        "fields": [{"name": name, "type": kind} for name, kind in fields if kind],
    }
    if not definition["fields"]:
        raise MessageRejected(
            Reason.SURVEY_UNKNOWN,
            f"a table with {', '.join(schema.names) or 'no columns'}; expected a column {PACKET} "
            "of whole packets, or those of a survey's records",
        )
    return pipeline.columns(parse_definition(definition))


def _avro_type(kind: pa.DataType, path: str) -> list[Any] | None:
    """Returns the nullable Avro type of a column; None for lists and others that no map names."""
    if not path.rpartition(".")[2].isidentifier():
        return None
    if pa.types.is_struct(kind):
        inner = [(f.name, _avro_type(f.type, f"{path}.{f.name}")) for f in kind]
        fields = [{"name": name, "type": found} for name, found in inner if found]
        name = path.replace(".", "_") + "_record"
        return ["null", {"type": "record", "name": name, "fields": fields}] if fields else None
    if pa.types.is_timestamp(kind):
        unit = _UNITS.get(kind.unit)
        return ["null", {"type": "long", "logicalType": unit}] if unit else None
    for test, name in _PLAIN:
        if test(kind):
            return ["null", name]
    return None


_PLAIN = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "long"),
    (pa.types.is_float64, "double"),
    (pa.types.is_floating, "float"),
    (pa.types.is_string, "string"),
    (pa.types.is_large_string, "string"),
    (pa.types.is_string_view, "string"),
    (pa.types.is_dictionary, "string"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_large_binary, "bytes"),
    (pa.types.is_fixed_size_binary, "bytes"),
)


def _column(batch: pa.RecordBatch, name: str) -> list[Any] | None:
    return batch.column(name).to_pylist() if name in batch.schema.names else None


def _values(batch: pa.RecordBatch, path: str) -> list[Any]:
    """Returns a column's values; of a moment its count of units, as Avro has it."""
    first, *rest = path.split(".")
    column = batch.column(first)
    if rest:
        column = pc.struct_field(column, rest)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values
