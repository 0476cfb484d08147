"""The builder's half of TensorRT with no compiler in it: it checks calls, and its plans do nothing.

What passes here proves plumbing alone. Behaviour is as documented for TensorRT 10: None and a
line to the logger on failure, TypeError without a GPU, timings of another version refused.
"""

import enum
import os
from typing import Any

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

    num_outputs = 0
    inputs: tuple[str, ...] = ()


class OnnxParser:
    """Reads an ONNX file."""

    num_errors = 0

    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network = network

    def parse(self, content: bytes) -> bool:
        """True also for rubbish that is read as a network of nothing."""
        graph = onnx.load_model_from_string(content).graph
        self._network.num_outputs = len(graph.output)
        self._network.inputs = tuple(one.name for one in graph.input)
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
        if any(name not in one.shapes for name in network.inputs for one in config.profiles):
            self._logger.log(ILogger.Severity.ERROR, "a dynamic input has no profile")
            return None
        config.progress_monitor.phase_start("Timing", None, 2)
        config.progress_monitor.step_complete("Timing", 1)
        config.progress_monitor.phase_finish("Timing")
        return memoryview(f"plan of {len(config.profiles)} profiles, {config.flags}".encode())
