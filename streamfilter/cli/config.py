"""``streamfilter config``: what the settings are, and whether they can work."""

from pathlib import Path

import click

from streamfilter import config as settings_room
from streamfilter.cli import options


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
@options.settings
def show(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Print the settings in effect as TOML, secrets hidden.

    Later wins: defaults, the file, STREAMFILTER_<SECTION>__<KEY> in the environment, --set.
    """
    click.echo(settings_room.show(settings_room.load(config, overrides=overrides)), nl=False)


@config.command()
@options.settings
def check(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Check the settings without connecting to anything; exit 2 names key, file and mend."""
    settings = settings_room.load(config, overrides=overrides)
    read = ", ".join(settings.alerts.topics)
    written = ", ".join(topic for topic in settings.outputs.model_dump().values() if topic)
    click.echo(f"well-formed: reads {read}; publishes {written or 'nothing'}")
