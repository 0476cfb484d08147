"""Checks engines: in the cache, undamaged, and running; and the GPU where one is needed."""

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

from streamfilter.config import Exposures, FrameContaminants, Settings, TrackingEngine
from streamfilter.doctor.findings import Finding, State, failed, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import ConfigurationInvalid, EngineUnavailable, how_to_install
from streamfilter.inference import cache, runtimes
from streamfilter.inference.engine import Plans
from streamfilter.inference.manifest import Manifest, load
from streamfilter.service.assembly.engines import chosen_engines
from streamfilter.service.assembly.exposures import cosmic_ray_engine

# Runtimes that need a GPU, and the modules that they import.
_GPU_RUNTIMES = {"tensorrt": ("tensorrt", "pycuda")}
_NVIDIA_S = 20.0


@dataclass(frozen=True, slots=True)
class _ConfiguredEngine:
    """A network that a worker with these settings runs."""

    name: str
    runtime: str
    threads: int
    precision: str


def _configured(settings: Settings) -> list[_ConfiguredEngine]:
    own, exposures = settings.engine, settings.exposures
    configured = []
    for each in chosen_engines(settings).values() if settings.alerts.topics else ():
        configured.append(_ConfiguredEngine(each.name, each.runtime, own.threads, each.precision))
    masking = exposures.contaminants
    engines: list[tuple[Exposures | FrameContaminants, TrackingEngine]] = [
        (exposures, exposures.engine),
        (masking, masking.engine),
    ]
    alone = cosmic_ray_engine(masking) if masking.topics else None
    if alone is not None and alone.name != masking.engine.name:
        engines.append((masking, alone))
    for reader, each in engines:
        if reader.topics:
            threads = reader.threads or os.cpu_count() or 1
            configured.append(_ConfiguredEngine(each.name, each.runtime, threads, each.precision))
    return configured


def check(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check the networks of these settings, each on its runtime."""
    home = settings.engine.home or cache.default_home(os.environ)
    try:
        engines = _configured(settings)
    except ConfigurationInvalid as error:
        yield failed("engine", "exposures.contaminants.cosmic_rays", error)
        return
    for configured in engines:
        try:
            manifest = load(configured.name)
            whole = yield from _cached(manifest, home, settings.engine.home)
            if whole:
                yield _run(manifest, configured, home, settings.batch.size)
        except EngineUnavailable as error:
            yield failed("engine", f"{configured.name} on {configured.runtime}", error)


def _cached(manifest: Manifest, home: Path, named: Path | None) -> Generator[Finding, None, bool]:
    """Check a cached file; the generator's value is whether it is undamaged and its own user's."""
    path = cache.onnx_path(manifest, home)
    sha256 = cache.sha256_of(path)
    # Fetching knows no settings; on a machine that reaches no index it takes --wheel FILE.
    place = "" if named is None else f"STREAMFILTER_HOME={shlex.quote(str(named))} "
    mend = f"{place}streamfilter engines fetch {manifest.name}"
    if sha256 != manifest.onnx_sha256:
        what = f"no file {path}" if sha256 is None else f"{path} is damaged, sha256 {sha256[:12]}"
        yield Finding(
            "engine", f"{manifest.name} in the cache", State.FAILED, what,
            f"sha256 {manifest.onnx_sha256[:12]}", mend,
        )  # fmt: skip
        return False
    cache.check_own(path, home)
    yield ok("engine", f"{manifest.name} in the cache", f"{path}, whole")
    return True


def _run(manifest: Manifest, configured: _ConfiguredEngine, home: Path, batch_size: int) -> Finding:
    """Open an engine and time two batches; a missing plan is not built."""
    engine = runtimes.open_engine(
        configured.name,
        configured.runtime,
        home,
        configured.threads,
        precision=configured.precision,
        plans=Plans.REFUSE,
    )
    side = manifest.sides_px[0]
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
        f"{count} of {side} px on {configured.threads} threads: {first}, then {again}",
    )  # fmt: skip


def check_gpu(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check the driver, the memory, and the libraries that the runtime needs."""
    used = {each.runtime for each in _configured(settings)}
    modules = [each for runtime in used for each in _GPU_RUNTIMES.get(runtime, ())]
    if not modules:
        yield not_applicable("gpu", ", ".join(sorted(used)), "no runtime is named that needs one")
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
    """Ask the driver for its devices, without making a context on one."""
    tool = shutil.which("nvidia-smi")
    fields = "name,driver_version,memory.free,memory.total"
    devices = ""
    if tool is not None:
        try:
            done = subprocess.run(
                [tool, f"--query-gpu={fields}", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=_NVIDIA_S, check=False,
            )  # fmt: skip
            devices = done.stdout.strip() if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            devices = ""
    if not devices:
        return Finding(
            "gpu", "driver", State.FAILED, "nvidia-smi is not here or shows no device",
            "a device with its driver", "install NVIDIA's driver; in a container pass the GPU in",
        )  # fmt: skip
    return ok("gpu", "driver", "; ".join(devices.splitlines()))
