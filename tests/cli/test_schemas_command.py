"""``streamfilter schemas``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamfilter.cli.schemas import schemas
from streamfilter.schemas.published import annotation_schema, publish, published_schemas
from streamfilter.schemas.splice import extend
from streamfilter.schemas.store import SchemaFolder

SOURCE = {"type": "record", "name": "s.source", "fields": [{"name": "x", "type": "int"}]}
ALERT = {
    "type": "record",
    "namespace": "s",
    "name": "alert",
    "fields": [{"name": "source", "type": "s.source"}],
}
EXTENDED = extend(publish({**ALERT, "fields": [{"name": "source", "type": SOURCE}]}).schema)


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """A survey's schemas as surveys publish them: one file a record, with references."""
    folder = tmp_path / "survey" / "1" / "0"
    folder.mkdir(parents=True)
    for definition in (SOURCE, ALERT):
        (folder / f"{definition['name']}.avsc").write_text(json.dumps(definition))
    return tmp_path / "survey"


def invoke(*arguments: object) -> list[str]:
    result = CliRunner().invoke(schemas, [str(part) for part in arguments])
    assert (0, None) == (result.exit_code, result.exception)
    return result.output.splitlines()


def test_list_shows_fingerprint_and_name() -> None:
    """The digits are those of file names and error messages."""
    title, line, *_ = invoke("list", "--no-packages")
    assert ["fingerprint", "fields", "name"] == title.split()
    fingerprint, _, name = line.split()
    assert ("streamfilter.v1.Annotation", annotation_schema().fingerprint) == (
        name,
        int(fingerprint, 16),
    )


def test_export_writes_what_read_finds(tmp_path: Path, survey: Path) -> None:
    """Annotation and extended alert, and not the parts of the alert."""
    lines = invoke("export", tmp_path / "out", "--no-packages", "--survey-schemas", survey)
    folder = SchemaFolder(tmp_path / "out")
    expected = [*published_schemas(), EXTENDED]
    assert [str(folder.path / schema.file_name) for schema in expected] == lines
    assert all(folder.by_fingerprint(schema.fingerprint) for schema in expected)


def test_export_twice_changes_nothing(tmp_path: Path) -> None:
    """A start-up script may run the command."""
    assert invoke("export", tmp_path) == invoke("export", tmp_path)
    assert len(invoke("list")) - 1 == len(list(tmp_path.iterdir()))


def test_the_field_name_may_be_another(survey: Path) -> None:
    """It changes the schema, hence the fingerprint."""
    *_, default = invoke("list", "--no-packages", "--survey-schemas", survey)
    *_, other = invoke("list", "--no-packages", "--survey-schemas", survey, "--field", "maximask")
    assert default.split()[0] == f"{EXTENDED.fingerprint:016x}" != other.split()[0]
