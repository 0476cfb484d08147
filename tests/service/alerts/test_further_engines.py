"""A worker that asks a second engine, with a source and a sink in memory."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from memory_worker import (
    PARTITION,
    CleanSky,
    MemorySink,
    MemorySource,
    SimulatedPipeline,
    packets,
    run_to_the_end,
    worker,
)
from prometheus_client import CollectorRegistry
from several_planes import CODES, MANIFEST, SeveralPlanes

from streamfilter.alerts.pipeline import FurtherEngine
from streamfilter.errors import EngineUnavailable
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.reading import read
from streamfilter.records import Doubt, EngineIdentity, Output

COUNT = 24
MAXIMASK = FurtherEngine(
    identity=EngineIdentity("maximask", "00" * 32, "none"),
    network=CleanSky.manifest,
    when=Doubt(classes=("RES",), above=0.5),
)


class Residuals(SeveralPlanes):
    """Finds a residual at the place of every alert whose difference is above 20 sigma there."""

    def infer(self, batch: Tensor) -> Tensor:
        time.sleep(0.1)  # so that others gather meanwhile
        found = super().infer(batch)
        middle = batch.shape[-1] // 2
        near = batch[:, 2, middle - 3 : middle + 4, middle - 3 : middle + 4].max(axis=(1, 2)) > 20
        found[:, CODES.index("RES")] = near[:, None, None]
        return found


class Asked(CleanSky):
    """Keeps what it was given; ``fail`` decides whether it fails."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def fail(self, batch: Tensor) -> None: ...

    def infer(self, batch: Tensor) -> Tensor:
        self.fail(batch)
        self.batches.append(batch.copy())
        return super().infer(batch)


@pytest.fixture(scope="module")
def values() -> list[bytes]:
    """Simulated packets; some have a residual in the middle."""
    return packets(COUNT)


def made(
    source: MemorySource,
    sink: MemorySink,
    further: Engine,
    first: Engine | None = None,
    registry: CollectorRegistry | None = None,
    **changes: Any,
) -> None:
    """Run a worker with a first engine and a further one to the end."""
    pipeline = SimulatedPipeline(network=MANIFEST, also=[MAXIMASK])
    run_to_the_end(
        worker(
            source,
            sink,
            pipeline=pipeline,
            engine=first or Residuals(),
            also=[further],
            registry=registry,
            **changes,
        ),
        source,
    )


def keys(outputs: Sequence[Output]) -> list[bytes]:
    return [output.key or b"" for output in outputs]


def test_only_those_in_doubt_are_asked_about_and_all_keep_their_order(values: list[bytes]) -> None:
    """The second engine gets batches of its own, of its own sides; metrics say how many."""
    source, sink, registry = MemorySource(values), MemorySink(), CollectorRegistry()
    further = Asked()
    made(source, sink, further, registry=registry, batch_size=8, judges=2)
    assert [b"%d" % n for n in range(COUNT)] == keys(sink.to("annotations"))
    records = [read(output.value or b"") for output in sink.to("annotations")]
    asked = [record for record in records if record["also"]]
    assert 0 < len(asked) < COUNT
    assert all(bool(each["also"]) == (each["science"]["res"]["core"] > 0.5) for each in records)
    assert len(asked) == sum(map(len, further.batches))
    assert {(1, 64, 64)} == {batch.shape[1:] for batch in further.batches}
    assert any(len(batch) > 1 for batch in further.batches)
    (opinion,) = asked[0]["also"]
    assert ("maximask", None) == (opinion["engine"]["name"], opinion["science"]["res"])
    assert opinion["science"]["fr"] is not None
    assert opinion["infer_s"] > 0
    assert {PARTITION: COUNT} == source.committed
    by_survey = {
        survey: registry.get_sample_value(
            "streamfilter_also_asked_total", {"survey": survey, "engine": "maximask"}
        )
        for survey in ("ztf", "lsst")
    }
    counted = {s: sum(each["survey"] == s for each in asked) for s in by_survey}
    assert counted == {survey: int(count or 0) for survey, count in by_survey.items()}
    batches = registry.get_sample_value("streamfilter_also_seconds_count", {"engine": "maximask"})
    assert len(further.batches) == batches


def test_a_stamp_that_breaks_the_second_engine_is_rejected_alone(values: list[bytes]) -> None:
    """The others of its batch have both voices, and the worker goes on."""
    seen = Asked()
    made(MemorySource(values), MemorySink(), seen, batch_size=8)
    poison = next(batch for batch in seen.batches if len(batch) > 1)[0]

    class Stumbling(Asked):
        def fail(self, batch: Tensor) -> None:
            if any(np.array_equal(each, poison) for each in batch):
                raise ZeroDivisionError("a stamp that nobody thought of")

    source, sink, further = MemorySource(values), MemorySink(), Stumbling()
    made(source, sink, further, batch_size=8)
    (rejected,) = sink.to("rejected")
    assert b"internal" == dict(rejected.headers)["streamfilter-reason"]
    assert COUNT - 1 == len(sink.to("annotations"))
    assert sum(map(len, seen.batches)) - 1 == sum(map(len, further.batches))
    assert {PARTITION: COUNT} == source.committed


def test_a_second_engine_that_fails_ends_the_worker_uncommitted(values: list[bytes]) -> None:
    """As the first one does: the alerts are read again by the next worker, and none is rejected."""

    class Broken(Asked):
        def fail(self, batch: Tensor) -> None:
            raise EngineUnavailable("the device is gone")

    source, sink = MemorySource(values), MemorySink()
    with pytest.raises(EngineUnavailable, match="the device is gone"):
        made(source, sink, Broken(), batch_size=COUNT)
    assert [] == sink.to("rejected")
    assert source.committed.get(PARTITION, 0) < COUNT
    # What was committed was answered.
    assert source.committed.get(PARTITION, 0) <= len(sink.to("annotations"))


def test_those_not_in_doubt_do_not_wait_for_the_second_engine(values: list[bytes]) -> None:
    """They are published while it still thinks about the others of their batch."""

    class Thinking(Asked):
        def fail(self, batch: Tensor) -> None:
            others = sum(map(len, first.batches)) - len(batch)
            end = time.monotonic() + 10
            while len(sink.to("annotations")) < others and time.monotonic() < end:
                time.sleep(0.01)
            published.append((others, len(sink.to("annotations"))))

    published: list[tuple[int, int]] = []
    # A partition of its own for each, so that the order holds nothing back.
    source, sink, first = MemorySource(values, partitions=COUNT), MemorySink(), Residuals()
    made(source, sink, Thinking(), first, batch_size=COUNT)
    assert COUNT == len(sink.to("annotations"))
    assert max(others for others, _ in published) > 1
    assert all(others == found for others, found in published)
