"""The Engine contract that every runtime keeps."""

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

# Activations of MaxiMask take 1.3 kB a pixel and a runtime keeps the room for them: 65,536 px
# (16 stamps of 64 px) hold about 0.1 GB. Larger runs are no quicker a stamp.
_RUN_PX = 2**16


class Plans(StrEnum):
    """What a runtime that needs a plan does where it has none that matches."""

    BUILD = "build"
    """Build it: minutes, at the first start on a model of GPU."""
    REFUSE = "refuse"
    """Do not start: plans come from ``streamfilter engines build`` alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """How a runtime is to run an engine."""

    threads: int = 1
    """Within one batch; 0: every core."""
    workers: int = 1
    """Batches at a time; more callers wait, or share, as the runtime does it."""
    precision: Precision = Precision.FLOAT32
    plans: Plans = Plans.BUILD
    progress: Progress = silent
    """Told what takes long when an engine is opened."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a GPU's memory."""

    buffers: int
    """Of an engine's batches; its weights come on top."""
    free: int
    """Of the whole device, with what other processes leave."""
    total: int


@runtime_checkable
class OnDevice(Protocol):
    """An engine that has memory of a GPU."""

    @property
    def device_memory(self) -> DeviceMemory:
        """As of the last time that it took or gave back any."""
        ...


class Engine(Protocol):
    """A network that is open on one runtime.

    Thread rule: ``infer`` may be called from several threads at once. Buffers: the caller keeps
    its batch, which is not touched after the return; the result is the caller's own.
    """

    @property
    def manifest(self) -> Manifest:
        """What the engine takes and gives."""
        ...

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, such as ``onnxruntime 1.20.1``.

        A precision other than float32 follows, such as ``openvino 2026.4.1 bf16``.
        """
        ...

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each (N, C, H, W) shape, so that the first alert is not slow."""
        ...

    def infer(self, batch: Tensor) -> Tensor:
        """Raw probabilities of a batch.

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
        """Give back what the runtime holds; the engine is not used again."""
        ...


def check_names(manifest: Manifest, names: Sequence[str], found_in: object) -> None:
    """Refuse a network whose inputs and outputs are not the manifest's.

    Raises
    ------
    EngineUnavailable
        Names what was found in the file and what the manifest says.
    """
    expected = [manifest.input_name, manifest.output_name]
    if list(names) != expected:
        raise EngineUnavailable(
            f"{found_in} has inputs and outputs {list(names)}; the manifest of {manifest.name} "
            f"says {expected}"
        )


def in_runs(run: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Run a batch in parts of no more pixels than a runtime should hold at a time."""
    count, _, height, width = batch.shape
    step = max(1, _RUN_PX // (height * width))
    if count <= step:
        return run(batch)
    return np.concatenate([run(batch[start : start + step]) for start in range(0, count, step)])
