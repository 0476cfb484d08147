"""Builds plans for GPUs from an engine's ONNX file; runs none.

The caller passes the module of TensorRT or TensorRT-RTX; only functions that 10, 11 and RTX all
have are called. The precision is that of the types in the ONNX file.
"""

import functools
import importlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from streamfilter.errors import EngineUnavailable, how_to_install
from streamfilter.inference.engine import check_names
from streamfilter.inference.manifest import Manifest
from streamfilter.inference.progress import Progress, silent

Shape = tuple[int, int, int, int]

# Each side in use, and that of frames, has a profile, for which the builder tunes.
_FRAME_PX = 400
_LARGEST_PX = 2**20  # pixels of a batch: activations of MaxiMask take 1.3 kB a pixel
_MOST = 256  # images in a batch

# Images of other sides share one profile, one image at a time: tiles of frames that are masked.
_OTHER_BEST_PX, _OTHER_MOST_PX = 400, 896

# A build on a GPU takes minutes; a line of progress after each interval is enough.
_PROGRESS_S = 10.0

# The process has one logger; whoever holds this lock owns its errors.
_building = threading.Lock()


@dataclass(frozen=True, slots=True)
class Profile:
    """Smallest and largest shape (N, C, H, W) of a plan, and the shape that it is tuned for."""

    least: Shape
    best: Shape
    most: Shape


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan from the builder, with its measurements."""

    plan: bytes
    timings: bytes
    """Time of each kernel on this GPU, so that a later build need not measure again."""


def builder() -> ModuleType:
    """Returns TensorRT's module, which only a host with a GPU has.

    Raises
    ------
    EngineUnavailable
        TensorRT is not installed.
    """
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # it searches for its libraries itself
        raise EngineUnavailable(
            f"TensorRT is not installed ({error}): on the host with the GPU, which is where plans "
            f"are built, {how_to_install('tensorrt')}"
        ) from error


def profiles(manifest: Manifest) -> tuple[Profile, ...]:
    """Returns a profile for each side in use, and a last one for all other sides."""
    only, planes = manifest.shape.side_px, len(manifest.planes)
    made = []
    for side in (only,) if only else (*manifest.sides_px, _FRAME_PX):
        most = min(_MOST, max(1, _LARGEST_PX // side**2))
        least, best, largest = ((count, planes, side, side) for count in (1, min(16, most), most))
        made.append(Profile(least, best, largest))
    if only is None:
        sides = manifest.shape.min_side_px, _OTHER_BEST_PX, _OTHER_MOST_PX
        made.append(Profile(*((1, planes, side, side) for side in sides)))
    return tuple(made)


def options(manifest: Manifest) -> str:
    """Returns the builder's options in words, as a part of the plan's key."""
    shapes = (
        f"{each.least[0]} to {each.most[0]} (tuned for {each.best[0]}) of {each.least[2]} to "
        f"{each.most[2]} px (tuned for {each.best[2]})"
        for each in profiles(manifest)
    )
    return f"strongly typed, no TF32; {', '.join(shapes)}"


def build(
    trt: ModuleType,
    manifest: Manifest,
    onnx: bytes,
    *,
    capability: str | None = None,
    timings: bytes | None = None,
    progress: Progress = silent,
) -> BuiltPlan:
    """Build a serialised plan.

    Parameters
    ----------
    trt
        ``tensorrt`` or ``tensorrt_rtx``.
    manifest, onnx
        The engine and its ONNX file.
    capability
        A member of RTX's ``ComputeCapability``, such as ``SM86``, for a GPU that is elsewhere;
        None builds for the GPU of this machine.
    timings
        Timings of earlier builds on this GPU; those of another version or GPU are ignored. None
        for a GPU that is elsewhere: nothing can be measured, and the result has none.
    progress
        Called with a line of text about the state of the build.

    Raises
    ------
    EngineUnavailable
        The module cannot build here, or the network cannot be parsed or compiled; with the
        builder's errors.
    """
    with _building:
        said = logger(trt).said
        said.clear()
        try:
            built = _build(trt, manifest, onnx, capability, timings, progress)
        except (TypeError, AttributeError) as error:  # no GPU; no such capability
            raise _unavailable(trt, manifest, [*said, str(error)]) from error
        if built is None:
            raise _unavailable(trt, manifest, said)
        return built


def _build(
    trt: ModuleType,
    manifest: Manifest,
    onnx: bytes,
    capability: str | None,
    timings: bytes | None,
    progress: Progress,
) -> BuiltPlan | None:
    """Returns the plan; None where the builder failed, which only its logger explains."""
    said = logger(trt).said
    builder = trt.Builder(logger(trt))
    # Strong typing is an option of 10, and all that 11 has.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger(trt))
    # Damaged bytes may be parsed without an error, to an empty network.
    if not parser.parse(onnx) or parser.num_errors or not network.num_outputs:
        said.extend(str(parser.get_error(at)) for at in range(parser.num_errors))
        return None
    nodes = [network.get_input(at) for at in range(network.num_inputs)]
    nodes += [network.get_output(at) for at in range(network.num_outputs)]
    check_names(manifest, [node.name for node in nodes], "the network")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # ten bits of significand where float32 is asked for
    config.progress_monitor = _monitor(trt, progress)
    if timings is not None:
        _start_from(config, timings)
    for each in profiles(manifest):
        profile = builder.create_optimization_profile()
        profile.set_shape(manifest.input_name, each.least, each.best, each.most)
        config.add_optimization_profile(profile)
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None
    measured = b"" if timings is None else bytes(config.get_timing_cache().serialize())
    return BuiltPlan(bytes(plan), measured)


def _start_from(config: Any, timings: bytes) -> None:
    """Give a build the timings of earlier builds, or empty ones where they do not fit."""
    earlier = config.create_timing_cache(timings)
    if earlier is None or not config.set_timing_cache(earlier, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _unavailable(trt: ModuleType, manifest: Manifest, said: Sequence[str]) -> EngineUnavailable:
    reasons = "; ".join(said) or "it did not say why"
    return EngineUnavailable(
        f"{trt.__name__} {trt.__version__} cannot build a plan of {manifest.name}: {reasons}"
    )


@functools.cache
def logger(trt: ModuleType) -> Any:  # its class is derived from the module's
    """Returns a module's logger, which must live as long as the process; ``said``: its errors."""
    severe = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
    said: list[str] = []

    def log(_: object, severity: object, message: str) -> None:
        if severity in severe:
            said.append(message)

    return type("Logger", (trt.ILogger,), {"log": log, "said": said})()


def _monitor(trt: ModuleType, progress: Progress) -> Any:  # as for the logger
    """Returns a monitor that reports the state of a build's current phase in intervals."""
    steps: dict[str, int] = {}
    reported_s = time.monotonic()

    def phase_start(_: object, phase: str, parent: str | None, count: int) -> None:
        steps[phase] = count

    def step_complete(_: object, phase: str, step: int) -> bool:
        nonlocal reported_s
        if time.monotonic() - reported_s >= _PROGRESS_S:
            reported_s = time.monotonic()
            progress(f"{phase}: {step} of {steps[phase]}")
        return True  # go on

    def phase_finish(_: object, phase: str) -> None:
        steps.pop(phase, None)

    methods = {
        "__init__": lambda self: trt.IProgressMonitor.__init__(self),
        "phase_start": phase_start,
        "step_complete": step_complete,
        "phase_finish": phase_finish,
    }
    return type("Monitor", (trt.IProgressMonitor,), methods)()
