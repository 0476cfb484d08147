"""Tells the user of the library about slow steps."""

import sys


def say(line: str) -> None:
    """Print a line on standard error, such as that a network is fetched."""
    print(line, file=sys.stderr)
