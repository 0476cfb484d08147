"""OpenVINO on CPU, at float32 or bf16."""

import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.engine import Engine, Running, Tensor, check_names, in_runs
from streamfilter.inference.manifest import Manifest, Precision

# Importing OpenVINO reports the import to its makers and stores an identity in ~/intel, unless its
# telemetry cannot be imported. A service must not make calls that nobody configured.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

VERSION = openvino.__version__.partition("-")[0]
"""Version of the library, without the build's number and commit."""

# OpenVINO's names of the precisions.
_HINTS = {Precision.FLOAT32: "f32", Precision.BF16: "bf16"}

Requests = queue.LifoQueue[openvino.InferRequest]
"""Free requests; the last used one comes first, because its memory is warm."""


def precisions() -> tuple[Precision, ...]:
    """Returns the precisions of this CPU; bf16 only where the CPU does not emulate it slowly."""
    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return (Precision.FLOAT32, Precision.BF16) if has_bf16 else (Precision.FLOAT32,)


def open(manifest: Manifest, onnx_path: Path, running: Running) -> Engine:
    """Open an ONNX file on CPU; ``running.workers`` batches run at a time, others wait.

    Raises
    ------
    EngineUnavailable
        OpenVINO does not accept the file, the file is not the manifest's, or this CPU does not have
        the precision.
    """
    manifest.tolerance(running.precision)
    if running.precision not in _HINTS:
        raise EngineUnavailable(
            f"the runtime 'openvino' has no precision {str(running.precision)!r}; choose "
            f"{' or '.join(map(repr, map(str, _HINTS)))}, or a runtime that has it"
        )
    core = openvino.Core()
    if running.precision not in precisions():
        cpu = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
        raise EngineUnavailable(
            f"this CPU ({cpu}) has no {running.precision} (avx512_bf16 or amx_bf16); choose the "
            "precision 'float32'"
        )
    try:
        compiled = core.compile_model(core.read_model(onnx_path), "CPU", _settings(running))
    except Exception as error:  # its exceptions come from C++ and have no base class of their own
        raise EngineUnavailable(f"OpenVINO cannot open {onnx_path}: {_line(error)}") from error
    names = [port.get_any_name() for port in (*compiled.inputs, *compiled.outputs)]
    check_names(manifest, names, onnx_path)
    return _OpenVinoEngine(manifest, compiled, running)


def _settings(running: Running) -> dict[str, object]:
    """Returns properties for small batches of changing shape on shared cores.

    Without a precision hint OpenVINO would choose bf16 where the CPU has it. One model for all
    shapes is within 5 % of the speed of one model per shape, and takes less memory.
    """
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[running.precision],
        "NUM_STREAMS": str(running.workers),
        "INFERENCE_NUM_THREADS": running.threads * running.workers,
        # Pinned threads would wait for cores that decoding and Kafka use.
        "ENABLE_CPU_PINNING": False,
    }


def _line(error: Exception) -> str:
    """Returns the last line of an error: the lines before name OpenVINO's source files."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


class _OpenVinoEngine:
    """An engine on OpenVINO; a request belongs to one batch at a time."""

    def __init__(
        self, manifest: Manifest, compiled: openvino.CompiledModel, running: Running
    ) -> None:
        self._manifest = manifest
        self._precision = running.precision
        self._workers = running.workers
        # Two warm-ups at once, each waiting for all requests, would block each other.
        self._warming = threading.Lock()
        requests: Requests = queue.LifoQueue()
        for _ in range(running.workers):
            requests.put(compiled.create_infer_request())
        self._requests: Requests | None = requests

    @property
    def manifest(self) -> Manifest:
        """The engine's inputs and outputs."""
        return self._manifest

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, and the precision where it is not float32."""
        suffix = "" if self._precision is Precision.FLOAT32 else f" {self._precision}"
        return f"openvino {VERSION}{suffix}"

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each shape, in every request."""
        for shape in shapes:
            zeros = np.zeros(shape, np.float32)
            self._manifest.check(zeros)
            self._warm(zeros)

    def infer(self, batch: Tensor) -> Tensor:
        """Returns the raw probabilities of a batch; see ``Engine.infer``."""
        self._manifest.check(batch)
        return in_runs(self._run, batch)

    def close(self) -> None:
        """Release the requests and the model, once the last batch in flight is done."""
        self._requests = None

    def _warm(self, zeros: Tensor) -> None:
        """Run a batch in all requests at once, because each has its own memory."""
        requests = self._open_requests()
        with self._warming:
            taken = [requests.get() for _ in range(self._workers)]
            try:
                with ThreadPoolExecutor(self._workers) as pool:
                    runs = [partial(self._infer, request) for request in taken]
                    list(pool.map(lambda run: in_runs(run, zeros), runs))
            finally:
                for request in taken:
                    requests.put(request)

    def _run(self, batch: Tensor) -> Tensor:
        """Run a batch in the first free request."""
        requests = self._open_requests()
        request = requests.get()
        try:
            return self._infer(request, batch)
        finally:
            requests.put(request)

    def _open_requests(self) -> Requests:
        requests = self._requests
        if requests is None:
            raise EngineUnavailable(f"the engine {self._manifest.name} was closed")
        return requests

    def _infer(self, request: openvino.InferRequest, batch: Tensor) -> Tensor:
        """Copy a batch in, run it, and copy the probabilities out."""
        try:
            result: Tensor = request.infer(
                {self._manifest.input_name: batch}, share_inputs=False, share_outputs=False
            )[self._manifest.output_name]
        except Exception as error:  # its exceptions are those of C++
            raise EngineUnavailable(
                f"OpenVINO failed on a batch of shape {batch.shape}: {_line(error)}"
            ) from error
        return result
