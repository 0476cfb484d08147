"""A driver without a GPU behind it: ``FAKE_GPU`` names the model; empty: none answers.

What passes on it proves plumbing alone. It keeps the rules of CUDA and pycuda that the runner must
keep, and what breaks one is an error, or a line of ``GPU.faults`` where the real thing would leak
or crash: a current context for every call, memory given back by the thread that took it, pinned
memory for copies, streams that run beside their callers. ``FAKE_GPU_MIB`` is its memory.
"""

import builtins
import enum
import os
import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Error(Exception):
    """Not a RuntimeError, as in pycuda."""


class MemoryError(Error, builtins.MemoryError):
    """The device or the host has no more."""


class LogicError(Error):
    """A call that cannot be, or a failure that stays with the context."""


class event_flags(enum.IntEnum):  # noqa: N801
    """Of events."""

    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2


@dataclass
class State:
    """The one GPU of the process, and what was done with it."""

    memory: dict[int, np.ndarray] = field(default_factory=dict)
    """Device memory by address."""
    pinned: dict[int, int] = field(default_factory=dict)
    """Bytes of pinned memory by address."""
    live: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    """Streams, events, contexts, plans: what there is."""
    done: list[tuple[str, int]] = field(default_factory=list)
    """What streams did, in order: the word, and the stream's handle."""
    queued: list[tuple[str, int]] = field(default_factory=list)
    """What streams were told, in order."""
    threads: set[str] = field(default_factory=set)
    """Names of the threads that called it with a context."""
    faults: list[str] = field(default_factory=list)
    broken: str = ""
    """An error that every later call gives, as CUDA's sticky ones."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Closed, networks wait in their streams."""
    stacks: dict[int, list[Any]] = field(default_factory=dict)
    streams: weakref.WeakValueDictionary[int, Any] = field(
        default_factory=weakref.WeakValueDictionary
    )
    next_address: int = 0x7F0000000000
    next_handle: int = 1

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def total(self) -> int:
        """Bytes of the device."""
        return int(os.environ.get("FAKE_GPU_MIB", "4096")) * 2**20

    @property
    def held(self) -> int:
        """Bytes that are taken."""
        return sum(each.nbytes for each in self.memory.values())

    def place(self, address: int) -> np.ndarray:
        """Device memory at an address."""
        if address not in self.memory:
            raise LogicError("an illegal memory access was encountered")
        return self.memory[address]


GPU = State()


def call(what: str) -> "Context":
    """The current context, which nearly every call needs."""
    stack = GPU.stacks.get(threading.get_ident(), [])
    if not stack:
        raise LogicError(f"{what} failed: invalid device context")
    if GPU.broken:
        raise LogicError(f"{what} failed: {GPU.broken}")
    GPU.threads.add(threading.current_thread().name)
    context: Context = stack[-1]
    return context


def init(flags: int = 0) -> None:
    """Fails as CUDA does where there is no GPU."""
    if not os.environ.get("FAKE_GPU"):
        raise Error("cuInit failed: no CUDA-capable device is detected")


def get_version() -> tuple[int, int, int]:
    """Of the CUDA that pycuda was built for."""
    return (12, 8, 0)


def get_driver_version() -> int:
    """Of the CUDA that the driver has."""
    return 12080


class Device:
    """The one GPU."""

    def __init__(self, number: int) -> None:
        if number:
            raise Error("cuDeviceGet failed: invalid device ordinal")

    def name(self) -> str:
        """As the driver says it."""
        return os.environ["FAKE_GPU"]

    def compute_capability(self) -> tuple[int, int]:
        """Major and minor."""
        return (8, 9)

    def retain_primary_context(self) -> "Context":
        """Not current yet."""
        if os.environ.get("FAKE_GPU_BUSY"):
            raise LogicError("cuDevicePrimaryCtxRetain failed: exclusive-process mode")
        return Context()


class Context:
    """The primary context, as one thread retained it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.valid = True
        GPU.live.add(self)

    def push(self) -> None:
        """Make it current on this thread."""
        GPU.stacks.setdefault(threading.get_ident(), []).append(self)

    @staticmethod
    def pop() -> None:
        """Make the one before current; after a sticky error that fails, as CUDA's may."""
        call("cuCtxPopCurrent")
        stack = GPU.stacks[threading.get_ident()]
        stack.pop()
        if not stack:
            del GPU.stacks[threading.get_ident()]

    def detach(self) -> None:
        """Release it."""
        if not self.valid:
            raise LogicError("cannot detach from invalid context")
        if threading.get_ident() != self.thread:
            GPU.faults.append("a context was detached by another thread")
        self.valid = False
        GPU.live.discard(self)


class _Owned:
    """What a thread took in its context, and is to give back there."""

    def __init__(self, what: str) -> None:
        self.context = call(what)

    def check_owner(self, what: str) -> None:
        """pycuda leaks what another thread gives back, with a warning."""
        if not self.context.valid:
            GPU.faults.append(f"{what} outlived its context")
        elif threading.get_ident() != self.context.thread:
            GPU.faults.append(f"{what} was given back by another thread")


class DeviceAllocation(_Owned):
    """Memory of the device."""

    def __init__(self, address: int) -> None:
        super().__init__("cuMemAlloc")
        self._address = address

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        """Give it back; twice is an error."""
        self.check_owner("device memory")
        if GPU.memory.pop(self._address, None) is None:
            raise LogicError("cuMemFree failed: invalid handle")


def mem_alloc(count: int) -> DeviceAllocation:
    """Device memory, full of what was there before."""
    call("cuMemAlloc")
    if count <= 0:
        raise LogicError("cuMemAlloc failed: invalid argument")
    if GPU.held + count > GPU.total:
        raise MemoryError("cuMemAlloc failed: out of memory")
    address, GPU.next_address = GPU.next_address, GPU.next_address + (count + 511) // 256 * 256
    GPU.memory[address] = np.full(count, 0xA5, np.uint8)
    return DeviceAllocation(address)


def mem_get_info() -> tuple[int, int]:
    """Free and total."""
    call("cuMemGetInfo")
    return GPU.total - GPU.held, GPU.total


class HostAllocation(_Owned):
    """Pinned memory; the base of the array that shows it."""

    def __init__(self, content: np.ndarray) -> None:
        super().__init__("cuMemHostAlloc")
        self._content = content
        self.__array_interface__ = content.__array_interface__
        GPU.pinned[self._address] = content.nbytes

    @property
    def _address(self) -> int:
        return int(self._content.__array_interface__["data"][0])

    def free(self) -> None:
        """Give it back; twice is an error."""
        self.check_owner("pinned memory")
        if GPU.pinned.pop(self._address, None) is None:
            raise LogicError("cuMemFreeHost failed: invalid handle")


def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    """An array on pinned memory, full of rubbish."""
    call("cuMemHostAlloc")
    return np.asarray(HostAllocation(np.full(shape, 0x5A, dtype)))


def _is_pinned(array: np.ndarray) -> bool:
    start = int(array.__array_interface__["data"][0])
    return any(a <= start and start + array.nbytes <= a + n for a, n in GPU.pinned.items())


class Stream(_Owned):
    """Work in order, on a thread of its own."""

    def __init__(self, flags: int = 0) -> None:
        super().__init__("cuStreamCreate")
        self.handle, GPU.next_handle = GPU.next_handle, GPU.next_handle + 1
        self.recorded: list[tuple[str, Callable[[], None]]] | None = None
        """What is captured; None where nothing is."""
        self.work: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        GPU.streams[self.handle] = self
        GPU.live.add(self)
        weakref.finalize(self, self.work.put, None)
        args = (self.work, self.handle)
        threading.Thread(target=_stream, args=args, name="fake-stream", daemon=True).start()

    def __del__(self) -> None:
        self.check_owner("a stream")

    def queue(self, word: str, work: Callable[[], None]) -> None:
        """Do it after what is there, or record it."""
        call(f"queueing of {word}")
        if self.recorded is not None:
            self.recorded.append((word, work))
            return
        GPU.queued.append((word, self.handle))
        self.work.put((word, work))

    def synchronize(self) -> None:
        """Wait for all of it."""
        call("cuStreamSynchronize")
        if self.recorded is not None:
            raise LogicError("cuStreamSynchronize failed: operation not permitted when capturing")
        done = threading.Event()
        self.work.put(("synchronise", done.set))
        done.wait()
        call("cuStreamSynchronize")


def _stream(work: "queue.SimpleQueue[tuple[str, Callable[[], None]] | None]", handle: int) -> None:
    """A stream's thread: after a failure nothing is done but waking who waits."""
    while (item := work.get()) is not None:
        word, do = item
        if GPU.broken and word not in ("record", "synchronise"):
            continue
        try:
            do()
        except Exception as error:
            GPU.broken = str(error)
        else:
            GPU.done.append((word, handle))
        del item, do


class Event(_Owned):
    """A place in a stream's work."""

    def __init__(self, flags: int = 0) -> None:
        super().__init__("cuEventCreate")
        self._done = threading.Event()
        GPU.live.add(self)

    def __del__(self) -> None:
        self.check_owner("an event")

    def record(self, stream: Stream) -> "Event":
        """After what the stream was told so far."""
        self._done = threading.Event()
        stream.queue("record", self._done.set)
        return self

    def query(self) -> bool:
        """Whether the stream is there."""
        call("cuEventQuery")
        return self._done.is_set()

    def synchronize(self) -> "Event":
        """Wait until it is."""
        call("cuEventSynchronize")
        self._done.wait()
        call("cuEventSynchronize")
        return self


def memcpy_htod_async(dest: DeviceAllocation, src: np.ndarray, stream: Stream) -> None:
    """From pinned memory, when the stream comes to it."""
    if not src.flags.c_contiguous or not _is_pinned(src):
        GPU.faults.append("a copy to the device is not from pinned memory")
    address = int(dest)

    def copy() -> None:
        GPU.place(address)[: src.nbytes] = np.frombuffer(src, np.uint8)

    stream.queue("to device", copy)


def memcpy_dtoh_async(dest: np.ndarray, src: DeviceAllocation, stream: Stream) -> None:
    """To pinned memory, when the stream comes to it."""
    if not dest.flags.c_contiguous or not _is_pinned(dest):
        GPU.faults.append("a copy from the device is not to pinned memory")
    address = int(src)

    def copy() -> None:
        dest.reshape(-1).view(np.uint8)[:] = GPU.place(address)[: dest.nbytes]

    stream.queue("from device", copy)
