"""The Engine contract that every runtime keeps."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamfilter.inference.manifest import Manifest

Batch = npt.NDArray[np.float32]


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
        """Name and version of the runtime, such as ``onnxruntime 1.20.1``."""
        ...

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each (N, C, H, W) shape, so that the first alert is not slow."""
        ...

    def infer(self, batch: Batch) -> Batch:
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
