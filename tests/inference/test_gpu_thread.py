"""The thread that speaks to a GPU, by itself: a driver that does nothing."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from streamfilter.inference.runtimes import gpu_thread
from streamfilter.inference.runtimes.gpu_thread import GpuThread

FLIGHTS = 20_000
PATIENCE_S = 60.0


class Never(Exception):
    """What this driver does not raise."""


class Batch:
    """An event of a batch that is done when it is looked at for the third time."""

    def __init__(self) -> None:
        self._looks = 0

    def query(self) -> bool:
        self._looks += 1
        return self._looks > 2


def driver() -> Any:
    """What a GpuThread uses of ``pycuda.driver``."""
    context = SimpleNamespace(push=lambda: None, pop=lambda: None, detach=lambda: None)
    device = SimpleNamespace(retain_primary_context=lambda: context)
    return SimpleNamespace(Device=lambda number: device, Error=Never, MemoryError=Never)


def test_no_look_for_work_lasts_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short it is: a time-out of queue.SimpleQueue may turn into none (CPython)."""
    monkeypatch.setattr(gpu_thread, "_LOOK_S", 1e-6)
    thread = GpuThread(driver(), 0, 2)
    landed: list[int] = []

    def fly() -> None:
        for number in range(FLIGHTS):
            thread.fly(Batch)
            landed.append(number)

    flying = threading.Thread(target=fly, daemon=True)
    flying.start()
    flying.join(PATIENCE_S)
    assert FLIGHTS == len(landed)
    thread.stop(lambda: None)
