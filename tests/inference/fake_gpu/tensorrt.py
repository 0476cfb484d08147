"""TensorRT with no compiler in it: its plans hold the ONNX file, which ONNX Runtime runs.

What passes here proves plumbing alone. Behaviour is as documented for TensorRT 10 and 11: None,
False and a line to the logger on failure, TypeError without a GPU, timings of another version
refused. A context runs from the device memory that it was given the addresses of, on a stream of
the fake driver beside it; what would be undefined on a GPU is a line of ``GPU.faults``.
"""

import enum
import json
import os
import threading
from typing import Any

import numpy as np
import onnx

__version__ = os.environ.get("FAKE_TENSORRT", "10.13.2")


class ILogger:
    """Whom the builder tells."""

    class Severity(enum.Enum):
        """From worst to least."""

        INTERNAL_ERROR = 0
        ERROR = 1

    def log(self, severity: "ILogger.Severity", message: str) -> None:
        """Said by the builder."""


class IProgressMonitor:
    """Whom the builder tells how far it is."""


class BuilderFlag(enum.IntEnum):
    """The one that is asked for."""

    TF32 = 7


class NetworkDefinitionCreationFlag(enum.IntEnum):
    """Strong typing must be asked for in 10."""

    STRONGLY_TYPED = 1


class Network:
    """What a parser filled."""

    num_outputs = num_inputs = 0
    content = b""

    def get_input(self, index: int) -> Any:
        """With its name."""
        return self.graph.input[index]

    def get_output(self, index: int) -> Any:
        """With its name."""
        return self.graph.output[index]

    graph: Any = None


class OnnxParser:
    """Reads an ONNX file."""

    num_errors = 0

    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network = network

    def parse(self, content: bytes) -> bool:
        """True also for rubbish that is read as a network of nothing."""
        try:
            graph = onnx.load_model_from_string(content).graph
        except Exception:  # protobuf's
            return False
        self._network.content, self._network.graph = content, graph
        self._network.num_inputs, self._network.num_outputs = len(graph.input), len(graph.output)
        return True


class Profile:
    """Shapes by input."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        """Least, best and most must grow."""
        if not all(a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
            raise ValueError("least <= best <= most is not kept")
        self.shapes[name] = (least, best, most)


class TimingCache:
    """Holds the version that measured."""

    def __init__(self, content: bytes) -> None:
        self.content = content or f"timings of {__version__}".encode()

    def serialize(self) -> memoryview:
        """As bytes-like as TensorRT's host memory."""
        return memoryview(self.content)


class Config:
    """What a build is told."""

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[Profile] = []
        self.progress_monitor: Any = None
        self._timings: TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        """Switch off."""
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        """The profile's number."""
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> TimingCache:
        """From bytes; none are an empty one."""
        return TimingCache(content)

    def set_timing_cache(self, timings: TimingCache, *, ignore_mismatch: bool) -> bool:
        """False where another version measured."""
        if timings.content != f"timings of {__version__}".encode():
            return False
        self._timings = timings
        return True

    def get_timing_cache(self) -> TimingCache | None:
        """What was set."""
        return self._timings


class Builder:
    """Makes plans that do nothing."""

    def __init__(self, logger: ILogger) -> None:
        if not os.environ.get("FAKE_GPU"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int) -> Network:
        """Strongly typed, or refused."""
        if flags != 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED:
            raise ValueError("the network is not strongly typed")
        return Network()

    def create_builder_config(self) -> Config:
        """With the defaults."""
        return Config()

    def create_optimization_profile(self) -> Profile:
        """Empty."""
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
        """None where an input that changes its shape has no profile."""
        name = network.get_input(0).name
        if any(name not in one.shapes for one in config.profiles):
            self._logger.log(ILogger.Severity.ERROR, "a dynamic input has no profile")
            return None
        config.progress_monitor.phase_start("Timing", None, 2)
        config.progress_monitor.step_complete("Timing", 1)
        config.progress_monitor.phase_finish("Timing")
        facts = {
            "version": __version__,
            "flags": [flag.name for flag in config.flags],
            "profiles": [one.shapes[name] for one in config.profiles],
        }
        return memoryview(json.dumps(facts).encode() + b"\n" + network.content)


class TensorIOMode(enum.Enum):
    """Which way."""

    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    """Of tensors."""

    FLOAT = 0
    HALF = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    """Who gives a context its memory."""

    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class Runtime:
    """Loads plans."""

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        """None where it is no plan of this version."""
        from pycuda.driver import call

        call("deserialize_cuda_engine")
        facts, _, content = plan.partition(b"\n")
        if json.loads(facts)["version"] != __version__:
            self._logger.log(ILogger.Severity.ERROR, "the plan is of another version")
            return None
        return Engine(self._logger, json.loads(facts)["profiles"], content)


class Engine:
    """A plan on the device; ``RUNS`` counts what its contexts ran."""

    def __init__(self, logger: ILogger, profiles: list[Any], content: bytes) -> None:
        import onnxruntime
        from pycuda.driver import GPU, call

        self.logger = logger
        self.profiles = profiles
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(content, options)
        self._nodes = [*self.session.get_outputs(), *self.session.get_inputs()]
        self._owner = call("deserialize_cuda_engine")
        GPU.live.add(self)

    def __del__(self) -> None:
        from pycuda.driver import GPU

        if not self._owner.valid or threading.get_ident() != self._owner.thread:
            GPU.faults.append("a plan was given back without its context")

    @property
    def num_io_tensors(self) -> int:
        """Inputs and outputs."""
        return len(self._nodes)

    @property
    def num_optimization_profiles(self) -> int:
        """Those that it was built with."""
        return len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        """In no promised order."""
        return str(self._nodes[index].name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """Input or output."""
        inputs = [node.name for node in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        """As in the ONNX file."""
        (kind,) = [node.type for node in self._nodes if node.name == name]
        return DataType.FLOAT if kind == "tensor(float)" else DataType.HALF

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        """Least, best and most."""
        return list(self.profiles[profile_index])

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> "ExecutionContext | None":
        """With memory of the caller's."""
        from pycuda.driver import call

        call("create_execution_context")
        if strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            raise NotImplementedError(strategy)
        return ExecutionContext(self)


class ExecutionContext:
    """Runs one shape at a time."""

    def __init__(self, engine: Engine) -> None:
        from pycuda.driver import GPU, call

        self._engine = engine
        self._owner = call("create_execution_context")
        self._profile: int | None = None
        self._shape: tuple[int, ...] = ()
        self._scratch = (0, 0)
        self._places: dict[str, int] = {}
        self._changes = 0
        GPU.live.add(self)

    def __del__(self) -> None:
        from pycuda.driver import GPU

        if not self._owner.valid or threading.get_ident() != self._owner.thread:
            GPU.faults.append("an execution context was given back without its context")

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """By work on a stream."""
        from pycuda.driver import GPU

        def switch() -> None:
            self._profile = profile_index

        GPU.streams[stream_handle].queue("profile", switch)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """False outside of the profile."""
        if self._profile is None:
            return self._refuse("the profile is not set yet")
        least, _, most = self._engine.profiles[self._profile]
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            return self._refuse(f"{shape} is not in profile {self._profile}")
        self._shape = shape
        self._changes += 1
        return True

    def infer_shapes(self) -> list[str]:
        """Inputs without a shape."""
        return [] if self._shape else [self._engine.session.get_inputs()[0].name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Dynamic dimensions take the input's names."""
        node = next(one for one in self._engine.session.get_outputs() if one.name == name)
        given = self._engine.session.get_inputs()[0].shape
        sides = dict(zip(given, self._shape, strict=True))
        return tuple(sides.get(side, side) for side in node.shape)

    def update_device_memory_size_for_shapes(self) -> int:
        """A kilobyte a pixel."""
        return 1024 * self._shape[0] * self._shape[2] * self._shape[3]

    def set_device_memory(self, memory: int, size: int) -> None:
        """Enough for the shape, or the run would be undefined."""
        from pycuda.driver import GPU

        if size < self.update_device_memory_size_for_shapes() or GPU.place(memory).nbytes < size:
            GPU.faults.append("scratch memory is too small")
        self._scratch = (memory, size)
        self._changes += 1

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Of an input or output."""
        self._places[name] = memory
        self._changes += 1
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Queue a run; its memory is looked at when it runs."""
        from pycuda.driver import GPU

        stream = GPU.streams[stream_handle]
        if len(self._places) != self._engine.num_io_tensors or not self._scratch[0]:
            return self._refuse("a tensor has no address")
        if os.environ.get("FAKE_TENSORRT_FAILS"):
            return self._refuse("no kernel image is available for execution")
        if stream.recorded is not None and REFUSES_CAPTURE:
            return self._refuse("a layer waits for the host")
        changes = self._changes
        stream.queue("run", lambda: self._run(changes))
        return True

    def _run(self, changes: int) -> None:
        """From device memory to device memory."""
        from pycuda.driver import GPU

        GPU.gate.wait()
        if changes != self._changes:
            GPU.faults.append("a context was changed after its work was queued or recorded")
        scratch = self._scratch[0]
        GPU.place(scratch)
        with _busy_lock:
            if scratch in _busy:
                GPU.faults.append("two runs at a time use one scratch memory")
            _busy.add(scratch)
        (given,), (found,) = self._engine.session.get_inputs(), self._engine.session.get_outputs()
        count = 4 * int(np.prod(self._shape))
        raw = GPU.place(self._places[given.name])[:count]
        batch = raw.view(np.float32).reshape(self._shape)
        result = self._engine.session.run([found.name], {given.name: batch})[0].astype(np.float32)
        GPU.place(self._places[found.name])[: result.nbytes] = result.reshape(-1).view(np.uint8)
        with _busy_lock:
            _busy.discard(scratch)

    def _refuse(self, why: str) -> bool:
        self._engine.logger.log(ILogger.Severity.ERROR, why)
        return False


REFUSES_CAPTURE = False
_busy: set[int] = set()
_busy_lock = threading.Lock()
