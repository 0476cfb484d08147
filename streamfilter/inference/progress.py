"""What is said to a human while something takes long."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes one line."""


def silent(line: str) -> None:
    """Progress that nobody reads."""
