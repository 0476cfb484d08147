"""The cache of plans: each is for one network, version of the builder, and model of GPU.

A plan is code that the GPU's driver runs, so it is read only from a folder that nobody else may
write. A file beside it says what it was built for, and its sha256.
"""

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from streamfilter.errors import EngineUnavailable
from streamfilter.files import remove_unfinished, write_whole
from streamfilter.inference import cache, float16, plans
from streamfilter.inference.engine import Plans, Running
from streamfilter.inference.gpus import Gpu
from streamfilter.inference.manifest import Manifest, Precision

PRECISIONS = (Precision.FLOAT32, Precision.FP16)
"""Precisions of plans; the types in the ONNX file decide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """Everything that a plan depends on: where one value differs, the plan does not match."""

    network: str
    """The sha256 of the float32 ONNX file."""
    precision: str
    converter: str
    """The converter of the float16 file; empty at float32."""
    builder: str
    """Module and version, such as ``tensorrt 10.13.2``."""
    gpu: str
    capability: str
    options: str
    """The builder's options, and the shapes that the plan takes."""


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """A plan in the cache and its key."""

    path: Path
    key: Key
    size_bytes: int


def plan_for(
    trt: ModuleType,
    manifest: Manifest,
    onnx_path: Path,
    gpu: Gpu,
    running: Running,
    *,
    elsewhere: str | None = None,
) -> bytes:
    """Returns an engine's plan for a GPU: from the cache, or built while other processes wait.

    Parameters
    ----------
    trt
        ``tensorrt`` or ``tensorrt_rtx``.
    manifest, onnx_path
        The engine and its float32 ONNX file; plans are in the folder ``plans`` beside it.
    gpu
        The GPU to build for.
    running
        Gives the precision, whether to build, and the progress function.
    elsewhere
        The ``capability`` of ``plans.build`` for a GPU that is not in this machine.

    Raises
    ------
    EngineUnavailable
        There is no such precision, no plan matches and none may be built, the build failed, or
        others may write the folder.
    """
    if running.precision not in PRECISIONS:
        raise EngineUnavailable(
            f"plans for GPUs have no precision {str(running.precision)!r}; choose "
            f"{' or '.join(map(repr, map(str, PRECISIONS)))}"
        )
    network = _read(onnx_path)
    key = _key(trt, manifest, network, gpu, running.precision)
    place = onnx_path.parent / "plans" / f"{_stem(trt, gpu, running.precision)}.plan"

    def make(timings: bytes) -> plans.BuiltPlan:
        try:
            onnx = float16.to_float16(network) if running.precision is Precision.FP16 else network
            return plans.build(
                trt,
                manifest,
                onnx,
                capability=elsewhere,
                timings=timings if elsewhere is None else None,
                progress=running.progress,
            )
        except EngineUnavailable as error:
            raise EngineUnavailable(f"{onnx_path}: {error}") from error

    return cached_or_built(f"{manifest.name} at {running.precision}", place, key, running, make)


def cached_or_built(
    what: str, place: Path, key: Key, running: Running, make: Callable[[bytes], plans.BuiltPlan]
) -> bytes:
    """Returns the plan in a file; makes it first where none matches the key.

    Parameters
    ----------
    what
        Description of the plan.
    place, key, running
        The plan's file and key; whether it may be made, and the progress function.
    make
        Builds the plan from the timings of earlier builds.

    Raises
    ------
    EngineUnavailable
        See ``plan_for``.
    """
    found = _matching(place, key)
    if isinstance(found, bytes):
        return found
    if running.plans is Plans.REFUSE:
        raise EngineUnavailable(
            f"{what}: {found}, and engine.plans is 'refuse'; `streamfilter engines build` builds "
            "it on this host, engine.plans = 'build' at the next start"
        )
    _make_own(place.parent)
    with cache.folder_lock(
        place.parent,
        lambda: running.progress(f"waiting for another process that builds a plan of {what}"),
    ):
        found = _matching(place, key)
        if isinstance(found, bytes):
            return found  # another process built it while this one waited
        running.progress(f"{what}: {found}; building it by {key.builder} for {key.gpu} (minutes)")
        start = time.monotonic()
        try:
            timings = place.with_suffix(".timings")
            built = make(timings.read_bytes() if timings.exists() else b"")
            _write(place, key, built.plan)
            write_whole(timings, built.timings)
        except OSError as error:
            raise EngineUnavailable(
                f"{place} cannot be written ({error}); set STREAMFILTER_HOME to a folder with room"
            ) from error
    running.progress(f"{what}: built in {time.monotonic() - start:.0f} s, {place}")
    return built.plan


def cached_plans(onnx_path: Path) -> tuple[CachedPlan, ...]:
    """Returns the plans beside an ONNX file, sorted by path; ignores files that are no plans."""
    plans_found = []
    for path in sorted((onnx_path.parent / "plans").glob("*.plan")):
        facts = _facts(path)
        if facts is not None:
            plans_found.append(CachedPlan(path, facts[0], path.stat().st_size))
    return tuple(plans_found)


def _key(trt: ModuleType, manifest: Manifest, network: bytes, gpu: Gpu, precision: str) -> Key:
    return Key(
        network=hashlib.sha256(network).hexdigest(),
        precision=precision,
        converter=float16.CONVERTER if precision == Precision.FP16 else "",
        builder=f"{trt.__name__} {trt.__version__}",
        gpu=gpu.name,
        capability=gpu.capability,
        options=plans.options(manifest),
    )


def _stem(trt: ModuleType, gpu: Gpu, precision: str) -> str:
    """Returns a file name for a precision, builder and GPU: hosts may share a home."""
    model = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-").lower()
    return f"{precision}-{trt.__name__}-{model}"


def _matching(place: Path, key: Key) -> bytes | str:
    """Returns the matching plan, or why there is none.

    Raises
    ------
    EngineUnavailable
        Somebody else may have written the plan.
    """
    if not place.parent.exists():
        return f"there is no plan {place}"
    facts = _facts(place)
    if facts is None:
        return f"there is no plan {place}"
    plan_key, sha256 = facts
    differing = [
        f"its {field.name} is {getattr(plan_key, field.name)!r}, here {getattr(key, field.name)!r}"
        for field in dataclasses.fields(Key)
        if getattr(plan_key, field.name) != getattr(key, field.name)
    ]
    if differing:
        return f"the plan {place} does not match: {'; '.join(differing)}"
    cache.check_own(place, place.parent)
    plan = _read(place)
    if hashlib.sha256(plan).hexdigest() != sha256:
        return f"the plan {place} is damaged (its sha256 is not what it was built with)"
    return plan


def _facts(place: Path) -> tuple[Key, str] | None:
    """Returns a plan's key and sha256; None where the plan is missing or incomplete."""
    try:
        facts = json.loads(_facts_of(place).read_bytes())
        return (Key(**facts["key"]), facts["sha256"]) if place.exists() else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(place: Path, key: Key, plan: bytes) -> None:
    """Write a plan, then its key: one without the other is no plan."""
    remove_unfinished(place)
    write_whole(place, plan)
    facts = {"key": dataclasses.asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}
    write_whole(_facts_of(place), json.dumps(facts, indent=1).encode())


def _facts_of(place: Path) -> Path:
    return place.with_suffix(".json")


def _make_own(folder: Path) -> None:
    """Make a folder that only this user may write."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EngineUnavailable(
            f"{folder} cannot be made ({error.strerror}); set STREAMFILTER_HOME to a folder that "
            "can be written"
        ) from error
    cache.check_own(folder, folder)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineUnavailable(f"{path} cannot be read ({error.strerror})") from error
