"""The runtime ``tensorrt`` on a fake driver: that proves its plumbing, and nothing else.

That buffers, streams, threads and errors are handled as CUDA, pycuda and TensorRT want it is held
by ``fake_gpu``; what a GPU computes, and how fast, by ``tests/inference/test_on_gpu.py`` alone.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_gpu_here
import numpy as np
import pytest
import tiny_networks
from fake_gpu_here import FakeGpu
from tiny_networks import TINY

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import runtimes
from streamfilter.inference.engine import Engine, OnDevice, Plans, Running, Tensor
from streamfilter.inference.manifest import Precision
from streamfilter.inference.progress import silent

NETWORK = TINY[1]  # two classes of a pixel, from its neighbours


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A fake GPU, of which nothing may be left, and none of whose rules may be broken."""
    with fake_gpu_here.installed(monkeypatch) as found:
        yield found
        gc.collect()
        assert {} == fake_gpu_here.left_over(found)


@pytest.fixture
def opened(fake: FakeGpu, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Opens the network, and closes it in the end."""
    with contextlib.ExitStack() as stack:

        def open_one(
            precision: str = "float32", plans: Plans = Plans.BUILD, said: list[str] | None = None
        ) -> Engine:
            running = Running(
                precision=Precision(precision),
                plans=plans,
                progress=silent if said is None else said.append,
            )
            path = tiny_networks.write(NETWORK, tmp_path)
            engine = runtimes.opener("tensorrt")(tiny_networks.manifest(NETWORK), path, running)
            stack.callback(engine.close)
            return engine

        yield open_one


def images(count: int, side: int = 64) -> Tensor:
    shape = (count, 1, side, side)
    return np.random.default_rng(count).normal(0, 3, shape).astype(np.float32)


def assert_right(batch: Tensor, found: Tensor) -> None:
    np.testing.assert_allclose(NETWORK.expected(batch), found, atol=1e-6)


@contextlib.contextmanager
def held(fake: FakeGpu) -> Iterator[None]:
    """No network computes before the gate is set, or the end: a test that fails must not hang."""
    fake.state.gate.clear()
    try:
        yield
    finally:
        fake.state.gate.set()


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_a_batch_is_copied_in_run_and_copied_out_in_order(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """On one stream, with an event behind it all."""
    engine = opened()
    engine.infer(images(3))
    fake.state.queued.clear()
    batch = images(3)
    assert_right(batch, engine.infer(batch))
    words = [word for word, _ in fake.state.queued]
    assert ["to device", "run (graph)", "from device", "record"] == words
    assert 1 == len({stream for _, stream in fake.state.queued})


def test_a_second_batch_is_queued_while_the_first_runs(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """On a stream of its own: its copies are hidden; a third waits for a slot."""
    engine = opened()
    engine.warm_up(((1, 1, 64, 64),))
    fake.state.queued.clear()
    with ThreadPoolExecutor(3) as pool, held(fake):
        running = [pool.submit(engine.infer, images(1)) for _ in range(3)]
        wait_for(lambda: 2 == len(fake.streams("record")))
        time.sleep(0.05)
        assert 2 == len(set(fake.streams("to device"))) == len(fake.streams("run (graph)"))
        assert not any(one.done() for one in running)
        fake.state.gate.set()
        for one in running:
            assert_right(images(1), one.result(10))
    assert 3 == len(fake.streams("record"))


def test_a_batch_is_handed_on_as_soon_as_it_is_done(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """While a slot is free, new batches and finished ones are both looked for."""
    engine = opened()
    engine.warm_up(((1, 1, 64, 64),))
    with ThreadPoolExecutor(1) as pool, held(fake):
        first = pool.submit(engine.infer, images(1))
        wait_for(lambda: bool(fake.streams("record")))
        fake.state.gate.set()
        assert_right(images(1), first.result(10))


@pytest.mark.parametrize(("count", "padded"), [(1, 1), (3, 4), (16, 16), (17, 32), (40, 64)])
def test_a_batch_is_padded_to_the_next_size_and_cut(
    count: int, padded: int, fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """A later, smaller one sees nothing of it."""
    engine = opened()
    for batch in (images(count), images(max(1, count - 1))):
        assert_right(batch, engine.infer(batch))
    assert isinstance(engine, OnDevice)
    assert engine.device_memory.buffers >= padded * 64 * 64 * (4 + 2 * 4 + 1024)


def test_a_batch_beyond_the_largest_size_is_run_in_parts(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """113 images of 96 px are the most of its profile."""
    batch = images(120, 96)
    assert_right(batch, opened().infer(batch))
    assert 2 == len(fake.streams("record"))


def test_sides_without_a_profile_are_refused(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """The message says what the plan takes; the engine goes on."""
    engine = opened()
    with pytest.raises(EngineUnavailable, match=r"of 1024 x 1024 px; it takes .*2 to 896"):
        engine.infer(images(1, 1024))
    assert_right(images(1), engine.infer(images(1)))


def test_results_are_copied_out(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """What a caller has does not change when its slot is used again, or given back."""
    engine = opened()
    found = [engine.infer(images(2)) for _ in range(6)]
    engine.infer(np.zeros((2, 1, 64, 64), np.float32))
    engine.close()
    for each in found:
        assert each.flags.writeable
        assert_right(images(2), each)


def test_one_thread_owns_the_context(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """Whoever opens, runs and closes the engine."""
    engine = opened()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.infer, [images(n) for n in range(1, 9)]))
        pool.submit(engine.close).result()
    assert {"gpu-0"} == fake.state.threads


def test_two_engines_have_a_thread_each(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """They share the device's primary context, and closing one leaves the other."""
    exact, half = opened(), opened("fp16")
    assert_right(images(2), exact.infer(images(2)))
    assert 2 == len(fake.state.stacks)
    exact.close()
    assert 1 == len(fake.state.stacks)
    np.testing.assert_allclose(NETWORK.expected(images(2)), half.infer(images(2)), atol=3e-3)


def test_a_shape_is_recorded_once_it_has_run(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """The first run is queued call by call, all later ones are launches of its graph."""
    engine = opened()
    for _ in range(4):
        assert_right(images(2), engine.infer(images(2)))
    runs = [word for word, _ in fake.state.queued if word.startswith("run")]
    assert ["run", "run (graph)", "run (graph)", "run (graph)"] == runs


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_without_graphs_batches_are_queued_call_by_call(
    call: str, fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """The reason is said once; it is no other runtime and no other precision."""
    fake.library.refuses = call
    said: list[str] = []
    engine = opened(said=said)
    engine.warm_up(((2, 1, 64, 64),))
    for _ in range(3):
        assert_right(images(2), engine.infer(images(2)))
    told = [line for line in said if "no CUDA graphs" in line]
    assert [f"{call} failed: operation failed due to a previous error during capture"] == [
        line.partition("call by call: ")[2] for line in told
    ]
    assert not fake.streams("run (graph)")


def test_a_network_that_cannot_be_recorded_is_run_as_it_is(
    fake: FakeGpu, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT answers False while it is recorded; the capture is ended all the same."""
    monkeypatch.setattr(fake.tensorrt, "REFUSES_CAPTURE", True)
    said: list[str] = []
    engine = opened(said=said)
    for _ in range(3):
        assert_right(images(2), engine.infer(images(2)))
    assert "the network cannot be queued while it is recorded" in said[-1]


def test_a_graph_that_does_not_launch_stops_the_engine(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """The batch is not silently run in another way."""
    engine = opened()
    engine.warm_up(((2, 1, 64, 64),))
    fake.library.refuses = "cuGraphLaunch"
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="cuGraphLaunch failed"):
            engine.infer(images(2))
    fake.library.refuses = ""
    with pytest.raises(EngineUnavailable, match="does nothing more"):
        engine.infer(images(2))


def test_a_failure_of_the_gpu_stays(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """Every batch in flight and every later one is answered with it, and closing does not hang."""
    engine = opened()
    engine.warm_up(((1, 1, 64, 64),))
    with ThreadPoolExecutor(3) as pool, held(fake):
        running = [pool.submit(engine.infer, images(1)) for _ in range(3)]
        wait_for(lambda: 2 <= len(fake.streams("record")))
        fake.state.broken = "an illegal memory access was encountered"
        fake.state.gate.set()
        for one in running:
            with pytest.raises(EngineUnavailable, match=r"illegal memory access .*start it again"):
                one.result(10)
    with pytest.raises(EngineUnavailable, match="illegal memory access"):
        engine.infer(images(1))
    engine.close()
    fake_gpu_here.forget(fake)


def test_a_batch_that_tensorrt_does_not_queue_stops_the_engine(
    fake: FakeGpu, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the errors of TensorRT's logger."""
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "1")
    engine = opened()
    with pytest.raises(EngineUnavailable, match=r"cannot queue .* no kernel image is available"):
        engine.infer(images(1))


@pytest.mark.parametrize(("mib", "fits"), [("40", 4), ("150", 16), ("4", None)])
def test_too_little_memory_names_the_batch_that_fits(
    mib: str, fits: int | None, fake: FakeGpu, opened: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The warm-up at the start fails, and the named batch does fit."""
    monkeypatch.setenv("FAKE_GPU_MIB", mib)
    engine = opened()
    expected = f"a batch of {fits} fits .batch.size = {fits}." if fits else "not even a batch of 1"
    with pytest.raises(EngineUnavailable, match=f"32 images of 64 x 64 px need .*{expected}"):
        engine.warm_up(((32, 1, 64, 64),))
    engine.close()
    if fits:
        engine = opened()
        engine.warm_up(((fits, 1, 64, 64),))
        assert_right(images(fits), engine.infer(images(fits)))


def test_warming_up_prepares_every_smaller_batch_in_every_slot(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """After it nothing is allocated, whatever comes, and from whichever thread."""
    engine = opened()
    engine.warm_up(((1, 1, 64, 64), (16, 1, 64, 64), (16, 1, 96, 96)))
    address = fake.state.next_address
    with ThreadPoolExecutor(4) as pool:
        batches = [images(n, side) for n in range(1, 17) for side in (64, 96)]
        for batch, found in zip(batches, pool.map(engine.infer, batches), strict=True):
            assert_right(batch, found)
    assert address == fake.state.next_address


def test_nothing_leaks_over_many_batches(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """Memory, streams, events, contexts and graphs are as many after 1,000 batches as before."""
    engine = opened()
    engine.warm_up(((4, 1, 64, 64),))

    def counted() -> tuple[int, ...]:
        gc.collect()
        state = fake.state
        return len(state.memory), len(state.pinned), len(state.live), len(fake.library.graphs)

    before = counted()
    for number in range(1000):
        engine.infer(images(1 + number % 4))
    assert before == counted()


def test_an_engine_that_is_dropped_gives_everything_back(
    fake: FakeGpu, opened: Callable[..., Engine], tmp_path: Path
) -> None:
    """Without being closed: the thread ends, and it was the one to give it back."""
    path = tiny_networks.write(NETWORK, tmp_path)
    engine = runtimes.opener("tensorrt")(tiny_networks.manifest(NETWORK), path, Running())
    engine.infer(images(2))
    del engine
    gc.collect()
    wait_for(lambda: not fake.state.memory and not fake.state.stacks)


def test_closing_waits_for_what_is_in_flight(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """Who waits for a slot is told that it was closed."""
    engine = opened()
    engine.warm_up(((1, 1, 64, 64),))
    with ThreadPoolExecutor(4) as pool, held(fake):
        flying = [pool.submit(engine.infer, images(1)) for _ in range(2)]
        wait_for(lambda: 2 <= len(fake.streams("record")))
        waiting = pool.submit(engine.infer, images(1))
        closing = pool.submit(engine.close)
        with pytest.raises(EngineUnavailable, match="closed"):
            waiting.result(10)
        assert not closing.done()
        fake.state.gate.set()
        for one in flying:
            assert_right(images(1), one.result(10))
        closing.result(10)


def test_a_context_that_cannot_be_had_is_said(
    fake: FakeGpu, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has the device for itself."""
    monkeypatch.setenv("FAKE_GPU_BUSY", "1")
    with pytest.raises(EngineUnavailable, match=r"no context .*exclusive-process.*nvidia-smi"):
        opened()


def test_a_plan_that_tensorrt_does_not_take_is_an_error(
    fake: FakeGpu, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has TensorRT's error, and nothing stays on the device."""
    monkeypatch.setattr(fake.tensorrt.Runtime, "deserialize_cuda_engine", lambda self, plan: None)
    with pytest.raises(EngineUnavailable, match="cannot open the plan of blurred on Fake GPU"):
        opened()


def test_where_no_plan_may_be_built_the_start_is_refused(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """A plan that was built before is used."""
    with pytest.raises(EngineUnavailable, match="`streamfilter engines build` builds it"):
        opened(plans=Plans.REFUSE)
    opened()
    assert_right(images(1), opened(plans=Plans.REFUSE).infer(images(1)))


def test_a_precision_that_gpus_have_not_is_refused(
    fake: FakeGpu, opened: Callable[..., Engine]
) -> None:
    """It is not run at another one."""
    with pytest.raises(EngineUnavailable, match="no precision 'bf16'; choose 'float32' or 'fp16'"):
        opened("bf16")


def test_memory_of_the_device_is_reported(fake: FakeGpu, opened: Callable[..., Engine]) -> None:
    """The engine's own buffers, and what the driver says of the rest."""
    engine = opened()
    engine.warm_up(((16, 1, 64, 64),))
    assert isinstance(engine, OnDevice)
    found = engine.device_memory
    assert fake.state.held == found.buffers
    assert (fake.state.total - fake.state.held, fake.state.total) == (found.free, found.total)
