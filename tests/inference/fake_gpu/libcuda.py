"""The part of the driver's library that records graphs, called as ctypes calls it."""

import ctypes
from typing import Any

from pycuda.driver import GPU, call

_INVALIDATED = 901


class Library:
    """CUDA graphs of the fake GPU; ``refuses`` is the name of a call that fails."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.graphs: dict[int, Any] = {}
        """Graphs and executable ones by handle: what they hold."""

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: ctypes.c_int) -> int:  # noqa: N802
        call("cuStreamBeginCapture")
        if mode.value != 1:
            GPU.faults.append("other threads could spoil the capture")
        if self.refuses == "cuStreamBeginCapture_v2":
            return _INVALIDATED
        GPU.streams[int(stream.value or 0)].recorded = []
        return 0

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:  # noqa: N802
        call("cuStreamEndCapture")
        one = GPU.streams[int(stream.value or 0)]
        recorded, one.recorded = one.recorded, None
        if self.refuses in ("cuStreamEndCapture", "execute_async_v3"):
            return _INVALIDATED
        graph._obj.value = self._keep(recorded)
        return 0

    def cuGraphInstantiateWithFlags(  # noqa: N802
        self, executable: Any, graph: ctypes.c_void_p, flags: ctypes.c_ulonglong
    ) -> int:
        call("cuGraphInstantiateWithFlags")
        if self.refuses == "cuGraphInstantiateWithFlags":
            return _INVALIDATED
        executable._obj.value = self._keep(list(self.graphs[int(graph.value or 0)]))
        return 0

    def cuGraphLaunch(self, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:  # noqa: N802
        call("cuGraphLaunch")
        if self.refuses == "cuGraphLaunch":
            return _INVALIDATED
        for word, work in self.graphs[int(executable.value or 0)]:
            GPU.streams[int(stream.value or 0)].queue(f"{word} (graph)", work)
        return 0

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:  # noqa: N802
        call("cuGraphDestroy")
        del self.graphs[int(graph.value or 0)]
        return 0

    def cuGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:  # noqa: N802
        call("cuGraphExecDestroy")
        del self.graphs[int(executable.value or 0)]
        return 0

    def cuGetErrorString(self, code: ctypes.c_int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"operation failed due to a previous error during capture"
        return 0

    def _keep(self, recorded: Any) -> int:
        handle = GPU.next_handle
        GPU.next_handle += 1
        self.graphs[handle] = recorded
        return handle
