"""Engines: in the cache, whole, and run once; and the GPU where one is asked for."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np

from streamfilter.alerts.normalise import SIDES_PX
from streamfilter.config import Settings
from streamfilter.doctor.findings import Finding, State, failed, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import EngineUnavailable, how_to_install
from streamfilter.inference import cache, runtimes
from streamfilter.inference.engine import Plans
from streamfilter.inference.manifest import Manifest, load

# Runtimes that need a GPU, and the modules that they need.
_GPU_RUNTIMES = {"tensorrt": ("tensorrt", "pycuda")}
_NVIDIA_S = 20.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A network that these settings run."""

    name: str
    runtime: str
    threads: int
    precision: str


def _wanted(settings: Settings) -> list[_Wanted]:
    own, exposures = settings.engine, settings.exposures
    found = []
    if settings.alerts.topics:
        found.append(_Wanted(own.name, own.runtime, own.threads, own.precision))
    for reader, each in (
        (exposures, exposures.engine),
        (exposures.contaminants, exposures.contaminants.engine),
    ):
        if reader.topics:
            threads = reader.threads or os.cpu_count() or 1
            found.append(_Wanted(each.name, each.runtime, threads, each.precision))
    return found


def check(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """The networks that these settings run, each on its runtime."""
    home = settings.engine.home or cache.default_home(os.environ)
    for wanted in _wanted(settings):
        try:
            manifest = load(wanted.name)
            whole = yield from _cached(manifest, home, settings.engine.home)
            if whole:
                yield _run(manifest, wanted, home, settings.batch.size)
        except EngineUnavailable as error:
            yield failed("engine", f"{wanted.name} on {wanted.runtime}", error)


def _cached(manifest: Manifest, home: Path, named: Path | None) -> Generator[Finding, None, bool]:
    """The generator's value is whether the file is whole, and nobody else's."""
    path = cache.onnx_path(manifest, home)
    found = cache.sha256_of(path)
    # Fetching knows no settings; on a machine that reaches no index it takes --wheel FILE.
    place = "" if named is None else f"STREAMFILTER_HOME={shlex.quote(str(named))} "
    mend = f"{place}streamfilter engines fetch {manifest.name}"
    if found != manifest.onnx_sha256:
        what = f"no file {path}" if found is None else f"{path} is damaged, sha256 {found[:12]}"
        yield Finding(
            "engine", f"{manifest.name} in the cache", State.FAILED, what,
            f"sha256 {manifest.onnx_sha256[:12]}", mend,
        )  # fmt: skip
        return False
    cache.check_own(path, home)
    yield ok("engine", f"{manifest.name} in the cache", f"{path}, whole")
    return True


def _run(manifest: Manifest, wanted: _Wanted, home: Path, batch_size: int) -> Finding:
    """Open an engine and time a batch; a plan that is not there is not built."""
    engine = runtimes.open_engine(
        wanted.name,
        wanted.runtime,
        home,
        wanted.threads,
        precision=wanted.precision,
        plans=Plans.REFUSE,
    )
    side = manifest.shape.side_px or SIDES_PX[0]
    count = 1 if manifest.shape.side_px else batch_size
    batch = np.zeros((count, len(manifest.planes), side, side), np.float32)
    times = []
    for _ in range(2):
        started = perf_counter()
        engine.infer(batch)
        times.append(perf_counter() - started)
    engine.close()
    first, again = (f"{1e3 * each:.0f} ms" for each in times)
    return ok(
        "engine", f"{manifest.name} on {engine.runtime}",
        f"{count} of {side} px on {wanted.threads} threads: {first}, then {again}",
    )  # fmt: skip


def check_gpu(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Driver, memory, and the libraries that the runtime needs."""
    asked = {wanted.runtime for wanted in _wanted(settings)}
    modules = [each for runtime in asked for each in _GPU_RUNTIMES.get(runtime, ())]
    if not modules:
        yield not_applicable("gpu", ", ".join(sorted(asked)), "no runtime is named that needs one")
        return
    for module in modules:
        if find_spec(module) is None:
            yield Finding(
                "gpu", module, State.FAILED, "not installed", "installed",
                how_to_install("tensorrt"),
            )  # fmt: skip
        else:
            yield ok("gpu", module, "installed")
    yield _driver()


def _driver() -> Finding:
    """What the driver says of its devices; no context is made there."""
    tool = shutil.which("nvidia-smi")
    fields = "name,driver_version,memory.free,memory.total"
    said = ""
    if tool is not None:
        try:
            done = subprocess.run(
                [tool, f"--query-gpu={fields}", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=_NVIDIA_S, check=False,
            )  # fmt: skip
            said = done.stdout.strip() if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            said = ""
    if not said:
        return Finding(
            "gpu", "driver", State.FAILED, "nvidia-smi is not here or shows no device",
            "a device with its driver", "install NVIDIA's driver; in a container pass the GPU in",
        )  # fmt: skip
    return ok("gpu", "driver", "; ".join(said.splitlines()))
