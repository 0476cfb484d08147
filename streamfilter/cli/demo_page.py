"""Shows the live page beside the demo, until the reader leaves it."""

import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from streamfilter.config import Settings
from streamfilter.console.assembly import Console
from streamfilter.errors import ConfigurationInvalid

Say = Callable[[str], None]


@contextmanager
def live_page(settings: Settings, *, wanted: bool | None, say: Say) -> Iterator[str]:
    """Show a live page, and yield its address; empty where there is none.

    Parameters
    ----------
    wanted
        None: where the extra is installed.

    Raises
    ------
    ConfigurationInvalid
        It is wanted, and the extra is not installed.
    """
    page = None if wanted is False else _made(settings, wanted, say)
    if page is None:
        yield ""
        return
    thread = threading.Thread(target=_run, args=(page, say), name="console")
    thread.start()
    say(f"live page: {page.url}")
    if reader_is_here() and _has_display():
        webbrowser.open(page.url)
    try:
        yield page.url
    finally:
        page.stop()
        thread.join()


def stay(url: str) -> None:
    """Wait until the reader leaves the page; not at all where there is no page or no reader."""
    if not url or not reader_is_here():
        return
    click.echo(f"\n{url} stays until you press Enter (or Ctrl-C)")
    with suppress(KeyboardInterrupt):
        sys.stdin.readline()


def reader_is_here() -> bool:
    """Returns whether somebody sits at a terminal, and no CI runs this."""
    return not os.environ.get("CI") and sys.stdin.isatty() and sys.stdout.isatty()


def _has_display() -> bool:
    """Whether a browser would open a window here; by ssh it would be slow, or on another screen."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(named) or sys.platform in ("darwin", "win32")


def _made(settings: Settings, wanted: bool | None, say: Say) -> Console | None:
    try:
        return Console(settings, say=lambda line: None)
    except ConfigurationInvalid as error:
        if wanted:
            raise
        say(f"no live page: {error}")
        return None


def _run(page: Console, say: Say) -> None:
    try:
        page.run()
    except Exception as error:
        say(f"the live page has ended: {type(error).__name__}: {error}")
