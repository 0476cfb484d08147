"""``streamfilter schemas``: what readers of our topics need."""

from pathlib import Path

import click

from streamfilter.schemas.definition import parse_definition
from streamfilter.schemas.published import PublishedSchema, published_schemas
from streamfilter.schemas.splice import FIELD, extend
from streamfilter.schemas.store import SchemaFolder, top_schemas

_FOLDER = click.Path(file_okay=False, path_type=Path)
_survey_schemas = click.option(
    "--survey-schemas",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a survey's .avsc files: also its alerts as they are when enriched.",
)
_field = click.option(
    "--field", default=FIELD, show_default=True, help="Name of the field in enriched alerts."
)


@click.group()
def schemas() -> None:
    """List and export the Avro schemas of what streamfilter publishes.

    Annotations are read by `streamfilter.read` without any of them; other readers, and readers of
    enriched alerts in single-object encoding, find each by the fingerprint in the message.
    """


@schemas.command(name="list")
@_survey_schemas
@_field
def list_(folders: tuple[Path, ...], field: str) -> None:
    """Print fingerprint, fields and full name of every schema."""
    click.echo(f"{'fingerprint':16}  fields  name")
    for schema in _all(folders, field):
        fields = len(schema.schema.definition["fields"])
        click.echo(f"{schema.fingerprint:016x}  {fields:6}  {schema.schema.name}")


@schemas.command()
@click.argument("folder", type=_FOLDER, default=Path("schemas"), metavar="[DIR]")
@_survey_schemas
@_field
def export(folder: Path, folders: tuple[Path, ...], field: str) -> None:
    """Write every schema to DIR (default: schemas), one <name>-<fingerprint>.avsc each.

    Give DIR to `streamfilter.read(value, schemas=DIR)`.
    """
    store = SchemaFolder(folder)
    for schema in _all(folders, field):
        store.keep(schema)
        click.echo(folder / schema.file_name)


def _all(folders: tuple[Path, ...], field: str) -> list[PublishedSchema]:
    definitions = [definition for folder in folders for definition in top_schemas(folder)]
    records = [definition for definition in definitions if definition.get("type") == "record"]
    extended = [extend(parse_definition(definition), field) for definition in records]
    return [*published_schemas(), *extended]
