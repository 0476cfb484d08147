"""What the workers for alerts and for exposures do alike."""

import threading
from collections.abc import Callable
from dataclasses import replace

import structlog
from prometheus_client import Counter

from streamfilter.encode import HEADERS
from streamfilter.inference.engine import Engine
from streamfilter.records import EngineIdentity, Output, Rejected

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


def note_rejected(rejected: Rejected, counter: Counter) -> None:
    """Count a rejection under its reason and log it, once, where it is handled."""
    counter.labels(rejected.reason).inc()
    origin = rejected.message.origin
    log.warning(
        "rejected",
        reason=str(rejected.reason),
        detail=rejected.detail,
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
    )


def smaller(output: Output) -> Output | None:
    """A rejected message that the broker refused, without its largest parts; None: none is left.

    Our headers stay: they say why, and where the original stands.
    """
    if output.value is not None:
        return replace(output, value=None)
    ours = tuple(each for each in output.headers if each[0] in HEADERS)
    bare = replace(output, key=None, headers=ours)
    return bare if bare != output else None


def identity_of(engine: Engine) -> EngineIdentity:
    """How what is published names an engine."""
    return EngineIdentity(engine.manifest.name, engine.manifest.onnx_sha256, engine.runtime)
