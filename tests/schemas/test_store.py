"""The folder of published schemas."""

from pathlib import Path

import pytest

from streamfilter.errors import SchemaUnavailable
from streamfilter.schemas.published import annotation_schema, publish
from streamfilter.schemas.store import SchemaFolder

SCHEMA = annotation_schema()


def test_what_is_kept_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    """The folder is made when it is first needed."""
    folder = SchemaFolder(tmp_path / "home" / "schemas")
    assert folder.by_fingerprint(SCHEMA.fingerprint) is None
    folder.keep(SCHEMA)
    assert SCHEMA.schema.definition == folder.by_fingerprint(SCHEMA.fingerprint)
    assert [SCHEMA.file_name] == [path.name for path in folder.path.iterdir()]


def test_a_file_name_says_name_and_fingerprint() -> None:
    """A person finds the schema of a message by the digits of an error message."""
    assert f"streamfilter.v1.Annotation-{SCHEMA.fingerprint:016x}.avsc" == SCHEMA.file_name


def test_a_file_that_stands_is_left_alone(tmp_path: Path) -> None:
    """Workers share the folder; what one wrote is not touched by the next."""
    folder = SchemaFolder(tmp_path)
    folder.keep(SCHEMA)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    folder.keep(SCHEMA)
    assert before == path.stat().st_mtime_ns


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A message that nobody could read is not published."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SchemaUnavailable, match="name a folder that can be written"):
        SchemaFolder(tmp_path / "file").keep(SCHEMA)


@pytest.mark.parametrize("text", ["", "{}", '{"type": "record"}', "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    """The message says which file, and to export it again."""
    (tmp_path / SCHEMA.file_name).write_text(text)
    with pytest.raises(SchemaUnavailable, match="export it again"):
        SchemaFolder(tmp_path).by_fingerprint(SCHEMA.fingerprint)


def test_a_file_with_another_schema_is_not_believed(tmp_path: Path) -> None:
    """Decoding with the wrong schema would give wrong numbers."""
    other = publish({"type": "record", "name": "R", "fields": []})
    (tmp_path / SCHEMA.file_name).write_text(other.text)
    with pytest.raises(SchemaUnavailable, match=f"{other.fingerprint:016x}"):
        SchemaFolder(tmp_path).by_fingerprint(SCHEMA.fingerprint)


def test_a_folder_knows_no_registry_ids(tmp_path: Path) -> None:
    """Ids mean something to one registry only."""
    assert SchemaFolder(tmp_path).by_id(1) is None
