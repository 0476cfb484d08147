"""The Engine interface, which every runtime implements."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.manifest import Manifest, Precision
from streamfilter.inference.progress import Progress, silent

Tensor = npt.NDArray[np.float32]

# Activations of MaxiMask take 1.3 kB a pixel, and a runtime keeps that memory: 65,536 px (16 stamps
# of 64 px) take about 0.1 GB. Larger runs are no faster per stamp.
_RUN_PX = 2**16


class Plans(StrEnum):
    """What a runtime that needs a plan does where no plan matches."""

    BUILD = "build"
    """Build it, which takes minutes at the first start on a model of GPU."""
    REFUSE = "refuse"
    """Do not start: only ``streamfilter engines build`` builds plans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Settings for running an engine on a runtime."""

    threads: int = 1
    """Threads within one batch; 0: one per core."""
    workers: int = 1
    """Batches at a time; with more callers they wait or share, depending on the runtime."""
    precision: Precision = Precision.FLOAT32
    plans: Plans = Plans.BUILD
    progress: Progress = silent
    """Called with a line of text for each slow step of opening an engine."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a GPU's memory."""

    buffers: int
    """Memory for an engine's batches, without its weights."""
    free: int
    """Free memory of the whole device."""
    total: int


@runtime_checkable
class OnDevice(Protocol):
    """An engine that uses memory of a GPU."""

    @property
    def device_memory(self) -> DeviceMemory:
        """The memory after its last change."""
        ...


class Engine(Protocol):
    """A network that is opened on one runtime.

    Thread rule: several threads may call ``infer`` at once. Buffers: the batch stays the caller's
    and is not used after the return; the result is the caller's own.
    """

    @property
    def manifest(self) -> Manifest:
        """The engine's inputs and outputs."""
        ...

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, such as ``onnxruntime 1.20.1``.

        A precision other than float32 is added, such as ``openvino 2026.4.1 bf16``.
        """
        ...

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each (N, C, H, W) shape, so that the first alert is not slow."""
        ...

    def infer(self, batch: Tensor) -> Tensor:
        """Returns the raw probabilities of a batch.

        Parameters
        ----------
        batch
            (N, C, H, W), background-subtracted, in units of sigma, finite; C the manifest's
            planes, H and W as the manifest's shape rule says.

        Returns
        -------
        array
            (N, K, H, W) for pixel networks, (N, K) for tile networks; K classes in the
            manifest's order; in [0, 1].

        Raises
        ------
        EngineUnavailable
            The batch does not fit the manifest, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Release what the runtime holds; the engine must not be used again."""
        ...


def check_names(manifest: Manifest, names: Sequence[str], found_in: object) -> None:
    """Refuse a network whose inputs and outputs are not the manifest's.

    Raises
    ------
    EngineUnavailable
        The names differ; the message has the found and the expected ones.
    """
    expected = [manifest.input_name, manifest.output_name]
    if list(names) != expected:
        raise EngineUnavailable(
            f"{found_in} has inputs and outputs {list(names)}; the manifest of {manifest.name} "
            f"says {expected}"
        )


def in_runs(run: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Run a batch in parts, so that a runtime never holds too many pixels at a time."""
    count, _, height, width = batch.shape
    step = max(1, _RUN_PX // (height * width))
    if count <= step:
        return run(batch)
    return np.concatenate([run(batch[start : start + step]) for start in range(0, count, step)])
