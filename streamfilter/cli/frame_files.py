"""Shared parts of the commands that judge frames in files, without Kafka."""

import os
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from streamfilter import config as settings_room
from streamfilter.config import EngineSettings, Settings, TrackingEngine
from streamfilter.exposures import frame_paths, frames
from streamfilter.exposures.masking import Done
from streamfilter.exposures.records import FrameReason
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import Per
from streamfilter.service.assembly.engines import checked_engine, opened

Result = TypeVar("Result")

SOME_LEFT = 3
"""Exit code: done, and some frames have no answer; standard error says which, and why."""

_MOST_NAMED = 5

background = click.option(
    "--background",
    type=click.Choice(["own", "reference"]),
    help="reference: sky and clip in ADU as MaxiMask 1.4.1 has them, to compare with it.  "
    "[default: own, or exposures.background of the settings]",
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Files at a time. The network has all cores anyway; each file needs memory of its own.",
)


def load(
    config: Path | None,
    overrides: Iterable[str],
    *,
    background: str | None,
    prior: float | None = None,
) -> Settings:
    """Returns the settings of the stream, changed by what the command was given.

    Raises
    ------
    ConfigurationInvalid
        A setting is wrong: exit code 2.
    """
    given = {"exposures.background": background, "exposures.prior": prior}
    more = [f"{key}={value}" for key, value in given.items() if value is not None]
    return settings_room.load(config, overrides=[*overrides, *more])


def paths(files: Collection[str]) -> tuple[str, ...]:
    """Returns the paths of the frames in FILES, of which at least one exists.

    Says on standard error what was left out of folders.

    Raises
    ------
    ClickException
        No file exists: exit code 1.
    """
    expanded = frame_paths.expand(files)
    if line := expanded.left_out_line():
        say(line)
    if not expanded.paths:
        raise click.ClickException("no FITS file in these folders or lists")
    if all(_missing(path) for path in expanded.paths):
        raise absent(expanded.paths, files)
    return expanded.paths


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


def engine(
    settings: Settings, key: str, chosen: EngineSettings | TrackingEngine, per: Per
) -> Engine:
    """Opens a network on all cores; prints on standard error what it fetches at first use.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        There is no such engine, or it does not run here.
    """
    checked_engine(key, chosen, per)
    return opened(settings, chosen, say, threads=os.cpu_count() or 1)


def say(line: str) -> None:
    """Print a line for the user on standard error; standard output is for the result."""
    click.echo(line, err=True)


def counted(reasons: Counter[FrameReason]) -> str:
    """Returns reasons with how often each occurs, the most frequent first."""
    return ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())


def in_order(names: Sequence[str], work: Callable[[str], Result], at_once: int) -> Iterator[Result]:
    """Yields the work's results in the order of the names, some of them done at a time."""
    # Readers hide astropy's warnings, each in its thread, but the filters are of the process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if at_once == 1:
            yield from map(work, names)
            return
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(at_once) as pool:
            try:
                for name in names:
                    waiting.append(pool.submit(work, name))
                    if len(waiting) > at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


class FileProgress:
    """A bar of the files that are done, by their bytes; nothing is shown but on a terminal."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sizes = [_size(name) for name in names]
        self._of = dict(zip(names, self._sizes, strict=True))
        self._finished, self._lock = 0, threading.Lock()
        console = Console(stderr=True, highlight=False)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("reading", total=sum(self._sizes))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the bar within a block."""
        with self._bar:
            yield

    @contextmanager
    def file(self, name: str) -> Iterator["FileDone"]:
        """Counts one file within a block, at whose end all of it is done."""
        self._describe(name)
        done = FileDone(self._bar, self._task, self._of[name])
        try:
            yield done
        finally:
            done.finish()
            with self._lock:
                self._finished += 1
            self._describe(name)

    def way(self) -> tuple[float, float]:
        """Returns how many bytes are done, and of how many."""
        (task,) = self._bar.tasks
        return task.completed, task.total or 0.0

    def _describe(self, name: str) -> None:
        text = f"{self._finished} of {len(self._sizes)} files, {Path(name).name}"
        self._bar.update(self._task, description=text)


class FileDone:
    """How much of one file is done."""

    def __init__(self, bar: Progress, task: TaskID, size: float) -> None:
        self._bar, self._task, self._left, self._size = bar, task, size, size

    def of(self, pixels: int) -> Done:
        """Returns what counts the pixels that are done, of a file that has so many."""

        def done(more: int) -> None:
            step = min(self._left, self._size * more / max(pixels, 1))
            self._left -= step
            self._bar.advance(self._task, step)

        return done

    def finish(self) -> None:
        """Count what is left of it."""
        self._bar.advance(self._task, self._left)
        self._left = 0.0


def _size(name: str) -> float:
    """Returns a file's bytes; 1 where it is not there, for that too is to be done."""
    try:
        return float(Path(frames.split_hdu(name)[0]).stat().st_size or 1)
    except OSError:
        return 1.0
