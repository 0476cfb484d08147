"""Shared parts of the commands that judge frames in files, without Kafka."""

import os
from collections.abc import Collection, Iterable, Sequence
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


def paths(files: Collection[str]) -> list[str]:
    """Returns the paths of the frames in FILES, of which at least one exists.

    Raises
    ------
    ClickException
        No file exists: exit code 1.
    """
    frame_files = list(frame_paths.expand(files))
    if not frame_files:
        raise click.ClickException("no FITS file in these folders or lists")
    if all(_missing(path) for path in frame_files):
        raise absent(frame_files, files)
    return frame_files


def absent(names: Sequence[str], files: Iterable[str]) -> click.ClickException:
    """Returns the error for files that do not exist, with the lists among FILES that name them."""
    words = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    lists = ", ".join(each for each in files if frame_paths.is_list(each))
    words += f" (read from {lists}: a path in each line)" if lists else ""
    return click.ClickException(f"no such file: {words}")


def _missing(path: str) -> bool:
    try:
        Path(frames.split_hdu(path)[0]).stat()
    except FileNotFoundError:
        return True
    except OSError:  # the later attempt to read it reports the reason
        return False
    return False


def engine(name: str) -> Engine:
    """Opens a network on all cores; prints on standard error what it fetches at first use."""
    home, cores = cache.default_home(os.environ), os.cpu_count() or 1
    return runtimes.open_engine(name, "onnxruntime", home, cores, progress=say)


def say(line: str) -> None:
    """Print a line for the user on standard error; standard output is for the result."""
    click.echo(line, err=True)
