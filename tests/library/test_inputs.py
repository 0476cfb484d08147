"""What is given to the library in a form that it does not take, without a filter."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streamfilter.library.arrow_packets import alerts_of
from streamfilter.library.inputs import messages_of


def test_a_file_opened_as_text_is_refused_with_how_to_open_it(tmp_path: Path) -> None:
    """Not with what failed inside."""
    path = tmp_path / "a.avro"
    path.write_text("Obj")
    with path.open() as file, pytest.raises(TypeError, match=r'open\(path, "rb"\)'):
        list(messages_of(file))


def test_a_table_is_refused_with_how_to_take_its_batches() -> None:
    """Iterating over it gives columns."""
    table: Any = pa.table({"packet": [b"x"]})
    pipeline: Any = None  # nothing is decoded
    with pytest.raises(TypeError, match=r"ChunkedArray: expected .*table.to_batches\(\) gives"):
        list(alerts_of(table, pipeline))
