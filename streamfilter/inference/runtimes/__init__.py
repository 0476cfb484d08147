"""Runtimes that run an engine's ONNX file, each a leaf module loaded when it is chosen.

A runtime's module has ``open(manifest, onnx_path, *, threads) -> Engine``.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import fetch
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import load

RUNTIMES: dict[str, str] = {
    "onnxruntime": "streamfilter.inference.runtimes.ort",
}
"""Runtime name: module."""

# The extra of streamfilter that brings a runtime's libraries; none for what every install has.
_EXTRAS: dict[str, str] = {}


def open_engine(
    name: str,
    runtime: str,
    home: Path,
    threads: int,
    *,
    wheel: Path | None = None,
    progress: fetch.Progress = fetch.silent,
) -> Engine:
    """Open an engine on a runtime; its ONNX file is fetched first where it is not cached.

    Parameters
    ----------
    name
        Of the engine, as in ``engines/``.
    runtime
        A key of ``RUNTIMES``. No other runtime is taken in its place.
    home
        The engine cache.
    threads
        Of the runtime, for one batch; 0 lets the runtime take every core.
    wheel, progress
        As for ``fetch``.

    Raises
    ------
    EngineUnavailable
        The engine or the runtime is unknown, not installed, or does not work here.
    """
    opener = _opener(runtime)
    manifest = load(name)
    path = fetch.fetch_release(manifest, home, wheel=wheel, progress=progress)
    return opener(manifest, path, threads=threads)


def _opener(runtime: str) -> Callable[..., Engine]:
    """The ``open`` of a runtime's module."""
    if runtime not in RUNTIMES:
        raise EngineUnavailable(f"no runtime {runtime!r}; there are {', '.join(sorted(RUNTIMES))}")
    try:
        module = importlib.import_module(RUNTIMES[runtime])
    except ImportError as error:
        extra = _EXTRAS.get(runtime)
        package = f"streamfilter[{extra}]" if extra else "streamfilter"
        raise EngineUnavailable(
            f"the runtime {runtime!r} is not installed ({error}): pip install '{package}'"
        ) from error
    return cast("Callable[..., Engine]", module.open)
