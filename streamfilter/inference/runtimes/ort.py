"""ONNX Runtime on CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.engine import Engine, Running, Tensor, check_names, in_runs
from streamfilter.inference.manifest import Manifest, Precision

VERSION = onnxruntime.__version__
"""Version of the library."""


def precisions() -> tuple[Precision, ...]:
    """Returns the precisions of this runtime."""
    return (Precision.FLOAT32,)


def open(manifest: Manifest, onnx_path: Path, running: Running) -> Engine:
    """Open an ONNX file on CPU; as many batches run at a time as there are callers.

    Raises
    ------
    EngineUnavailable
        ONNX Runtime does not accept the file, the file is not the manifest's, or the precision is
        not float32.
    """
    if running.precision not in precisions():
        raise EngineUnavailable(
            f"the runtime 'onnxruntime' has no precision {str(running.precision)!r}; "
            "choose 'float32', or a runtime that has it"
        )
    session = _session(onnx_path, running.threads)
    names = [node.name for node in (*session.get_inputs(), *session.get_outputs())]
    check_names(manifest, names, onnx_path)
    return _OrtEngine(manifest, session)


def _session(onnx_path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Returns a session with settings for small batches of changing shape on shared cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Errors become exceptions; a line on stderr would break the form of the log.
    options.log_severity_level = 4
    # With a memory plan per shape the arena grows with every new shape; without, it does not.
    options.enable_mem_pattern = False
    # Idle threads sleep, because spinning takes the cores from decoding and Kafka. Smaller blocks
    # towards the end of an operator make up for a thread that wakes late.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.dynamic_block_base", "4")
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
        self._session: onnxruntime.InferenceSession | None = session

    @property
    def manifest(self) -> Manifest:
        """The engine's inputs and outputs."""
        return self._manifest

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return f"onnxruntime {VERSION}"

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each shape."""
        for shape in shapes:
            self.infer(np.zeros(shape, np.float32))

    def infer(self, batch: Tensor) -> Tensor:
        """Returns the raw probabilities of a batch; see ``Engine.infer``."""
        self._manifest.check(batch)
        return in_runs(self._run, batch)

    def close(self) -> None:
        """Release the session's memory, once the last batch in flight is done."""
        self._session = None

    def _run(self, batch: Tensor) -> Tensor:
        """Run the session once."""
        session = self._session
        if session is None:
            raise EngineUnavailable(f"the engine {self._manifest.name} was closed")
        wanted, given = [self._manifest.output_name], {self._manifest.input_name: batch}
        try:
            result: Tensor = session.run(wanted, given)[0]
        except Exception as error:  # its exceptions share no base below Exception
            raise EngineUnavailable(
                f"ONNX Runtime failed on a batch of shape {batch.shape}: {error}"
            ) from error
        return result
