"""Slots on a GPU for one batch at a time: a stream, buffers, and a context for each shape.

Only the engine's GPU thread may call anything here, except ``staged`` and ``found``.

A recorded graph is valid only as long as the context does not change, so each context belongs to
one shape. The contexts of a slot share its scratch memory, which one batch at a time uses. Since
TensorRT 10 contexts may share an optimisation profile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.engine import Tensor
from streamfilter.inference.runtimes import cuda_graphs

Shape = tuple[int, ...]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
_FLOAT_BYTES = 4


@dataclass(kw_only=True, slots=True)
class Network:
    """A loaded plan, with the libraries that run it."""

    trt: Any
    cuda: Any
    runtime: Any
    """Kept here because the plan needs it."""
    plan: Any
    said: list[str]
    """Errors in TensorRT's log, oldest first."""
    input_name: str
    output_name: str
    boxes: tuple[tuple[Shape, Shape], ...] = ()
    """Smallest and largest shape (N, C, H, W) of each optimisation profile."""

    def close(self) -> None:
        """Release the plan, once it has no context left."""
        self.plan = self.runtime = None

    def profile(self, shape: Shape) -> int | None:
        """Returns the number of the first profile that takes a shape; None where none does."""
        for number, (least, most) in enumerate(self.boxes):
            if all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
                return number
        return None

    def failure(self, what: str) -> EngineUnavailable:
        """Returns an exception with TensorRT's last errors."""
        return EngineUnavailable(f"{what}: {'; '.join(self.said[-3:]) or 'it did not say why'}")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory that a shape needs: input, output and scratch."""

    given: int = 0
    found: int = 0
    scratch: int = 0

    @property
    def device(self) -> int:
        """Bytes on the device, without the network itself."""
        return self.given + self.found + self.scratch

    def most(self, other: "Need") -> "Need":
        """Returns the memory that is enough for both."""
        return Need(
            max(self.given, other.given),
            max(self.found, other.found),
            max(self.scratch, other.scratch),
        )


@dataclass(slots=True)
class _Lane:
    """The context of one shape in one slot, and its graph once that is recorded."""

    context: Any
    shape: Shape
    found_shape: Shape
    need: Need
    runs: int = 0
    graph: cuda_graphs.Graph | None = None


@dataclass(slots=True)
class Graphs:
    """Whether the slots of an engine record their work: all stop when one recording fails."""

    driver: Any = None
    """The driver's library; None records nothing."""
    tell: Callable[[str], None] = field(default=lambda line: None)

    def give_up(self, reason: object) -> None:
        """Stop recording, and report why: batches are queued call by call from now on."""
        self.driver = None
        self.tell(f"no CUDA graphs, batches are queued call by call: {reason}")


class Slot:
    """One slot of an engine; only the caller that leases it uses it."""

    def __init__(self, network: Network, graphs: Graphs) -> None:
        cuda = network.cuda
        self._network = network
        self._graphs = graphs
        self._stream = cuda.Stream(_NON_BLOCKING)
        flags = cuda.event_flags
        # A wait sleeps, so that it takes no core from decoding.
        self._done = cuda.Event(int(flags.BLOCKING_SYNC) | int(flags.DISABLE_TIMING))
        self._lanes: dict[Shape, _Lane] = {}
        self._room = Need()
        self._device: list[Any] = []  # allocations: input, output, scratch
        self._pinned: list[Any] = []  # arrays of bytes: input, output

    @property
    def held_bytes(self) -> int:
        """Bytes of device memory in the slot's buffers."""
        return self._room.device

    def has(self, shape: Shape) -> bool:
        """Returns whether a shape is prepared."""
        return shape in self._lanes

    def staged(self, shape: Shape) -> Tensor:
        """Returns the input buffer of a prepared shape, to fill before ``start``."""
        return _view(self._pinned[0], shape)

    def found(self, shape: Shape) -> Tensor:
        """Returns the output buffer, valid from the end of ``start``'s event to the next batch."""
        return _view(self._pinned[1], self._lanes[shape].found_shape)

    def need(self, shape: Shape) -> Need:
        """Returns the memory that a shape needs, without preparing it."""
        return self._lane(shape).need

    def prepare(self, shape: Shape) -> None:
        """Prepare a shape: make a context, and larger buffers where they are too small.

        Raises
        ------
        pycuda.driver.MemoryError
            The memory is too small; the slot then has no buffers and no prepared shape.
        EngineUnavailable
            No profile of the plan takes the shape, or TensorRT fails.
        """
        lane = self._lane(shape)
        room = self._room.most(lane.need)
        if room != self._room:
            self._make_room(room)
        context, network = lane.context, self._network
        if lane.need.scratch:
            context.set_device_memory(int(self._device[2]), self._room.scratch)
        names = network.input_name, network.output_name
        for name, place in zip(names, self._device[:2], strict=True):
            if not context.set_tensor_address(name, int(place)):
                raise network.failure(f"TensorRT takes no address for {name!r}")
        self._lanes[shape] = lane

    def start(self, shape: Shape, count: int) -> Any:
        """Queue a staged batch of a prepared shape: copy in, run, copy the first ``count`` out.

        Returns
        -------
        event
            CUDA event that is done when ``found`` holds the probabilities.

        Raises
        ------
        EngineUnavailable
            TensorRT fails.
        """
        cuda, lane = self._network.cuda, self._lanes[shape]
        self._record(lane)
        cuda.memcpy_htod_async(self._device[0], self.staged(shape), self._stream)
        if lane.graph is not None:
            lane.graph.launch(self._stream.handle)
        elif not lane.context.execute_async_v3(self._stream.handle):
            raise self._network.failure(f"TensorRT cannot queue a batch of shape {shape}")
        lane.runs += 1
        cuda.memcpy_dtoh_async(self.found(shape)[:count], self._device[1], self._stream)
        self._done.record(self._stream)
        return self._done

    def close(self) -> None:
        """Release everything; no batch may be in flight."""
        self._free()
        del self._done, self._stream

    def _lane(self, shape: Shape) -> _Lane:
        """Returns a context for a shape, still without memory."""
        network = self._network
        profile = network.profile(shape)
        if profile is None:
            raise EngineUnavailable(f"no profile of the plan takes {shape}")
        strategy = network.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = network.plan.create_execution_context(strategy)
        if context is None:
            raise network.failure("TensorRT makes no execution context")
        if not context.set_optimization_profile_async(profile, self._stream.handle):
            raise network.failure(f"TensorRT does not take the profile {profile}")
        self._stream.synchronize()  # the profile is set by work on the stream
        try:
            taken = context.set_input_shape(network.input_name, shape)
            taken = taken and not context.infer_shapes()
        except RuntimeError as error:
            raise network.failure(f"TensorRT does not take the shape {shape} ({error})") from error
        if not taken:
            raise network.failure(f"TensorRT does not take the shape {shape}")
        found_shape = tuple(context.get_tensor_shape(network.output_name))
        scratch = int(context.update_device_memory_size_for_shapes())
        need = Need(_bytes(shape), _bytes(found_shape), scratch)
        return _Lane(context, shape, found_shape, need)

    def _make_room(self, room: Need) -> None:
        """Replace the buffers by larger ones; this drops all prepared shapes."""
        self._free()
        cuda = self._network.cuda
        try:
            for count in (room.given, room.found, room.scratch):
                self._device.append(cuda.mem_alloc(max(count, 1)))
            for count in (room.given, room.found):
                self._pinned.append(cuda.pagelocked_empty(count, np.uint8))
        except cuda.MemoryError:
            self._free()
            raise
        self._room = room

    def _free(self) -> None:
        """Release the contexts and the buffers."""
        for lane in self._lanes.values():
            if lane.graph is not None:
                lane.graph.close()
        self._lanes.clear()
        for allocation in (*self._device, *(pinned.base for pinned in self._pinned)):
            allocation.free()
        self._device, self._pinned, self._room = [], [], Need()

    def _record(self, lane: _Lane) -> None:
        """Record a shape's run once, after a first run that was queued call by call.

        During its first run TensorRT loads modules, which must not happen while work is recorded.
        """
        graphs = self._graphs
        if graphs.driver is None or lane.graph is not None or not lane.runs:
            return
        handle = self._stream.handle
        try:
            lane.graph = cuda_graphs.capture(
                graphs.driver, handle, lambda: bool(lane.context.execute_async_v3(handle))
            )
        except cuda_graphs.CaptureFailed as error:
            graphs.give_up(error)


def _bytes(shape: Shape) -> int:
    return _FLOAT_BYTES * int(np.prod(shape, dtype=np.int64))


def _view(pinned: Any, shape: Shape) -> Tensor:
    """Returns the first floats of pinned bytes, as an array of a shape."""
    found: Tensor = pinned[: _bytes(shape)].view(np.float32).reshape(shape)
    return found
