"""``streamfilter console``: the live page."""

import signal
from pathlib import Path

import click
import structlog

from streamfilter import config as settings_room
from streamfilter import logs
from streamfilter.cli import options
from streamfilter.console.assembly import Console

log = structlog.get_logger("streamfilter")


@click.command()
@options.settings
def console(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Show on a live page what the filter says, with stamps and masks, until Ctrl-C.

    It reads the outputs as any consumer does, in no group, and the alerts that somebody looks at
    from their own topics; no worker waits for it. The page listens on this machine alone unless
    the section [console] of the settings opens it. Labels go to outputs.labels.
    """
    settings = settings_room.load(config, overrides=overrides)
    logs.configure(form=settings.logs.form, level=settings.logs.level)
    page = Console(settings, say=log.info)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: page.stop())
    click.echo(page.url)
    log.info("listening", console=page.url)
    page.run()
    log.info("stopped")
