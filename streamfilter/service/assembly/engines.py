"""Opens engines as the settings say, and shows them in the metrics."""

import os
from functools import partial

from prometheus_client import Gauge

from streamfilter.config import EngineSettings, Settings, TrackingEngine
from streamfilter.errors import ConfigurationInvalid
from streamfilter.inference import manifest
from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine, OnDevice
from streamfilter.inference.runtimes import AUTO, RUNTIMES, open_engine
from streamfilter.metrics.instruments import DEVICE_MEMORY
from streamfilter.records import EngineIdentity
from streamfilter.service.assembly.clients import Say


def chosen_engines(settings: Settings) -> dict[str, EngineSettings | TrackingEngine]:
    """Returns the engines that judge alerts by their key, in the order in which they are asked."""
    further = {f"engine.also.{number}": each for number, each in enumerate(settings.engine.also)}
    return {"engine": settings.engine, **further}


def checked_engine(key: str, chosen: EngineSettings | TrackingEngine, per: manifest.Per) -> None:
    """Refuse an engine of another kind, and a runtime or precision that does not exist.

    Raises
    ------
    ConfigurationInvalid
        Names the key, what was found and what there is.
    """
    known = manifest.names()
    fitting = [each for each in known if manifest.load(each).per is per]
    if chosen.name not in fitting:
        quoted = repr(chosen.name)
        wrong = (
            f"{quoted} gives nothing per {per}" if chosen.name in known else f"no engine {quoted}"
        )
        raise ConfigurationInvalid(f"{key}.name: {wrong}; there are {', '.join(fitting)}")
    if chosen.runtime not in (AUTO, *RUNTIMES):
        runtimes = ", ".join((AUTO, *RUNTIMES))
        raise ConfigurationInvalid(
            f"{key}.runtime: no runtime {chosen.runtime!r}; there are {runtimes}"
        )
    if chosen.precision not in list(manifest.Precision):
        precisions = ", ".join(manifest.Precision)
        raise ConfigurationInvalid(
            f"{key}.precision: no {chosen.precision!r}; there are {precisions}"
        )


def opened(
    settings: Settings,
    chosen: EngineSettings | TrackingEngine,
    say: Say,
    *,
    threads: int,
    workers: int = 1,
) -> Engine:
    """Returns an engine that is opened as its section of the settings says."""
    home = settings.engine.home or default_home(os.environ)
    return open_engine(
        chosen.name,
        chosen.runtime,
        home,
        threads,
        workers=workers,
        precision=chosen.precision,
        plans=chosen.plans,
        progress=say,
    )


def identity_of(engine: Engine) -> EngineIdentity:
    """Returns how outputs name an engine."""
    return EngineIdentity(engine.manifest.name, engine.manifest.onnx_sha256, engine.runtime)


def watch_device(engine: Engine, gauge: Gauge) -> None:
    """Show the GPU memory of an engine that runs on one."""
    if isinstance(engine, OnDevice):
        for kind in DEVICE_MEMORY:
            shown = gauge.labels(engine.manifest.name, kind)
            shown.set_function(partial(_of_device, engine, kind))


def _of_device(engine: OnDevice, kind: str) -> float:
    return float(getattr(engine.device_memory, kind))
