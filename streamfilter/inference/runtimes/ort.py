"""ONNX Runtime on CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.engine import Batch, Engine
from streamfilter.inference.manifest import Manifest


def open(manifest: Manifest, onnx_path: Path, *, threads: int) -> Engine:
    """Open an ONNX file on CPU with this many threads per batch; 0 takes every core.

    Raises
    ------
    EngineUnavailable
        The file is not an ONNX model that this ONNX Runtime takes, or not the manifest's.
    """
    return _OrtEngine(manifest, _session(onnx_path, threads))


def _session(onnx_path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session with settings for small batches on shared cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors come as exceptions
    try:
        return onnxruntime.InferenceSession(
            str(onnx_path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no base below Exception
        raise EngineUnavailable(f"ONNX Runtime cannot open {onnx_path}: {error}") from error


class _OrtEngine:
    """An engine on ONNX Runtime; a session may be run from several threads at once."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self._manifest = manifest
        self._session = session

    @property
    def manifest(self) -> Manifest:
        """What the engine takes and gives."""
        return self._manifest

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return f"onnxruntime {onnxruntime.__version__}"

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each shape."""
        for shape in shapes:
            self.infer(np.zeros(shape, np.float32))

    def infer(self, batch: Batch) -> Batch:
        """Raw probabilities of a batch; see ``Engine.infer``."""
        self._manifest.check(batch)
        try:
            (result,) = self._session.run(
                [self._manifest.output_name], {self._manifest.input_name: batch}
            )
        except Exception as error:  # its exceptions share no base below Exception
            raise EngineUnavailable(
                f"ONNX Runtime failed on a batch of shape {batch.shape}: {error}"
            ) from error
        probabilities: Batch = result
        return probabilities

    def close(self) -> None:
        """Give back the session's memory."""
        del self._session
