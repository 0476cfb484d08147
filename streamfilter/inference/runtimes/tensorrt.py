"""TensorRT on a GPU, 10 and 11, at float32 or fp16, driven by pycuda.

A plan comes from ``plan_cache``. Two slots take one batch each, so that one batch is copied while
the other is computed. A batch is padded to the next of a few sizes; each size has a context and,
where the driver can record it, a CUDA graph.

Threads: any thread may call ``infer``. It leases a slot, fills the pinned input, and copies the
result out of the pinned output. One thread (``gpu_thread``) makes all calls of CUDA and TensorRT.
Buffers: the caller's batch is copied before ``infer`` returns, and the result is the caller's own.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import gpus, plan_cache, plans
from streamfilter.inference.engine import DeviceMemory, Engine, Running, Tensor, check_names
from streamfilter.inference.gpus import Gpu
from streamfilter.inference.manifest import Manifest, Precision
from streamfilter.inference.runtimes import cuda_graphs
from streamfilter.inference.runtimes.gpu_thread import GpuThread
from streamfilter.inference.runtimes.slots import Graphs, Network, Shape, Slot

VERSION: str = tensorrt.__version__
"""Version of the library."""

_DEVICE = 0  # CUDA_VISIBLE_DEVICES chooses the GPU
_SLOTS = 2  # batches on the GPU at a time: one computes while another is copied
_WARM_RUNS = 2  # the second is recorded


def precisions() -> tuple[Precision, ...]:
    """Returns the precisions of this machine's GPU.

    Raises
    ------
    EngineUnavailable
        There is no usable GPU; the message says how to mend that.
    """
    gpus.here(_DEVICE)
    return plan_cache.PRECISIONS


def open(manifest: Manifest, onnx_path: Path, running: Running) -> Engine:
    """Open an engine's plan on the GPU; where none matches, it is built first if allowed.

    Raises
    ------
    EngineUnavailable
        There is no GPU, no such precision, no plan, or the plan is not the manifest's.
    """
    manifest.tolerance(running.precision)
    gpu = gpus.here(_DEVICE)
    plan = plan_cache.plan_for(tensorrt, manifest, onnx_path, gpu, running)
    cuda = gpus.driver()
    thread = GpuThread(cuda, _DEVICE, most_in_flight=_SLOTS)
    held: list[Slot | Network] = []
    try:
        network = thread.call(lambda: _loaded(manifest, cuda, plan, onnx_path, held))
        graphs = _graphs(running)
        slots = thread.call(lambda: [_slot(network, graphs, held) for _ in range(_SLOTS)])
    except (EngineUnavailable, cuda.Error) as error:
        thread.stop(lambda: _close(held))
        raise EngineUnavailable(
            f"TensorRT cannot open the plan of {manifest.name} on {gpu.name}: {error}"
        ) from error
    # The last job also runs where the engine is dropped unclosed, and when the process ends.
    return _TensorRtEngine(
        manifest, running.precision, gpu, network, thread, slots, lambda: _close(held)
    )


def _loaded(
    manifest: Manifest, cuda: Any, plan: bytes, onnx_path: Path, held: "list[Slot | Network]"
) -> Network:
    """Load the plan on the device, if it is the manifest's; on the GPU thread."""
    log = plans.logger(tensorrt)
    start = len(log.said)
    try:
        runtime = tensorrt.Runtime(log)
    except TypeError as error:  # its bindings raise this where C++ returned nothing
        raise EngineUnavailable("; ".join([*log.said[start:], str(error)])) from error
    network = Network(
        trt=tensorrt,
        cuda=cuda,
        runtime=runtime,
        plan=runtime.deserialize_cuda_engine(plan),
        said=log.said,
        input_name=manifest.input_name,
        output_name=manifest.output_name,
    )
    held.append(network)
    if network.plan is None:
        raise EngineUnavailable("; ".join(log.said[start:]) or "it did not say why")
    names = [network.plan.get_tensor_name(at) for at in range(network.plan.num_io_tensors)]
    # Inputs first, as the other runtimes name them.
    names.sort(key=lambda name: network.plan.get_tensor_mode(name) != tensorrt.TensorIOMode.INPUT)
    check_names(manifest, names, onnx_path)
    for name in names:
        if network.plan.get_tensor_dtype(name) != tensorrt.DataType.FLOAT:
            raise EngineUnavailable(f"{name!r} is not float32 in the plan")
    network.boxes = tuple(
        (tuple(least), tuple(most))
        for at in range(network.plan.num_optimization_profiles)
        for least, _, most in [network.plan.get_tensor_profile_shape(manifest.input_name, at)]
    )
    return network


def _graphs(running: Running) -> Graphs:
    """Returns the recording of CUDA graphs, switched off where the driver has none."""
    graphs = Graphs(tell=running.progress)
    try:
        graphs.driver = cuda_graphs.library()
    except cuda_graphs.CaptureFailed as error:
        graphs.give_up(error)
    return graphs


def _slot(network: Network, graphs: Graphs, held: "list[Slot | Network]") -> Slot:
    """Make one more slot; on the GPU thread."""
    slot = Slot(network, graphs)
    held.append(slot)
    return slot


def _close(held: "list[Slot | Network]") -> None:
    """Release the slots, then the network; on the GPU thread."""
    while held:
        held.pop().close()


class _TensorRtEngine:
    """An engine on TensorRT; each slot takes one batch at a time, others wait."""

    def __init__(
        self,
        manifest: Manifest,
        precision: Precision,
        gpu: Gpu,
        network: Network,
        thread: GpuThread,
        slots: list[Slot],
        last: Callable[[], None],
    ) -> None:
        self._manifest = manifest
        self._precision = precision
        self._gpu = gpu
        self._network = network
        self._thread = thread
        self._slots = tuple(slots)
        self._free = list(slots)
        self._turn = threading.Condition()
        self._closed = False
        self._memory = DeviceMemory(0, 0, 0)
        self._finish = weakref.finalize(self, thread.stop, last)

    @property
    def manifest(self) -> Manifest:
        """The engine's inputs and outputs."""
        return self._manifest

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, and the precision where it is not float32."""
        suffix = "" if self._precision is Precision.FLOAT32 else f" {self._precision}"
        return f"tensorrt {VERSION}{suffix}"

    @property
    def device_memory(self) -> DeviceMemory:
        """The memory after the last preparation of a shape."""
        return self._memory

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Prepare each shape, and every smaller size of batch, in every slot; the largest first.

        Raises
        ------
        EngineUnavailable
            The device's memory is too small; the message names the batch size that fits.
        """
        wanted: set[Shape] = set()
        for shape in shapes:
            self._manifest.check(np.zeros(shape, np.float32))
            sizes = self._sizes(shape)
            wanted |= {size for size in sizes if size[0] < 2 * shape[0]}
        order = sorted(wanted, key=lambda one: (-np.prod(one), one))
        with self._all() as slots:
            # Twice, because a shape that needs more memory drops the shapes prepared before.
            for size in (*order, *order):
                for slot in slots:
                    if not slot.has(size):
                        for _ in range(_WARM_RUNS):
                            self._run(slot, np.zeros(size, np.float32))

    def infer(self, batch: Tensor) -> Tensor:
        """Returns the raw probabilities of a batch; see ``Engine.infer``."""
        self._manifest.check(batch)
        most = self._sizes(batch.shape)[-1][0]
        parts = [batch[start : start + most] for start in range(0, len(batch), most)]
        found = []
        for part in parts:
            with self._leased() as slot:
                found.append(self._run(slot, part))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def close(self) -> None:
        """Release the GPU, once the last batch in flight is done."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            self._turn.notify_all()
            self._turn.wait_for(lambda: len(self._free) == len(self._slots))
        self._finish()

    def _run(self, slot: Slot, batch: Tensor) -> Tensor:
        """Run a batch in a leased slot: copy it in, pad it with zeros, run, copy the result out."""
        shape = self._size(batch.shape)
        if not slot.has(shape):
            self._prepare(slot, shape)
        count, staged = len(batch), slot.staged(shape)
        staged[:count] = batch
        staged[count:] = 0
        self._thread.run_batch(lambda: slot.start(shape, count))
        return slot.found(shape)[:count].copy()

    def _prepare(self, slot: Slot, shape: Shape) -> None:
        """Prepare a shape in a slot; where the memory is too small, say what would fit."""
        cuda = self._network.cuda

        def prepare() -> DeviceMemory:
            slot.prepare(shape)
            free, total = cuda.mem_get_info()
            held = sum(each.held_bytes for each in self._slots)
            return DeviceMemory(buffers=held, free=free, total=total)

        try:
            self._memory = self._thread.call(prepare)
        except cuda.MemoryError as error:
            raise EngineUnavailable(
                self._thread.call(lambda: self._too_large(slot, shape))
            ) from error

    def _too_large(self, slot: Slot, shape: Shape) -> str:
        """Returns why a shape does not fit, and which batch size does; on the GPU thread."""
        free, total = self._network.cuda.mem_get_info()
        held = sum(each.held_bytes for each in self._slots)
        fits = [
            size[0]
            for size in self._sizes(shape)
            if size[0] < shape[0] and _SLOTS * slot.need(size).device <= free + held
        ]
        mend = (
            f"a batch of {fits[-1]} fits (batch.size = {fits[-1]})"
            if fits
            else "not even a batch of 1 fits"
        )
        return (
            f"{self._manifest.name} on {self._gpu.name}: {shape[0]} images of "
            f"{shape[3]} x {shape[2]} px need {slot.need(shape).device / 2**20:.0f} MiB in each of "
            f"{_SLOTS} slots, and {(free + held) / 2**20:.0f} of the GPU's {total / 2**20:.0f} MiB "
            f"are left: {mend}; or free memory (`nvidia-smi` lists who has it)"
        )

    def _size(self, shape: Shape) -> Shape:
        """Returns the shape that a batch is padded to."""
        return next(size for size in self._sizes(shape) if size[0] >= shape[0])

    def _sizes(self, shape: Shape) -> list[Shape]:
        """Returns the shapes that batches are padded to: powers of two, and the largest one.

        Raises
        ------
        EngineUnavailable
            The plan takes no such images.
        """
        one = (1, *shape[1:])
        profile = self._network.profile(one)
        if profile is None:
            taken = "; ".join(
                f"{least[3]} to {most[3]} px" if least != most else f"{least[3]} px"
                for least, most in self._network.boxes
            )
            raise EngineUnavailable(
                f"the plan of {self._manifest.name} takes no images of {shape[3]} x {shape[2]} px; "
                f"it takes sides of {taken}"
            )
        most = self._network.boxes[profile][1][0]
        powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
        return [(count, *shape[1:]) for count in (*powers, most)]

    @contextmanager
    def _leased(self) -> Iterator[Slot]:
        """Lease the first free slot."""
        with self._turn:
            self._turn.wait_for(lambda: self._free or self._closed)
            self._check_open()
            slot = self._free.pop()
        try:
            yield slot
        finally:
            self._give_back([slot])

    @contextmanager
    def _all(self) -> Iterator[list[Slot]]:
        """Lease every slot, once all are free."""
        with self._turn:
            self._turn.wait_for(lambda: len(self._free) == len(self._slots) or self._closed)
            self._check_open()
            slots, self._free = self._free, []
        try:
            yield slots
        finally:
            self._give_back(slots)

    def _give_back(self, slots: list[Slot]) -> None:
        with self._turn:
            self._free += slots
            self._turn.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineUnavailable(f"the engine {self._manifest.name} was closed")
