"""A machine that seems to have a GPU, for as long as a test: what passes on it proves plumbing."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamfilter.inference import runtimes
from streamfilter.inference.runtimes import cuda_graphs

FOLDER = Path(__file__).parent / "fake_gpu"
_FAKES = ("tensorrt", "pycuda", "pycuda.driver", "libcuda", runtimes.RUNTIMES["tensorrt"])


class FakeGpu:
    """The fake modules; ``state`` is what was done with the GPU."""

    def __init__(self) -> None:
        self.driver: ModuleType = importlib.import_module("pycuda.driver")
        self.tensorrt: ModuleType = importlib.import_module("tensorrt")
        self.library: Any = importlib.import_module("libcuda").Library()

    @property
    def state(self) -> Any:
        return self.driver.GPU

    def streams(self, word: str) -> list[int]:
        """Streams that were told a word, in order."""
        return [handle for each, handle in self.state.queued if each == word]


@contextmanager
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """In place of pycuda, TensorRT and the driver's library; holds that nothing is left of it."""
    with monkeypatch.context() as patch:
        for name in _FAKES:
            patch.delitem(sys.modules, name, raising=False)
        patch.syspath_prepend(str(FOLDER))
        patch.setenv("FAKE_GPU", "Fake GPU")  # no plan for it fits a real one
        fake = FakeGpu()
        patch.setattr(cuda_graphs, "library", lambda: fake.library)
        try:
            yield fake
        finally:
            fake.state.gate.set()
            for name in _FAKES:
                sys.modules.pop(name, None)
            vars(runtimes).pop("tensorrt", None)


def left_over(fake: FakeGpu) -> dict[str, Any]:
    """What is still held of a fake GPU, and which rules were broken."""
    state = fake.state
    found = {
        "faults": state.faults,
        "memory": list(state.memory),
        "pinned": list(state.pinned),
        "live": list(state.live),
        "graphs": list(fake.library.graphs),
        "current": [stack for stack in state.stacks.values() if stack],
    }
    return {name: what for name, what in found.items() if what}


def forget(fake: FakeGpu) -> None:
    """After a failure of the GPU, which leaves all as it is: the process is to end."""
    fake.state.__init__()
    fake.library.graphs.clear()
