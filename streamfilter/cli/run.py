"""``streamfilter run``: a worker until SIGTERM."""

import signal
from pathlib import Path

import click
import structlog
from prometheus_client import CollectorRegistry

from streamfilter import __version__, logs
from streamfilter import config as settings_room
from streamfilter.cli import options
from streamfilter.service.build import open_parts, open_worker
from streamfilter.service.http import Endpoint


@click.command()
@options.settings
def run(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Filter the configured topics until SIGTERM or Ctrl-C.

    The engine is fetched at first use and warmed up before the worker joins its group. On SIGTERM
    what is under way is finished and committed (flow.drain_s). Start more workers with the same
    kafka.group to share the partitions.
    """
    settings = settings_room.load(config, overrides=overrides)
    logs.configure(form=settings.logs.form, level=settings.logs.level)
    log = structlog.get_logger("streamfilter")
    log.info("starting", version=__version__, topics=settings.alerts.topics)
    registry = CollectorRegistry()
    parts = open_parts(settings, threads=settings.engine.threads, say=log.info)
    worker = open_worker(settings, parts, registry=registry)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    endpoint = None
    if settings.metrics.enabled:
        endpoint = Endpoint(
            settings.metrics.host,
            settings.metrics.port,
            registry,
            healthy=worker.wrong,
            ready=worker.unready,
        )
        log.info("listening", metrics=f"{endpoint.url}/metrics")
    try:
        worker.run()
    finally:
        if endpoint is not None:
            endpoint.close()
    log.info("stopped")
