"""What the commands share that judge frames in files, without Kafka."""

import os
from collections.abc import Iterable
from pathlib import Path

import click

from streamfilter.exposures import frame_paths, frames
from streamfilter.inference import cache, runtimes
from streamfilter.inference.engine import Engine

_MOST_NAMED = 5

background = click.option(
    "--background",
    type=click.Choice(["own", "reference"]),
    default="own",
    show_default=True,
    help="reference: sky and clip in ADU as MaxiMask 1.4.1 has them, to compare with it.",
)


def paths(files: Iterable[str]) -> list[str]:
    """The frames that FILES name, of which one at least is there.

    Raises
    ------
    ClickException
        There is none: exit code 1.
    """
    found = list(frame_paths.expand(files))
    if not found:
        raise click.ClickException("no FITS file in these folders or lists")
    if all(_missing(path) for path in found):
        more = ", ..." if len(found) > _MOST_NAMED else ""
        raise click.ClickException(f"no such file: {', '.join(found[:_MOST_NAMED])}{more}")
    return found


def _missing(path: str) -> bool:
    try:
        Path(frames.split_hdu(path)[0]).stat()
    except FileNotFoundError:
        return True
    except OSError:  # reading it says why it cannot be read
        return False
    return False


def engine(name: str) -> Engine:
    """A network on all cores; what is fetched at first use is told on standard error."""
    home, cores = cache.default_home(os.environ), os.cpu_count() or 1
    return runtimes.open_engine(name, "onnxruntime", home, cores, progress=say)


def say(line: str) -> None:
    """A line for the person, beside the answer on standard output."""
    click.echo(line, err=True)
