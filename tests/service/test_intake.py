"""Messages whose schema is not here yet, in a worker with a source and a sink in memory."""

import threading
import time
from collections.abc import Iterator

import pytest
import structlog
from memory_worker import (
    MemorySink,
    MemorySource,
    SimulatedPipeline,
    packets,
    run_to_the_end,
    worker,
)

from streamfilter.errors import SchemaUnavailable
from streamfilter.records import Output
from streamfilter.schemas.finder import SchemaKey

FIRST, SECOND = ("alerts", 0), ("alerts", 1)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """What the worker logs; a traceback drawn for a terminal takes seconds."""
    with structlog.testing.capture_logs() as events:
        yield events


class Away(SimulatedPipeline):
    """Its registry answers only while it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.there = threading.Event()
        self.asked = 0

    def fetch(self, key: SchemaKey) -> None:
        self.asked += 1
        if not self.there.is_set():
            raise SchemaUnavailable("no answer")
        super().fetch(key)


def mixed(count: int) -> list[bytes | None]:
    """Packets in turn: of the Confluent form (an even place), and containers (an odd one)."""
    every = packets(4 * count)
    confluent = [value for value in every if value.startswith(b"\x00")][:count]
    containers = [value for value in every if value.startswith(b"Obj")][:count]
    assert len(confluent) == len(containers) == count
    return [value for pair in zip(confluent, containers, strict=True) for value in pair]


def keys(outputs: list[Output]) -> list[int]:
    return [int(output.key or b"") for output in outputs]


def until(condition: object, limit_s: float = 10.0) -> None:
    """Return once a question is answered by yes."""
    assert callable(condition)
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_other_partitions_go_on_while_one_waits() -> None:
    """The one that waits is held, and goes on in order once its schema is there."""
    source, sink = MemorySource(mixed(10), partitions=2), MemorySink()
    pipeline = Away()
    made = worker(source, sink, pipeline=pipeline, schema_wait_s=60, commit_interval_s=0.05)
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: source.committed.get(SECOND) == 10 and FIRST in source.held)
    assert list(range(1, 20, 2)) == keys(sink.to("annotations"))
    assert FIRST not in source.committed
    pipeline.there.set()
    until(lambda: source.committed.get(FIRST) == 10)
    assert list(range(0, 20, 2)) == keys(sink.to("annotations"))[10:]
    assert set() == source.held
    made.stop()
    thread.join()
    assert [] == sink.to("rejected")


def test_after_the_limit_its_messages_are_rejected() -> None:
    """One wait for all of them, with the reason and the schema's id in the headers."""
    source, sink = MemorySource(mixed(5), partitions=2), MemorySink()
    started = time.monotonic()
    run_to_the_end(worker(source, sink, pipeline=Away(), schema_wait_s=0.5), source)
    assert time.monotonic() - started < 3
    assert [0, 2, 4, 6, 8] == keys(sink.to("rejected"))
    headers = dict(sink.to("rejected")[0].headers)
    assert b"schema_unavailable" == headers["streamfilter-reason"]
    assert b"900001" == headers["streamfilter-schema-id"]
    assert b"no answer; waited 0.5 s" == headers["streamfilter-detail"]
    assert {FIRST: 5, SECOND: 5} == source.committed


def test_what_nobody_knows_is_rejected_at_once() -> None:
    """An id that no source has holds nothing up."""
    unknown = [b"\x00" + n.to_bytes(4, "big") + b"x" for n in range(20)]
    source, sink = MemorySource([*unknown, *mixed(5)]), MemorySink()
    started = time.monotonic()
    run_to_the_end(worker(source, sink, schema_wait_s=60), source)
    assert time.monotonic() - started < 5
    reasons = [dict(output.headers)["streamfilter-reason"] for output in sink.to("rejected")]
    assert [b"schema_unknown"] * 20 == reasons
    assert list(range(20, 30)) == keys(sink.to("annotations"))
    assert {FIRST: 30} == source.committed


def test_stopping_does_not_wait_for_a_schema() -> None:
    """What waits is not committed, so the next worker reads it; what was done before it is."""
    containers = [value for value in mixed(3) if value and value.startswith(b"Obj")]
    source = MemorySource([*containers, *mixed(3)])
    sink = MemorySink()
    made = worker(source, sink, pipeline=Away(), schema_wait_s=60)
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: FIRST in source.held)
    started = time.monotonic()
    made.stop()
    thread.join()
    assert time.monotonic() - started < 1
    assert {FIRST: 3} == source.committed
    assert [0, 1, 2] == keys(sink.to("annotations"))
    assert source.registry is not None
    assert 0 == source.registry.get_sample_value("streamfilter_in_flight_messages")


def test_a_partition_that_moves_takes_what_waits_along() -> None:
    """It is forgotten, not rejected, though the limit passes after it went."""
    source, sink = MemorySource(mixed(3)), MemorySink()
    made = worker(source, sink, pipeline=Away(), schema_wait_s=60)
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: FIRST in source.held)
    assert source.registry is not None
    assert 6 == source.registry.get_sample_value("streamfilter_in_flight_messages")
    made.lost([FIRST])
    assert 0 == source.registry.get_sample_value("streamfilter_in_flight_messages")
    assert 0 == source.registry.get_sample_value("streamfilter_held_partitions")
    made.stop()
    thread.join()
    assert [] == sink.sent
    assert {} == source.committed
