"""Plans that are kept: each for one network, version of the builder, and model of GPU.

A plan is code that the GPU's driver runs: it is read only from a folder that nobody else may
write to, and beside it stands what it was built for, with its sha256.
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
"""What a plan can be of; the types in the ONNX file decide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """All that a plan depends on; a change of any makes another plan."""

    network: str
    """The sha256 of the float32 ONNX file."""
    precision: str
    converter: str
    """What made the float16 file; empty at float32."""
    builder: str
    """Module and version, such as ``tensorrt 10.13.2``."""
    gpu: str
    capability: str
    options: str
    """What the builder is told, and the shapes that the plan takes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A plan in the cache and what it was built for."""

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
    """The plan of an engine for a GPU: kept, or built by one process while others wait.

    Parameters
    ----------
    trt
        ``tensorrt`` or ``tensorrt_rtx``.
    manifest, onnx_path
        The engine and its float32 ONNX file; plans are kept beside it, in ``plans``.
    gpu
        What to build for.
    running
        Precision, whether to build, and whom to tell.
    elsewhere
        As ``capability`` of ``plans.build``: the GPU is not in this machine.

    Raises
    ------
    EngineUnavailable
        There is no such precision, no plan matches and none may be built, the build failed, or
        the folder may be written by others.
    """
    if running.precision not in PRECISIONS:
        raise EngineUnavailable(
            f"plans for GPUs have no precision {str(running.precision)!r}; choose "
            f"{' or '.join(map(repr, map(str, PRECISIONS)))}"
        )
    network = _read(onnx_path)
    key = _key(trt, manifest, network, gpu, running.precision)
    place = onnx_path.parent / "plans" / f"{_stem(trt, gpu, running.precision)}.plan"

    def make(timings: bytes) -> plans.Built:
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

    return kept_or_made(f"{manifest.name} at {running.precision}", place, key, running, make)


def kept_or_made(
    what: str, place: Path, key: Key, running: Running, make: Callable[[bytes], plans.Built]
) -> bytes:
    """The plan at a place, made first where none matches the key.

    Parameters
    ----------
    what
        The plan in words.
    place, key, running
        Where it is, what it must be for; whether it may be made, and whom to tell.
    make
        Takes the timings of earlier builds.

    Raises
    ------
    EngineUnavailable
        As for ``plan_for``.
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
    with cache.only_one(
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


def kept(onnx_path: Path) -> tuple[Kept, ...]:
    """Plans beside an ONNX file, sorted by path; what is no plan of ours is passed over."""
    found = []
    for path in sorted((onnx_path.parent / "plans").glob("*.plan")):
        facts = _facts(path)
        if facts is not None:
            found.append(Kept(path, facts[0], path.stat().st_size))
    return tuple(found)


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
    """A name for each precision, builder and GPU: hosts may share a home."""
    model = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-").lower()
    return f"{precision}-{trt.__name__}-{model}"


def _matching(place: Path, key: Key) -> bytes | str:
    """The plan, or why there is none.

    Raises
    ------
    EngineUnavailable
        Somebody else may have written it.
    """
    if not place.parent.exists():
        return f"there is no plan {place}"
    facts = _facts(place)
    if facts is None:
        return f"there is no plan {place}"
    found, sha256 = facts
    other = [
        f"its {field.name} is {getattr(found, field.name)!r}, here {getattr(key, field.name)!r}"
        for field in dataclasses.fields(Key)
        if getattr(found, field.name) != getattr(key, field.name)
    ]
    if other:
        return f"the plan {place} does not match: {'; '.join(other)}"
    cache.check_own(place, place.parent)
    plan = _read(place)
    if hashlib.sha256(plan).hexdigest() != sha256:
        return f"the plan {place} is damaged (its sha256 is not what it was built with)"
    return plan


def _facts(place: Path) -> tuple[Key, str] | None:
    """What a plan was built for, and its sha256; None where it is not there whole."""
    try:
        facts = json.loads(_facts_of(place).read_bytes())
        return (Key(**facts["key"]), facts["sha256"]) if place.exists() else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(place: Path, key: Key, plan: bytes) -> None:
    """Write a plan, then what it was built for: one without the other is no plan."""
    remove_unfinished(place)
    write_whole(place, plan)
    facts = {"key": dataclasses.asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}
    write_whole(_facts_of(place), json.dumps(facts, indent=1).encode())


def _facts_of(place: Path) -> Path:
    return place.with_suffix(".json")


def _make_own(folder: Path) -> None:
    """A folder that only this user writes to."""
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
