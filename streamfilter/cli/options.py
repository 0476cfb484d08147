"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def settings(command: Command) -> Command:
    """Adds ``--config FILE`` and ``--set section.key=value``; sets ``config`` and ``overrides``."""
    for option in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="SECTION.KEY=VALUE",
            help="Change one setting; may be given several times.",
        ),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A TOML file; `streamfilter config show` prints one with every key.",
        ),
    ):
        command = option(command)
    return command
