"""``streamfilter run``: runs workers until SIGTERM."""

import gc
import signal
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import click
import structlog
from prometheus_client import CollectorRegistry

from streamfilter import __version__, logs
from streamfilter import config as settings_room
from streamfilter.cli import options
from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.metrics.process import ConfigMetrics, HttpMetrics, TraceMetrics, describe_process
from streamfilter.service.assembly.alerts import open_parts, open_worker
from streamfilter.service.assembly.checking import checked_all
from streamfilter.service.assembly.contaminants import contaminants_reading, open_contaminants
from streamfilter.service.assembly.exposures import exposures_reading, open_exposures
from streamfilter.service.assembly.reload import Prepare, Reloader, of_alerts, of_exposures
from streamfilter.service.assembly.topics import check_topics
from streamfilter.service.assembly.traces import open_traces
from streamfilter.service.http import Endpoint
from streamfilter.traces.spans import Tracer

log = structlog.get_logger("streamfilter")

_SECTIONS = {"contaminants": "exposures.contaminants"}
_LAST_SPANS_S = 2.0  # time to send the last spans at a stop


class _Worker(Protocol):
    def run(self) -> None: ...

    def stop(self) -> None: ...

    def wrong(self) -> str | None: ...

    def unready(self) -> str | None: ...


@click.command()
@options.settings
@click.option(
    "--only",
    type=click.Choice(["alerts", "exposures", "contaminants"]),
    help="Run one of the workers. Default: alerts, and exposures and their contaminants where "
    "exposures.topics and exposures.contaminants.topics are set.",
)
def run(config: Path | None, overrides: tuple[str, ...], only: str | None) -> None:
    """Filter the configured topics until SIGTERM or Ctrl-C.

    Topics are looked for first: what is missing ends it, with the command that makes it. The engine
    is fetched at first use and warmed up before the worker joins its group. On SIGTERM
    what is under way is finished and committed (flow.drain_s). Start more workers with the same
    kafka.group to share the partitions. On SIGHUP the settings are read again: priors, thresholds,
    rules, planes and output topics change between two alerts, what needs a restart is logged.
    Exposures are watched in the same process, on threads and in a consumer group of their own.
    """
    settings = settings_room.load(config, overrides=overrides)
    logs.configure(form=settings.logs.form, level=settings.logs.level)
    every = {
        "alerts": settings.alerts.topics,
        "exposures": settings.exposures.topics,
        "contaminants": settings.exposures.contaminants.topics,
    }
    topics = {kind: names for kind, names in every.items() if names and only in (None, kind)}
    if not topics:
        key = _SECTIONS.get(only or "", only)
        raise ConfigurationInvalid(f"{key}.topics: at least one is needed to run {only} alone")
    checked_all(settings)
    log.info("starting", version=__version__, **topics)
    make = f"streamfilter topics create {options.given(config, overrides)}".rstrip()
    check_topics(settings, [_SECTIONS.get(kind, kind) for kind in topics], make)
    registry = CollectorRegistry()
    describe_process(registry, __version__)
    reloader = Reloader(
        settings,
        load=lambda: settings_room.load(config, overrides=overrides),
        metrics=ConfigMetrics(registry),
    )
    # Set early: without a handler the signal would end the process.
    signal.signal(signal.SIGHUP, lambda *_: reloader.ask())
    tracer = open_traces(settings, TraceMetrics(registry)) if settings.traces.endpoint else None
    workers, prepare = _opened(settings, topics, registry, tracer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(workers))
    endpoint = _endpoint(settings, registry, workers) if settings.metrics.enabled else None
    reloader.start(prepare)
    settle_memory()
    try:
        _run(workers)
    finally:
        reloader.close()
        if tracer is not None:
            tracer.close(_LAST_SPANS_S)
        if endpoint is not None:
            endpoint.close()
    log.info("stopped")


def _opened(
    settings: Settings,
    topics: Collection[str],
    registry: CollectorRegistry,
    tracer: Tracer | None,
) -> tuple[list[_Worker], list[Prepare]]:
    """Opens the chosen workers; returns them, and what prepares a reload for each."""
    workers: list[_Worker] = []
    prepare: list[Prepare] = []
    if "alerts" in topics:
        parts = open_parts(settings, threads=settings.engine.threads, say=log.info)
        worker = open_worker(settings, parts, registry=registry, tracer=tracer)
        workers.append(worker)
        prepare.append(of_alerts(settings, worker, parts, tracer))
    if "exposures" in topics:
        tracking = open_exposures(settings, registry=registry, say=log.info)
        workers.append(tracking)
        prepare.append(of_exposures(settings, tracking, exposures_reading))
    if "contaminants" in topics:
        masking = open_contaminants(settings, registry=registry, say=log.info)
        workers.append(masking)
        prepare.append(of_exposures(settings, masking, contaminants_reading))
    return workers, prepare


def _endpoint(settings: Settings, registry: CollectorRegistry, workers: list[_Worker]) -> Endpoint:
    """Opens the HTTP endpoint; the process is unhealthy, or not ready, if any worker is."""
    endpoint = Endpoint(
        settings.metrics,
        registry,
        healthy=lambda: next((w for each in workers if (w := each.wrong())), None),
        ready=lambda: next((w for each in workers if (w := each.unready())), None),
        metrics=HttpMetrics(registry),
    )
    log.info("listening", metrics=f"{endpoint.url}/metrics")
    return endpoint


def settle_memory() -> None:
    """Let the garbage collector pass over all that is there now, which stays to the end.

    A look at it all takes 0.1 s of a core, for which no alert goes on.
    """
    gc.collect()
    gc.freeze()


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()


def _run(workers: list[_Worker]) -> None:
    """Run the first worker here and the others on threads; if one ends, all are stopped."""
    failures: list[Exception] = []

    def guarded(worker: _Worker) -> None:
        try:
            worker.run()
        except Exception as error:
            failures.append(error)
        finally:
            _stop(workers)

    first, *others = workers
    threads = [threading.Thread(target=guarded, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    guarded(first)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
