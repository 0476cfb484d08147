"""What the workers for alerts and for exposures do alike."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

import structlog
from prometheus_client import Counter, Gauge

from streamfilter.inference.engine import Engine, OnDevice
from streamfilter.metrics.instruments import DEVICE_MEMORY
from streamfilter.records import EngineIdentity, Rejected

log = structlog.get_logger(__name__)


def guarded_thread(
    work: Callable[[], None], name: str, fail: Callable[[BaseException], None]
) -> threading.Thread:
    """A thread, not started, whose failure is logged and handed to ``fail``."""

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            log.error("failed", thread=name, error=str(error), exc_info=True)
            fail(error)

    return threading.Thread(target=guarded, name=name, daemon=True)


def note_rejected(
    rejected: Rejected, counter: Counter, ids: Mapping[str, str] | None = None
) -> None:
    """Count a rejection under its reason and log it, with the ids of its trace, once."""
    counter.labels(rejected.reason).inc()
    origin = rejected.message.origin
    log.warning(
        "rejected",
        reason=str(rejected.reason),
        detail=rejected.detail,
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        **(ids or {}),
    )


def identity_of(engine: Engine) -> EngineIdentity:
    """How what is published names an engine."""
    return EngineIdentity(engine.manifest.name, engine.manifest.onnx_sha256, engine.runtime)


def watch_device(engine: Engine, gauge: Gauge) -> None:
    """Show the memory of a GPU that an engine runs on; others have none to show."""
    if isinstance(engine, OnDevice):
        for kind in DEVICE_MEMORY:
            shown = gauge.labels(engine.manifest.name, kind)
            shown.set_function(partial(_of_device, engine, kind))


def _of_device(engine: OnDevice, kind: str) -> float:
    return float(getattr(engine.device_memory, kind))
