"""TensorRT on a real GPU: what it computes, how fast, and that it leaks nothing.

`make gpu` runs these and writes what they record into a report. Nothing here is proved by the fake
driver; on it (``fake_gpu``) only the tests themselves can be tried.
"""

import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_networks

from streamfilter.alerts import normalise
from streamfilter.errors import EngineUnavailable
from streamfilter.exposures import frames, sky, tiles
from streamfilter.exposures.records import Frame
from streamfilter.inference import bench, golden, gpus, manifest, runtimes
from streamfilter.inference.engine import Engine, OnDevice, Tensor
from streamfilter.inference.manifest import Precision
from streamfilter.records import Stamp

pytestmark = [pytest.mark.gpu, pytest.mark.engine]

PRECISIONS = ("float32", "fp16")
FLOAT32_BOUND = 1e-3  # of a probability; fp16's bounds are the manifest's
# Where two values of a pooling block are equal but for rounding, another is the maximum and single
# pixels take other values: 7e-6 of them between OpenVINO and ONNX Runtime on the same tiles.
FLOAT32_BEYOND = 1e-4
LEFT_BYTES = 400 * 2**20  # enough for a few stamps at a time, too little for 256
BATCHES = int(os.environ.get("STREAMFILTER_GPU_BATCHES", "100000"))  # of the leak check
STAMPS = 320

Record = Callable[[str, object], None]

# A worker of its own: opens the engine, runs it for a while, and prints what it gave.
WORKER = """
import hashlib, sys
from pathlib import Path
import numpy as np
from streamfilter.inference.runtimes import open_engine
engine = open_engine("maximask", "tensorrt", Path(sys.argv[1]), 1)
batch = np.random.default_rng(1).standard_normal((16, 1, 64, 64), np.float32)
engine.warm_up((batch.shape,))
print("ready", flush=True)
sys.stdin.readline()
found = {hashlib.sha256(engine.infer(batch).tobytes()).hexdigest() for _ in range(200)}
engine.close()
print(*found)
"""


@pytest.fixture(scope="module")
def home(engine_home: Path) -> Path:
    """The engine cache, on a machine with a GPU."""
    state = next(each for each in runtimes.states() if each.runtime == "tensorrt")
    if not state.precisions:
        pytest.skip(f"no GPU was used: {state.why_not}")
    return engine_home


@functools.cache
def opened(name: str, runtime: str, precision: str, home: Path) -> Engine:
    return runtimes.open_engine(name, runtime, home, 0, precision=precision, progress=print)


def real_stamps(samples: Path) -> list[Tensor]:
    """Of ZTF, as the pipeline gives them to the network, and in batches of its default size."""
    images = np.load(samples / "stamps" / "ztf.npz")["stamps"][:STAMPS, 0]
    found = [normalise.normalise(Stamp(image)) for image in images]
    whole = [each for each in found if isinstance(each, normalise.Normalised)]
    batch = np.zeros((len(whole), 1, 64, 64), np.float32)
    for stamp, place in zip(whole, batch[:, 0], strict=True):
        normalise.reflect(stamp, place)
    assert len(batch) > STAMPS / 2
    return [batch[start : start + 16] for start in range(0, len(batch), 16)]


def real_tiles(samples: Path) -> Iterator[Tensor]:
    """Of every exposure that a tile fits into, as `track` gives them to the network."""
    for path in sorted((samples / "exposures").glob("*/*.fit*")):
        for frame in frames.read_frame_file(str(path)):
            if not isinstance(frame, Frame) or min(frame.image.shape) < tiles.SIDE_PX:
                continue
            made = sky.normalise(frame.image, frame.masked)
            if isinstance(made, tuple):
                yield tiles.stacked(made[0], tiles.cut(made[0].shape)[:4])


def hold(name: str, precision: str, home: Path, batches: list[Tensor], record: Record) -> None:
    """Within the bounds of ONNX Runtime at float32; how far it is goes into the report."""
    assert batches
    engine = opened(name, "tensorrt", precision, home)
    measure = opened(name, "onnxruntime", "float32", home)
    apart = [np.abs(engine.infer(batch) - measure.infer(batch)) for batch in batches]
    classes = [each.mean(axis=(0, 2, 3)[: each.ndim - 1], dtype=np.float64) for each in apart]
    found = golden.Difference(
        float(np.max([each.max() for each in apart])), float(np.max(np.mean(classes, axis=0)))
    )
    record("images", sum(map(len, batches)))
    record("largest difference", f"{found.largest:.1e}")
    record("mean difference of a class", f"{found.mean:.1e}")
    beyond = sum(int(np.sum(each > FLOAT32_BOUND)) for each in apart) / sum(
        each.size for each in apart
    )
    record(f"share beyond {FLOAT32_BOUND:g}", f"{beyond:.1e}")
    allowed = engine.manifest.tolerance(Precision(precision))
    if precision == "float32":
        assert FLOAT32_BEYOND >= beyond
        assert allowed.mean >= found.mean
    else:
        assert found.within(allowed)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_real_stamps(precision: str, home: Path, samples: Path, record_property: Record) -> None:
    """MaxiMask on stamps of ZTF."""
    hold("maximask", precision, home, real_stamps(samples), record_property)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["maximask", "maxitrack"])
def test_real_frames(
    name: str, precision: str, home: Path, samples: Path, record_property: Record
) -> None:
    """Both networks on tiles of real exposures."""
    hold(name, precision, home, list(real_tiles(samples)), record_property)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["maximask", "maxitrack"])
def test_made_frames(name: str, precision: str, home: Path, record_property: Record) -> None:
    """Frames that travel with the package, whole and cut into stamps of 64, 96 and 128 px."""
    hold(name, precision, home, list(golden.batches(manifest.load(name))), record_property)


@pytest.mark.parametrize("batch", [1, 4, 16, 64, 256])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_latency(precision: str, batch: int, home: Path, record_property: Record) -> None:
    """Of one batch of 64 px stamps at a time, from numpy to numpy."""
    engine = opened("maximask", "tensorrt", precision, home)
    try:
        (speed,) = bench.cell((engine,), batch, 64)
    except EngineUnavailable as why:
        if "fits" not in str(why):
            raise
        pytest.skip(f"too large for this GPU: {why}")
    record_property("p50 of a batch", f"{1e3 * speed.p50_s:.3f} ms")
    record_property("p99", f"{1e3 * speed.p99_s:.3f} ms")
    record_property("stamps/s", f"{speed.images_per_s:.0f}")
    assert speed.p50_s <= speed.p99_s


@pytest.mark.parametrize("precision", PRECISIONS)
def test_throughput(precision: str, home: Path, record_property: Record) -> None:
    """Four callers with 16 stamps each get more through than one: copies hide behind computing."""
    engine = opened("maximask", "tensorrt", precision, home)
    images = np.zeros((16, 1, 64, 64), np.float32)
    engine.warm_up((images.shape,))
    rates = {callers: rate(engine, images, callers) for callers in (1, 2, 4)}
    for callers, found in rates.items():
        record_property(f"stamps/s, callers: {callers}", f"{found:.0f}")
    assert rates[4] > 0.9 * rates[1]


def rate(engine: Engine, images: Tensor, callers: int, seconds: float = 3.0) -> float:
    """Images a second of so many callers."""
    counts = [0] * callers
    end_s = time.perf_counter() + seconds

    def call(number: int) -> None:
        while time.perf_counter() < end_s:
            engine.infer(images)
            counts[number] += len(images)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def test_two_workers_share_a_gpu(home: Path) -> None:
    """Two processes at a time give the same bits, batch after batch."""
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, str(home)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for _ in range(2)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            assert "ready\n" == worker.stdout.readline()
        for worker in workers:  # both start
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = {worker.communicate(timeout=120)[0] for worker in workers}
    assert 1 == len(found)
    assert 1 == len(found.pop().split())


def free_bytes() -> int:
    """Free memory of the device; this thread needs the context for it."""
    cuda = gpus.driver()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        return int(cuda.mem_get_info()[0])
    finally:
        context.pop()
        context.detach()


def test_nothing_leaks(home: Path, record_property: Record) -> None:
    """Over 100,000 batches of changing size, on the device and in this process."""
    engine = opened("maximask", "tensorrt", "fp16", home)
    batches = [np.zeros((count, 1, 64, 64), np.float32) for count in (1, 3, 4)]
    engine.warm_up(((4, 1, 64, 64),))
    for number in range(min(1000, BATCHES)):
        engine.infer(batches[number % 3])
    before = free_bytes(), tiny_networks.resident_bytes()
    for number in range(BATCHES):
        engine.infer(batches[number % 3])
    device, host = before[0] - free_bytes(), tiny_networks.resident_bytes() - before[1]
    record_property("batches", BATCHES)
    record_property("device memory", f"{device / 2**20:+.1f} MiB")
    record_property("process memory", f"{host / 2**20:+.1f} MiB")
    assert 16 * 2**20 > device
    assert 64 * 2**20 > host


def test_memory_of_the_device_is_reported(home: Path, record_property: Record) -> None:
    """It is what the buffers take, and less than there is."""
    engine = opened("maximask", "tensorrt", "fp16", home)
    engine.warm_up(((16, 1, 64, 64),))
    assert isinstance(engine, OnDevice)
    memory = engine.device_memory
    record_property("buffers of two batches", f"{memory.buffers / 2**20:.0f} MiB")
    record_property("free, of", f"{memory.free / 2**20:.0f}, {memory.total / 2**20:.0f} MiB")
    assert 0 < memory.buffers < memory.total


def test_a_batch_beyond_the_memory_names_what_fits(home: Path) -> None:
    """Once almost all of the device is taken."""

    def open_and_warm() -> None:
        engine = runtimes.open_engine("maximask", "tensorrt", home, 1)
        engine.warm_up(((256, 1, 64, 64),))

    cuda = gpus.driver()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    taken = cuda.mem_alloc(cuda.mem_get_info()[0] - LEFT_BYTES)
    try:
        with pytest.raises(EngineUnavailable, match=r"a batch of \d+ fits \(batch\.size = \d+\)"):
            open_and_warm()
    finally:
        taken.free()
        context.pop()
        context.detach()
