"""``streamfilter labels``: what people said at the live page, as a table or for training."""

import os
from functools import partial
from pathlib import Path

import click

from streamfilter import config as settings_room
from streamfilter import logs
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.cli import options
from streamfilter.config import Settings
from streamfilter.console.assembly import read_labels
from streamfilter.console.label_rows import json_lines
from streamfilter.console.labels import Label
from streamfilter.console.training_folder import TABLE, write_folder
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.files import write_whole
from streamfilter.inference.cache import default_home
from streamfilter.kafka.places import PlaceReader
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.service.assembly.alerts import schema_sources
from streamfilter.service.assembly.clients import consumer_settings

_READ_S = 30.0


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@options.settings
def labels(out: Path, config: Path | None, overrides: tuple[str, ...]) -> None:
    """Write what people said at the live page to OUT.

    OUT is a table where it ends in .jsonl or .parquet (extra archive): a row for each person and
    alert, the newest word. Else it is a folder for training: the packets of the labelled alerts,
    as far as they are still in their topics, and known.csv with what is known of each.
    """
    settings = settings_room.load(config, overrides=overrides)
    logs.configure(form=settings.logs.form, level=settings.logs.level)
    said = read_labels(settings)
    if out.suffix == ".jsonl":
        write_whole(out, json_lines(said))
    elif out.suffix == ".parquet":
        write_whole(out, _parquet(said))
    else:
        _folder(settings, said, out)
    people = len({each.person for each in said})
    who = "1 person" if people == 1 else f"{people} people"
    click.echo(f"{len(said)} labels of {who}: {out}")


def _parquet(said: list[Label]) -> bytes:
    try:
        from streamfilter.console.label_table import parquet
    except ImportError as error:
        raise ConfigurationInvalid(
            f"a .parquet file needs pyarrow: {how_to_install('archive')}; .jsonl needs nothing"
        ) from error
    return parquet(said)


def _folder(settings: Settings, said: list[Label], out: Path) -> None:
    home = settings.engine.home or default_home(os.environ)
    finder = SchemaFinder(schema_sources(settings, home), settings.limits)
    decoder = Decoder(finder, Surveys.load(settings.alerts.survey_folders), settings.limits)
    reader = PlaceReader(consumer_settings(settings))
    try:
        fetch = partial(reader.read, timeout_s=_READ_S)
        written = write_folder(said, fetch, finder, decoder, out)
    finally:
        reader.close()
    for line in written.missing:
        click.echo(f"left out: {line}", err=True)
    click.echo(f"{written.packets} packets, and what is known of them: {out / TABLE}")
