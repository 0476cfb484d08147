"""Progress messages for people, during slow steps."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes one line of text."""


def silent(line: str) -> None:
    """Ignore a line of progress."""
