"""Messages whose schema is not here yet, in a worker with a source and a sink in memory."""

import json
import threading
import time
from collections import Counter
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_worker import (
    MemorySink,
    MemorySource,
    SimulatedPipeline,
    packets,
    run_to_the_end,
    worker,
)

from streamfilter.errors import SchemaUnavailable
from streamfilter.files import bundled_folder
from streamfilter.limits import Limits
from streamfilter.records import Output
from streamfilter.schemas.finder import SchemaFinder, SchemaKey

FIRST, SECOND = ("alerts", 0), ("alerts", 1)


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


def test_what_waits_takes_no_room_from_other_partitions() -> None:
    """More wait for a schema than may be in flight, and the other partition goes on."""
    source, sink = MemorySource(mixed(30), partitions=2), MemorySink()
    pipeline = Away()
    made = worker(
        source, sink, pipeline=pipeline, schema_wait_s=60, max_in_flight=1, commit_interval_s=0.05
    )
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: source.committed.get(SECOND) == 30)
    assert FIRST not in source.committed
    pipeline.there.set()
    until(lambda: source.committed.get(FIRST) == 30)
    assert list(range(0, 60, 2)) == keys(sink.to("annotations"))[30:]
    made.stop()
    thread.join()


def test_after_the_limit_its_messages_are_rejected() -> None:
    """One wait for all of them, with the reason and the schema's id in the headers."""
    source, sink = MemorySource(mixed(5), partitions=2), MemorySink()
    started = time.monotonic()
    run_to_the_end(worker(source, sink, pipeline=Away(), schema_wait_s=2.0), source)
    assert time.monotonic() - started < 8
    assert [0, 2, 4, 6, 8] == keys(sink.to("rejected"))
    headers = dict(sink.to("rejected")[0].headers)
    assert b"schema_unavailable" == headers["streamfilter-reason"]
    assert b"900001" == headers["streamfilter-schema-id"]
    assert b"no answer; waited 2 s" == headers["streamfilter-detail"]
    assert {FIRST: 5, SECOND: 5} == source.committed


def test_what_nobody_knows_is_rejected_at_once() -> None:
    """An id that no source has holds nothing up."""
    unknown = [b"\x00" + n.to_bytes(4, "big") + b"x" for n in range(20)]
    source, sink = MemorySource([*unknown, *mixed(5)]), MemorySink()
    started = time.monotonic()
    run_to_the_end(worker(source, sink, schema_wait_s=60), source)
    assert time.monotonic() - started < 30
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
    assert time.monotonic() - started < 30
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
    assert 1 == source.registry.get_sample_value("streamfilter_held_partitions")
    made.lost([FIRST])
    assert 0 == source.registry.get_sample_value("streamfilter_held_partitions")
    made.stop()
    thread.join()
    assert [] == sink.sent
    assert {} == source.committed


ID, LATE, DENIED = 900001, 900002, 900003


class Shelf:
    """The simulated schema under two ids."""

    name = "shelf"

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        path = bundled_folder("schemas") / "simulated" / f"{ID}.avsc"
        found: dict[str, Any] = json.loads(path.read_text())
        return None if schema_id == DENIED else found

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        return None


class Slow(SimulatedPipeline):
    """Its registry answers for one id only when it is asked a second time."""

    def __init__(self) -> None:
        super().__init__(SchemaFinder([Shelf()], Limits()))
        self._asked: Counter[object] = Counter()

    def fetch(self, key: SchemaKey) -> None:
        self._asked[key[1]] += 1
        if key[1] == LATE and self._asked[LATE] < 2:
            raise SchemaUnavailable("no answer")
        super().fetch(key)


@cache
def record() -> bytes:
    """A simulated record of the Confluent form, without its head."""
    return next(value for value in packets(20) if value.startswith(b"\x00"))[5:]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([ID, LATE, DENIED]), min_size=1, max_size=40))
def test_whatever_comes_late_each_is_answered_once_and_in_order(ids: list[int]) -> None:
    """Over three partitions: what is late is judged, what is denied rejected, all is committed."""
    values = [b"\x00" + number.to_bytes(4, "big") + record() for number in ids]
    source, sink = MemorySource(values, partitions=3), MemorySink()
    run_to_the_end(worker(source, sink, pipeline=Slow(), schema_wait_s=30), source, 30)
    denied = [n for n, number in enumerate(ids) if number == DENIED]
    assert denied == sorted(keys(sink.to("rejected")))
    answers = [output for output in sink.sent if output.topic in ("annotations", "rejected")]
    for partition in range(3):
        left = [int(o.key or b"") for o in answers if o.origin.partition == partition]
        assert list(range(partition, len(ids), 3)) == left
    assert len(ids) == sum(source.committed.values())
