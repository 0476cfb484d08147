"""``streamfilter schemas``: lists and exports the schemas that readers of our topics need."""

from pathlib import Path

import click

from streamfilter.cli.command_group import CommandGroup
from streamfilter.schemas.definition import parse_definition
from streamfilter.schemas.published import PublishedSchema, published_schemas
from streamfilter.schemas.sources import FolderSource, PackageSource
from streamfilter.schemas.splice import FIELD, extend
from streamfilter.schemas.store import SchemaFolder

_FOLDER = click.Path(file_okay=False, path_type=Path)
_survey_schemas = click.option(
    "--survey-schemas",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a survey's .avsc files, as in schemas.folders of the configuration; "
    "may be given several times.",
)
_packages = click.option(
    "--packages/--no-packages",
    default=True,
    show_default=True,
    help="Also the surveys' schemas of installed packages (lsst-alert-packet).",
)
_field = click.option(
    "--field", default=FIELD, show_default=True, help="Name of the field in enriched alerts."
)


@click.group(cls=CommandGroup)
def schemas() -> None:
    """List and export the Avro schemas of what streamfilter publishes.

    That is the annotation, and each survey's alert as it is when enriched. Readers of
    single-object messages find a schema by the fingerprint in the message; `streamfilter.read`
    has the annotation's own. Containers (ZTF) carry theirs, and a registry's readers ask it.
    """


@schemas.command(name="list")
@_survey_schemas
@_packages
@_field
def list_(folders: tuple[Path, ...], packages: bool, field: str) -> None:
    """Print fingerprint, fields and full name of every schema."""
    click.echo(f"{'fingerprint':16}  fields  name")
    for schema in _all(folders, packages, field):
        fields = len(schema.schema.definition["fields"])
        click.echo(f"{schema.fingerprint:016x}  {fields:6}  {schema.schema.name}")


@schemas.command()
@click.argument("folder", type=_FOLDER, default=Path("schemas"), metavar="[DIR]")
@_survey_schemas
@_packages
@_field
def export(folder: Path, folders: tuple[Path, ...], packages: bool, field: str) -> None:
    """Write every schema to DIR (default: schemas), one <name>-<fingerprint>.avsc each.

    Give DIR to `streamfilter.read(value, schemas=DIR)`.
    """
    store = SchemaFolder(folder)
    for schema in _all(folders, packages, field):
        store.keep(schema)
        click.echo(folder / schema.file_name)


def _all(folders: tuple[Path, ...], packages: bool, field: str) -> list[PublishedSchema]:
    sources: list[FolderSource | PackageSource] = [*map(FolderSource, folders)]
    if packages:
        sources.append(PackageSource())
    definitions = (definition for source in sources for definition in source.definitions())
    extended = [extend(parse_definition(definition), field) for definition in definitions]
    return [*published_schemas(), *extended]
