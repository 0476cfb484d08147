"""The contract of ``Engine``, held by every runtime and precision at hand.

Tiny networks, whose probabilities are known in closed form, and the published ones, for which
ONNX Runtime at float32 is the measure. Where there is no GPU the runtime ``tensorrt`` is run on a
fake driver (``fake_gpu``): that proves its plumbing alone, and nothing of a GPU's numbers.
"""

import functools
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fake_gpu_here
import numpy as np
import pytest
import tiny_networks
from tiny_networks import TINY, Tiny

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import golden, gpus, runtimes
from streamfilter.inference.engine import Engine, Running, Tensor
from streamfilter.inference.manifest import Manifest, Precision, load, names

CASES = [
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bf16"),
    ("tensorrt", "float32"),
    ("tensorrt", "fp16"),
]
BATCHES = (1, 3, 16, 64)

Case = tuple[str, str]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny networks are; plans for a GPU, which take a while, are built there once."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(params=CASES, ids="-".join)
def case(
    request: pytest.FixtureRequest, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    """A runtime and precision that work here; TensorRT on a fake driver where no GPU is."""
    found: Case = request.param
    try:
        opened(TINY[0], found, shelf).close()
    except EngineUnavailable as why:
        if found[0] != "tensorrt":
            pytest.skip(str(why))
        if gpu_here():
            raise  # nothing of a GPU is proved by the fake driver
        with fake_gpu_here.installed(monkeypatch):
            yield found
    else:
        yield found


def gpu_here() -> bool:
    try:
        gpus.here()
    except EngineUnavailable:
        return False
    return True


@pytest.fixture(params=TINY, ids=lambda network: network.name)
def network(request: pytest.FixtureRequest) -> Tiny:
    found: Tiny = request.param
    return found


@pytest.fixture
def engine(case: Case, network: Tiny, shelf: Path) -> Iterator[Engine]:
    made = opened(network, case, shelf, workers=2)
    yield made
    made.close()


def opened(network: Tiny, case: Case, folder: Path, *, workers: int = 1) -> Engine:
    """A tiny network on a runtime."""
    path = tiny_networks.write(network, folder)
    running = Running(threads=1, workers=workers, precision=Precision(case[1]))
    return runtimes.opener(case[0])(tiny_networks.manifest(network), path, running)


def images(count: int, height: int, width: int) -> Tensor:
    shape = (count, 1, height, width)
    return np.random.default_rng(count).normal(0, 3, shape).astype(np.float32)


def assert_close(manifest: Manifest, case: Case, expected: Tensor, found: Tensor) -> None:
    """Within the manifest's tolerance of the case's precision."""
    allowed = manifest.tolerance(Precision(case[1]))
    assert expected.shape == found.shape
    assert np.float32 == found.dtype
    difference = np.abs(expected - found).astype(np.float64)
    axes = (0, 2, 3)[: found.ndim - 1]
    assert allowed.largest >= difference.max()
    assert allowed.mean >= difference.mean(axis=axes).max()


def test_every_runtime_is_held_to_the_contract() -> None:
    """A new one is tested by a row of ``CASES`` for each of its precisions."""
    assert set(runtimes.RUNTIMES) == {runtime for runtime, _ in CASES}, "add it to CASES"


@pytest.mark.parametrize("count", BATCHES)
def test_a_batch_of_any_size_gives_the_known_probabilities(
    engine: Engine, network: Tiny, case: Case, count: int
) -> None:
    """The results are in the order of the batch, and float32 at every precision."""
    batch = images(count, 16, 16)
    assert_close(engine.manifest, case, network.expected(batch), engine.infer(batch))


def test_sides_may_change_from_batch_to_batch(engine: Engine, network: Tiny, case: Case) -> None:
    """Larger, smaller, oblong, and the first again."""
    for height, width in ((16, 16), (64, 64), (16, 64), (32, 16), (16, 16)):
        batch = images(3, height, width)
        assert_close(engine.manifest, case, network.expected(batch), engine.infer(batch))


def test_a_batch_of_more_pixels_than_one_run_is_whole(
    engine: Engine, network: Tiny, case: Case
) -> None:
    """The batch runs in parts, and the results are in order."""
    batch = images(9, 128, 128)
    assert_close(engine.manifest, case, network.expected(batch), engine.infer(batch))


def test_more_threads_than_workers_each_get_their_own(engine: Engine, network: Tiny) -> None:
    """Eight threads on two workers: what they get alone, to the bit."""
    batches = [images(1 + number % 5, 16, 16 + 16 * (number % 3)) for number in range(40)]
    alone = [engine.infer(batch) for batch in batches]
    gate = threading.Barrier(8)

    def infer(number: int) -> bool:
        if number < 8:
            gate.wait(10)
        return np.array_equal(alone[number], engine.infer(batches[number]))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(infer, range(len(batches))))


def test_the_result_is_the_callers_own(engine: Engine) -> None:
    """Later runs and changes of the batch leave it, and it may be written to."""
    batch = images(2, 16, 16)
    first = engine.infer(batch)
    kept = first.copy()
    batch[:] = -3
    engine.infer(batch)
    np.testing.assert_array_equal(kept, first)
    first[:] = 0


def test_the_batch_is_left_as_it_was(engine: Engine) -> None:
    """This includes a read-only batch and a view."""
    wide = images(2, 16, 32)
    kept = wide.copy()
    wide.flags.writeable = False
    whole = engine.infer(kept[..., ::2].copy())
    np.testing.assert_array_equal(whole, engine.infer(wide[..., ::2]))
    np.testing.assert_array_equal(kept, wide)


def test_a_warm_engine_gives_the_same(engine: Engine) -> None:
    """Warming up leaves no trace, from several threads too."""
    batch = images(3, 16, 16)
    before = engine.infer(batch)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(engine.warm_up, [((1, 1, 16, 16), (5, 1, 32, 16))] * 4))
    np.testing.assert_array_equal(before, engine.infer(batch))


def test_a_closed_engine_says_so(engine: Engine) -> None:
    """Closing twice is no error."""
    engine.close()
    engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        engine.infer(images(1, 16, 16))


def test_an_engine_opens_again_after_it_was_closed(case: Case, shelf: Path) -> None:
    """Many times, and with the same result."""
    batch, found = images(3, 16, 16), []
    for _ in range(5):
        engine = opened(TINY[0], case, shelf)
        found.append(engine.infer(batch))
        engine.close()
    assert all(np.array_equal(found[0], each) for each in found)


def test_a_batch_that_does_not_fit_is_refused(engine: Engine) -> None:
    """The message states the manifest's shape, and the engine goes on."""
    with pytest.raises(EngineUnavailable, match="takes float32 of shape"):
        engine.infer(np.zeros((1, 2, 16, 16), np.float32))
    assert 1 == len(engine.infer(images(1, 16, 16)))


def test_a_file_that_is_no_onnx_is_refused(case: Case, tmp_path: Path) -> None:
    """The path is in the message."""
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x01garbage")
    running = Running(precision=Precision(case[1]))
    with pytest.raises(EngineUnavailable, match=r"bad\.onnx"):
        runtimes.opener(case[0])(load("maximask"), tmp_path / "bad.onnx", running)


def test_an_onnx_of_another_network_is_refused(case: Case, tmp_path: Path) -> None:
    """Input and output names are held against the manifest."""
    path = tiny_networks.write(TINY[0], tmp_path)
    other = replace(tiny_networks.manifest(TINY[0]), input_name="pixels")
    with pytest.raises(EngineUnavailable, match=r"\['image', 'probabilities'\]; the manifest"):
        runtimes.opener(case[0])(other, path, Running(precision=Precision(case[1])))


def test_the_runtime_is_named_with_version_and_precision(engine: Engine, case: Case) -> None:
    """Annotations and metrics contain this name."""
    name, _, rest = engine.runtime.partition(" ")
    assert case[0] == name
    assert ("float32" != case[1]) is rest.endswith(f" {case[1]}")


@pytest.fixture
def real(case: Case) -> Case:
    """A case in which something else than ONNX Runtime computes, or ONNX Runtime itself."""
    if "fake_gpu" in str(getattr(sys.modules.get("tensorrt"), "__file__", "")):
        pytest.skip("no GPU: on the fake driver ONNX Runtime would be held against itself")
    return case


@functools.cache
def measured(name: str, home: Path) -> list[tuple[Tensor, Tensor]]:
    """Made frames and stamps, and what ONNX Runtime says of them at float32."""
    engine = runtimes.open_engine(name, "onnxruntime", home, 2)
    return [(batch, engine.infer(batch)) for batch in golden.batches(engine.manifest)]


@pytest.mark.engine
@pytest.mark.parametrize("name", names())
def test_a_published_network_is_within_its_tolerance(
    real: Case, name: str, engine_home: Path
) -> None:
    """The tolerance is relative to ONNX Runtime at float32, on synthetic frames and stamps."""
    if real[1] not in [row.precision for row in load(name).tolerances]:
        pytest.skip(f"{name} is not offered at {real[1]}")
    engine = runtimes.open_engine(name, real[0], engine_home, 2, precision=real[1])
    for batch, expected in measured(name, engine_home):
        assert_close(engine.manifest, real, expected, engine.infer(batch))
    engine.close()


@pytest.mark.engine
def test_threads_on_a_published_network_get_their_own(real: Case, engine_home: Path) -> None:
    """Batches of several shapes at once give what they give alone."""
    engine = runtimes.open_engine("maximask", real[0], engine_home, 1, workers=2, precision=real[1])
    shapes = [(1, 64, 64), (3, 64, 64), (1, 96, 64), (2, 32, 32)]
    batches = [images(*shape) for shape in shapes] * 2
    alone = [engine.infer(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(engine.infer, batches))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_allclose(expected, found, atol=1e-6)


@pytest.mark.engine
def test_memory_does_not_grow_with_new_shapes(real: Case, engine_home: Path) -> None:
    """After the largest run, runs of other shapes hold no more."""
    engine = runtimes.open_engine("maximask", real[0], engine_home, 1, precision=real[1])
    engine.warm_up(((4, 1, 128, 128), (16, 1, 64, 64), (7, 1, 96, 96)))
    before = tiny_networks.resident_bytes()
    for count in range(1, 16, 2):
        engine.warm_up(((count, 1, 64, 64), (count // 4 + 1, 1, 96, 96)))
    assert 100 * 2**20 > tiny_networks.resident_bytes() - before
