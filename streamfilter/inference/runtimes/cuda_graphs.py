"""CUDA graphs, by the driver's own library: pycuda does not have them.

A graph is a recording of the work of a stream; later one call launches all of it. The calls exist
since CUDA 12, and have the library's names.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from streamfilter.errors import EngineUnavailable

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: allocations of other threads do not break a recording.
_THREAD_LOCAL = 1


class CaptureFailed(Exception):
    """The work cannot be recorded; it can still be queued call by call."""


def library() -> Any:  # ctypes finds its functions by name
    """Returns the driver's library, which pycuda has loaded already.

    Raises
    ------
    CaptureFailed
        The library cannot be loaded.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CaptureFailed(f"the driver's library cannot be loaded ({error})") from error


class Graph:
    """Recorded work; only the thread that owns the context uses it."""

    def __init__(self, driver: Any, executable: ctypes.c_void_p) -> None:
        self._driver = driver
        self._executable = executable

    def launch(self, stream: int) -> None:
        """Queue the work on a stream.

        Raises
        ------
        EngineUnavailable
            The driver refuses; with its message.
        """
        self._do("cuGraphLaunch", ctypes.c_void_p(stream))

    def close(self) -> None:
        """Release the graph, once its last launch is done."""
        self._do("cuGraphExecDestroy")

    def _do(self, name: str, *arguments: Any) -> None:
        try:
            _check(self._driver, name, self._executable, *arguments)
        except CaptureFailed as error:
            raise EngineUnavailable(f"a recorded CUDA graph cannot be used: {error}") from error


def capture(driver: Any, stream: int, enqueue: Callable[[], bool]) -> Graph:
    """Record the work that ``enqueue`` queues on a stream; the work does not run.

    Raises
    ------
    CaptureFailed
        The work or the driver does not allow it; the stream can still be used.
    """
    handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
    _check(driver, "cuStreamBeginCapture_v2", handle, ctypes.c_int(_THREAD_LOCAL))
    queued = False
    try:
        queued = enqueue()
    finally:
        # A failed recording must be ended too, or the stream accepts no other work.
        ended = driver.cuStreamEndCapture(handle, ctypes.byref(graph))
    try:
        if not queued:
            raise CaptureFailed("the network cannot be queued while it is recorded")
        _raise_for(driver, "cuStreamEndCapture", ended)
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
    _raise_for(driver, name, getattr(driver, name)(*arguments))


def _raise_for(driver: Any, name: str, code: int) -> None:
    """Raise ``CaptureFailed`` for a code other than zero."""
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text))
        message = text.value.decode() if text.value else f"error {code}"
        raise CaptureFailed(f"{name} failed: {message}")
