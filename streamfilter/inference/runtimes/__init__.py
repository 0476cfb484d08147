"""Runtimes for an engine's ONNX file; the module of each is imported only when it is chosen.

A runtime's module has ``open(manifest, onnx_path, running) -> Engine``; ``precisions()``, which
returns those of this machine or raises ``EngineUnavailable``; and ``VERSION`` of its library.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

from streamfilter.errors import EngineUnavailable, how_to_install
from streamfilter.inference import fetch
from streamfilter.inference.engine import Engine, Plans, Running
from streamfilter.inference.manifest import Manifest, Precision, load
from streamfilter.inference.progress import Progress, silent

RUNTIMES: dict[str, str] = {
    "tensorrt": "streamfilter.inference.runtimes.tensorrt",
    "openvino": "streamfilter.inference.runtimes.openvino",
    "onnxruntime": "streamfilter.inference.runtimes.ort",
}
"""Modules by name of the runtime, in the order in which ``auto`` tries them."""

AUTO = "auto"
"""Stands for the first of ``RUNTIMES`` that works here."""

EXTRAS: dict[str, str] = {"tensorrt": "tensorrt", "openvino": "openvino"}
"""The extra that installs a runtime's libraries; ONNX Runtime is always there."""

Opener = Callable[[Manifest, Path, Running], Engine]
"""The ``open`` of a runtime's module."""


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """A runtime on this machine."""

    runtime: str
    version: str = ""
    """Version of its library; empty where that cannot be imported."""
    precisions: tuple[Precision, ...] = ()
    """Precisions that it has here; empty where it cannot run."""
    why_not: str = ""
    """Why it cannot run, and how to mend that; empty where it can."""


def open_engine(
    name: str,
    runtime: str,
    home: Path,
    threads: int,
    *,
    workers: int = 1,
    precision: str = Precision.FLOAT32,
    plans: str = Plans.BUILD,
    wheel: Path | None = None,
    progress: Progress = silent,
) -> Engine:
    """Open an engine on a runtime; its ONNX file is fetched first where it is not cached.

    Parameters
    ----------
    name
        Name of the engine, as in ``engines/``.
    runtime
        A key of ``RUNTIMES``, which no other runtime replaces; or ``auto``, which reports its
        choice, and why it skipped others, to ``progress``.
    home
        The engine cache.
    threads
        Threads of the runtime for one batch; 0 lets the runtime use every core.
    workers
        Batches at a time.
    precision
        One of ``Precision``; ``auto`` skips a runtime without it.
    plans
        One of ``Plans``, for a runtime that needs a plan.
    wheel, progress
        See ``fetch``.

    Raises
    ------
    EngineUnavailable
        The engine, runtime or precision is unknown, not installed, or does not work here.
    """
    check(runtime, precision)
    running = Running(
        threads=threads,
        workers=workers,
        precision=Precision(precision),
        plans=Plans(plans),
        progress=progress,
    )
    # Fails before the download where the runtime is not installed.
    chosen = None if runtime == AUTO else opener(runtime)
    manifest = load(name)
    path = fetch.fetch_release(manifest, home, wheel=wheel, progress=progress)
    if chosen is None:
        return _first_usable(manifest, path, running)
    return chosen(manifest, path, running)


def check(runtime: str, precision: str) -> None:
    """Refuse unknown names of a runtime or precision; whether it is installed is not checked.

    Raises
    ------
    EngineUnavailable
        A name is unknown; the message lists the known ones.
    """
    if runtime not in (AUTO, *RUNTIMES):
        known = ", ".join((AUTO, *sorted(RUNTIMES)))
        raise EngineUnavailable(f"no runtime {runtime!r}; there are {known}")
    if precision not in list(Precision):
        raise EngineUnavailable(f"no precision {precision!r}; there are {', '.join(Precision)}")


def states() -> tuple[RuntimeState, ...]:
    """Returns the state of every runtime, in the order in which ``auto`` tries them."""
    return tuple(_state(runtime) for runtime in RUNTIMES)


def _state(runtime: str) -> RuntimeState:
    try:
        module = _module(runtime)
    except EngineUnavailable as error:
        return RuntimeState(runtime, why_not=str(error))
    try:
        return RuntimeState(runtime, version=module.VERSION, precisions=module.precisions())
    except EngineUnavailable as error:
        return RuntimeState(runtime, version=module.VERSION, why_not=f"{runtime}: {error}")


def _first_usable(manifest: Manifest, path: Path, running: Running) -> Engine:
    """Returns the engine on the first runtime that opens it and runs a smallest batch."""
    skipped = []
    for runtime in RUNTIMES:
        try:
            engine = opener(runtime)(manifest, path, running)
            side = manifest.shape.side_px or manifest.shape.min_side_px
            engine.warm_up(((1, len(manifest.planes), side, side),))
        except EngineUnavailable as error:
            skipped.append(f"not {runtime}: {error}")
            continue
        running.progress("; ".join((f"runtime {AUTO}: {engine.runtime}", *skipped)))
        return engine
    raise EngineUnavailable(
        f"no runtime can run {manifest.name} at {running.precision} here: {'; '.join(skipped)}"
    )


def opener(runtime: str) -> Opener:
    """Returns the ``open`` of a runtime's module.

    Raises
    ------
    EngineUnavailable
        Its libraries are not installed; the message says how to install them.
    """
    return cast("Opener", _module(runtime).open)


def _module(runtime: str) -> ModuleType:
    try:
        return importlib.import_module(RUNTIMES[runtime])
    except (ImportError, OSError) as error:  # TensorRT searches for its libraries itself
        mend = how_to_install(EXTRAS.get(runtime, ""))
        raise EngineUnavailable(
            f"the runtime {runtime!r} is not installed ({error}): {mend}"
        ) from error
