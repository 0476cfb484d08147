"""Options that several commands share."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from streamfilter import config as settings_room

Command = TypeVar("Command", bound=Callable[..., Any])


def given(config: Path | None, overrides: tuple[str, ...]) -> str:
    """Returns the same options for another command, to be pasted; without secrets."""
    words = ["--config", str(config)] if config else []
    for override in overrides:
        key, _, value = override.partition("=")
        words += ["--set", f"{key}={'...' if settings_room.hides(key) else value}"]
    return shlex.join(words)


as_live = click.option(
    "--as-live",
    is_flag=True,
    help="Do not mark them as replayed: workers then count their latency as the night's.",
)
"""For commands that send messages from files."""


def listed(words: str) -> tuple[str, ...]:
    """Returns the words between commas."""
    return tuple(word.strip() for word in words.split(",") if word.strip())


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
