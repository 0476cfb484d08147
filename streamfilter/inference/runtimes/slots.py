"""Places on a GPU for one batch at a time: a stream, buffers, and a context for each shape.

Everything here but ``staged`` and ``found`` is called on the engine's GPU thread alone.

A recorded graph holds for the context that it was recorded from only as long as nothing is changed
there, so a context belongs to one shape. Their scratch memory is the slot's own, which one batch
at a time uses. Since TensorRT 10 contexts may share an optimisation profile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.engine import Tensor
from streamfilter.inference.runtimes import cuda_graphs

Shape = tuple[int, ...]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: it waits for no work of the default stream
_FLOAT_BYTES = 4


@dataclass(kw_only=True, slots=True)
class Network:
    """A plan that was loaded, with the libraries that run it."""

    trt: Any
    cuda: Any
    runtime: Any
    """Kept: the plan needs it as long as it lives."""
    plan: Any
    said: list[str]
    """Errors that TensorRT told its logger, the last ones last."""
    input_name: str
    output_name: str
    boxes: tuple[tuple[Shape, Shape], ...] = ()
    """Least and most (N, C, H, W) of each optimisation profile."""

    def close(self) -> None:
        """Give the plan back, once no context of it is left."""
        self.plan = self.runtime = None

    def profile(self, shape: Shape) -> int | None:
        """The first profile that takes a shape."""
        for number, (least, most) in enumerate(self.boxes):
            if all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
                return number
        return None

    def failure(self, what: str) -> EngineUnavailable:
        """An error with what TensorRT said last."""
        return EngineUnavailable(f"{what}: {'; '.join(self.said[-3:]) or 'it did not say why'}")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a shape takes."""

    given: int = 0
    found: int = 0
    scratch: int = 0

    @property
    def device(self) -> int:
        """On the device, without the network itself."""
        return self.given + self.found + self.scratch

    def most(self, other: "Need") -> "Need":
        """What is enough for both."""
        return Need(
            max(self.given, other.given),
            max(self.found, other.found),
            max(self.scratch, other.scratch),
        )


@dataclass(slots=True)
class _Lane:
    """What runs one shape in one slot."""

    context: Any
    shape: Shape
    found_shape: Shape
    need: Need
    runs: int = 0
    graph: cuda_graphs.Graph | None = None


@dataclass(slots=True)
class Graphs:
    """Whether work is recorded: until it once cannot be, for all slots of an engine."""

    driver: Any = None
    """The driver's library; None records nothing."""
    tell: Callable[[str], None] = field(default=lambda line: None)

    def give_up(self, reason: object) -> None:
        """Record nothing from now on, and say why: batches are queued call by call."""
        self.driver = None
        self.tell(f"no CUDA graphs, batches are queued call by call: {reason}")


class Slot:
    """One of an engine's places; whoever has it leased is alone with it."""

    def __init__(self, network: Network, graphs: Graphs) -> None:
        cuda = network.cuda
        self._network = network
        self._graphs = graphs
        self._stream = cuda.Stream(_NON_BLOCKING)
        flags = cuda.event_flags
        # A wait sleeps, rather than take a core from decoding.
        self._done = cuda.Event(int(flags.BLOCKING_SYNC) | int(flags.DISABLE_TIMING))
        self._lanes: dict[Shape, _Lane] = {}
        self._room = Need()
        self._device: list[Any] = []  # allocations: input, output, scratch
        self._pinned: list[Any] = []  # arrays of bytes: input, output

    @property
    def held_bytes(self) -> int:
        """Device memory of its buffers."""
        return self._room.device

    def has(self, shape: Shape) -> bool:
        """Whether a shape can be run without being prepared."""
        return shape in self._lanes

    def staged(self, shape: Shape) -> Tensor:
        """Where a batch of a prepared shape is put before ``start``; any thread may, one leases."""
        return _view(self._pinned[0], shape)

    def found(self, shape: Shape) -> Tensor:
        """Where its probabilities are once the event of ``start`` is done; until the next."""
        return _view(self._pinned[1], self._lanes[shape].found_shape)

    def need(self, shape: Shape) -> Need:
        """What a shape takes here; nothing is kept."""
        return self._lane(shape).need

    def prepare(self, shape: Shape) -> None:
        """Make ready to run a shape: a context, and room where there is too little.

        Raises
        ------
        pycuda.driver.MemoryError
            There is no room; the slot then has none, and no shape is prepared.
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
        """Queue a staged batch of a prepared shape: copy in, run, copy out its first ``count``.

        Returns
        -------
        event
            Done when ``found`` holds the probabilities.

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
        """Give back all that it holds; nothing of it is in flight."""
        self._free()
        del self._done, self._stream

    def _lane(self, shape: Shape) -> _Lane:
        """A context that is set for a shape, without memory yet."""
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
        """Buffers of other sizes, in place of those there are, which the lanes were set to."""
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
        """Give back the lanes and the buffers."""
        for lane in self._lanes.values():
            if lane.graph is not None:
                lane.graph.close()
        self._lanes.clear()
        for allocation in (*self._device, *(pinned.base for pinned in self._pinned)):
            allocation.free()
        self._device, self._pinned, self._room = [], [], Need()

    def _record(self, lane: _Lane) -> None:
        """Record a shape's run once, after a first run that was queued call by call.

        In the first TensorRT loads what may not be loaded while work is recorded.
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
    """The first floats of pinned bytes, as an array of a shape."""
    found: Tensor = pinned[: _bytes(shape)].view(np.float32).reshape(shape)
    return found
