"""Arrow in, Arrow out: what engines of archives call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from arrow_factories import records

from streamfilter.errors import MessageRejected
from streamfilter.library.arrow_packets import column_plan
from streamfilter.library.filter import Filter

WHERE = ("source", "index")


@pytest.fixture(scope="module")
def one(engine_home: Path) -> Iterator[Filter]:
    with Filter(columns=["rb", "snr"], overrides=[f"engine.home={engine_home}"]) as made:
        yield made


def rows(batches: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its place, and what batches of other sizes may change in the last digit."""
    flat = {key: value for key, value in row.items() if key not in (*WHERE, "science")}
    return {k: pytest.approx(v, rel=1e-4) if isinstance(v, float) else v for k, v in flat.items()}


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_columns_of_a_survey_are_judged_as_its_packets(
    one: Filter, samples: Path, survey: str
) -> None:
    """Also fields, flags, position and time; batches come in any size."""
    files = sorted(each for each in (samples / survey).iterdir() if each.suffix != ".json")
    expected = one.table(files).to_pylist()
    table = pa.Table.from_pylist(records(files))
    found = rows(one.annotate(iter(table.to_batches(max_chunksize=7))))
    assert len(files) == len(found) == len(expected)
    assert [told(row) for row in expected] == [told(row) for row in found]
    assert [("batches", number) for number in range(len(found))] == [
        (row["source"], row["index"]) for row in found
    ]


def test_whole_packets_are_judged_in_a_column(one: Filter, samples: Path) -> None:
    """With their names, and damaged ones as rows of their own."""
    files = [*sorted((samples / "ztf").iterdir())[:5], next((samples / "broken").iterdir())]
    batch = pa.record_batch(
        {
            "packet": [file.read_bytes() for file in files],
            "streamfilter_source": [file.name for file in files],
        }
    )
    found = rows(one.annotate(iter([batch])))
    assert [file.name for file in files] == [row["source"] for row in found]
    assert [None] * 5 + ["avro_malformed"] == [row["rejected"] for row in found]
    assert one.layout.schema.equals(next(one.annotate(iter([batch]))).schema)


def test_only_the_stamps_that_are_judged_are_read(one: Filter, samples: Path) -> None:
    """Two thirds of an archive are other stamps."""
    schema = pa.Table.from_pylist(records([next((samples / "ztf").iterdir())])).schema
    plan = column_plan(schema, one.pipeline)
    assert "ztf" == plan.survey
    assert {"candid", "candidate.ra", "cutoutScience.stampData"} <= set(plan.paths)
    assert [] == [path for path in plan.paths if "Template" in path or "Difference" in path]


def test_columns_of_no_survey_are_refused(one: Filter) -> None:
    """In words that say what is expected."""
    with pytest.raises(MessageRejected, match="a table with x; expected a column packet"):
        list(one.annotate(iter([pa.record_batch({"x": [[1]]})])))
    with pytest.raises(MessageRejected, match="no field map for the record"):
        list(one.annotate(iter([pa.record_batch({"x": [1]})])))


def test_a_row_without_a_stamp_says_so(one: Filter, samples: Path) -> None:
    """As a packet without one."""
    (record,) = records([samples / "ztf" / "2695378462115010012.avro"])
    table = pa.Table.from_pylist([record, record | {"cutoutScience": None}])
    first, second = rows(one.annotate(iter(table.to_batches())))
    assert "clean" == first["verdict"]
    assert ("not_evaluated", "stamp_missing") == (
        second["verdict"], second["science_not_evaluated"],
    )  # fmt: skip
