"""The thread that speaks to a GPU, by itself: a driver that does nothing."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from streamfilter.inference.runtimes import gpu_thread
from streamfilter.inference.runtimes.gpu_thread import GpuThread

BATCHES = 20_000
PATIENCE_S = 60.0


class Never(Exception):
    """What this driver does not raise."""


class Batch:
    """An event of a batch that is done when it is looked at for the third time."""

    def __init__(self) -> None:
        self._queries = 0

    def query(self) -> bool:
        self._queries += 1
        return self._queries > 2


def driver() -> Any:
    """What a GpuThread uses of ``pycuda.driver``."""
    context = SimpleNamespace(push=lambda: None, pop=lambda: None, detach=lambda: None)
    device = SimpleNamespace(retain_primary_context=lambda: context)
    return SimpleNamespace(Device=lambda number: device, Error=Never, MemoryError=Never)


def test_no_wait_for_work_lasts_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A very short time-out of queue.SimpleQueue may turn into no time-out (CPython)."""
    monkeypatch.setattr(gpu_thread, "_POLL_S", 1e-6)
    thread = GpuThread(driver(), 0, 2)
    finished: list[int] = []

    def run() -> None:
        for number in range(BATCHES):
            thread.run_batch(Batch)
            finished.append(number)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(PATIENCE_S)
    assert BATCHES == len(finished)
    thread.stop(lambda: None)
