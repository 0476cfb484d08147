"""CUDA graphs, by the driver's own library: pycuda has none.

A graph is what a stream was told to do, recorded once and launched by one call after. The calls
are those of CUDA 12 and later, and their names are the library's.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from streamfilter.errors import EngineUnavailable

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads allocate meanwhile spoils no capture.
_THREAD_LOCAL = 1


class CaptureFailed(Exception):
    """No graph can be had; what it would hold can still be queued call by call."""


def library() -> Any:  # its functions are looked up by name
    """The driver's library, which pycuda has loaded already.

    Raises
    ------
    CaptureFailed
        It is not there.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CaptureFailed(f"the driver's library cannot be loaded ({error})") from error


class Graph:
    """Recorded work; all of it is done on the thread that owns the context."""

    def __init__(self, driver: Any, executable: ctypes.c_void_p) -> None:
        self._driver = driver
        self._executable = executable

    def launch(self, stream: int) -> None:
        """Queue the work on a stream.

        Raises
        ------
        EngineUnavailable
            The driver refuses; what it says.
        """
        self._do("cuGraphLaunch", ctypes.c_void_p(stream))

    def close(self) -> None:
        """Give the graph back, once its last launch is done."""
        self._do("cuGraphExecDestroy")

    def _do(self, name: str, *arguments: Any) -> None:
        try:
            _check(self._driver, name, self._executable, *arguments)
        except CaptureFailed as error:
            raise EngineUnavailable(f"a recorded CUDA graph cannot be used: {error}") from error


def capture(driver: Any, stream: int, enqueue: Callable[[], bool]) -> Graph:
    """Record what ``enqueue`` queues on a stream; nothing of it is run.

    Raises
    ------
    CaptureFailed
        The work, or the driver, does not allow it; the stream is as before.
    """
    handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
    _check(driver, "cuStreamBeginCapture_v2", handle, ctypes.c_int(_THREAD_LOCAL))
    queued = False
    try:
        queued = enqueue()
    finally:
        # A capture that was begun is ended whatever came of it, or the stream takes no other work.
        ended = driver.cuStreamEndCapture(handle, ctypes.byref(graph))
    try:
        if not queued:
            raise CaptureFailed("the network cannot be queued while it is recorded")
        _say(driver, "cuStreamEndCapture", ended)
        _check(
            driver,
            "cuGraphInstantiateWithFlags",
            ctypes.byref(executable),
            graph,
            ctypes.c_ulonglong(0),
        )
    finally:
        if graph.value:
            driver.cuGraphDestroy(graph)
    return Graph(driver, executable)


def _check(driver: Any, name: str, *arguments: Any) -> None:
    _say(driver, name, getattr(driver, name)(*arguments))


def _say(driver: Any, name: str, code: int) -> None:
    """Raise what a code other than zero means."""
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text))
        said = text.value.decode() if text.value else f"error {code}"
        raise CaptureFailed(f"{name} failed: {said}")
