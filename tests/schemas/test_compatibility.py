"""The promise of deploy/UPGRADING.md: within a major version readers and writers may differ in age.

``tests/golden/schemas`` has the output schemas as they were first published under each major
version; a minor version may only add to them.
"""

import io
import json
import random
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from fastavro.utils import generate_one

ROOT = Path(__file__).parent.parent.parent
FIRST = ROOT / "tests" / "golden" / "schemas"
NOW = ROOT / "schemas" / "streamfilter"
PATHS = sorted(str(path.relative_to(FIRST)) for path in FIRST.glob("*/*.avsc"))
RECORDS = 50


def schema(folder: Path, path: str) -> Any:
    return json.loads((folder / path).read_text())


def read_as(writer: Any, reader: Any, count: int = RECORDS) -> int:
    """Write random records by one schema and read them by another; how many."""
    random.seed(1)
    for _ in range(count):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, writer, generate_one(writer))
        buffer.seek(0)
        fastavro.schemaless_reader(buffer, writer, reader)
        assert b"" == buffer.read()
    return count


def test_every_output_schema_has_its_first_form() -> None:
    """A schema that is new under a major version is held from then on."""
    now = sorted(str(path.relative_to(NOW)) for path in NOW.glob("*/*.avsc"))
    assert len(now) >= 3
    assert now == PATHS, "copy it to tests/golden/schemas"


@pytest.mark.parametrize("path", PATHS)
def test_an_old_reader_reads_what_is_written_now(path: str) -> None:
    """Consumers need not be upgraded."""
    assert RECORDS == read_as(schema(NOW, path), schema(FIRST, path))


@pytest.mark.parametrize("path", PATHS)
def test_a_new_reader_reads_what_was_written_first(path: str) -> None:
    """What lies in Kafka from before an upgrade stays readable."""
    assert RECORDS == read_as(schema(FIRST, path), schema(NOW, path))


@pytest.mark.parametrize("path", PATHS)
def test_a_change_that_breaks_the_promise_is_found(path: str) -> None:
    """A field without a default that old writers did not write."""
    changed = schema(NOW, path)
    changed["fields"].append({"name": "new", "type": "string"})
    with pytest.raises(SchemaResolutionError):
        read_as(schema(FIRST, path), changed, 1)
