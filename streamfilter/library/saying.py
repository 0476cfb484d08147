"""What a program that uses the library is told of slow steps."""

import sys


def say(line: str) -> None:
    """Print a line on standard error, such as that a network is fetched."""
    print(line, file=sys.stderr)
