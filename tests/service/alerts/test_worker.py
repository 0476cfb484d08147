"""A worker from reading to committing, with a source and a sink in memory."""

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from memory_worker import (
    PARTITION,
    MemorySink,
    MemorySource,
    SimulatedPipeline,
    finder,
    packets,
    run_to_the_end,
    worker,
)
from prometheus_client import CollectorRegistry
from several_planes import MANIFEST, SeveralPlanes

from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.pipeline import Item, Prepared
from streamfilter.config import Outputs
from streamfilter.errors import (
    EngineUnavailable,
    MessageRejected,
    Reason,
    SchemaUnavailable,
    TransportFailed,
)
from streamfilter.inference.engine import Engine
from streamfilter.reading import read
from streamfilter.records import Alert, Message, StampEvidence
from streamfilter.schemas.published import PublishedSchema


class Stumbling(SimulatedPipeline):
    """Evaluates all but one image, for which it raises."""

    def __init__(self, poison: Message) -> None:
        super().__init__()
        alert = self.decode(poison)
        assert isinstance(alert, Alert)
        self._poison = self.prepare(alert).items[0].stamp.image

    def evaluate(self, engine: Engine, items: Sequence[Item]) -> list[StampEvidence]:
        if any(np.array_equal(item.stamp.image, self._poison) for item in items):
            raise ZeroDivisionError("a stamp that nobody thought of")
        return super().evaluate(engine, items)


def test_all_is_answered_and_committed() -> None:
    """Every message has its annotation, and the offset after the last is committed."""
    source, sink = MemorySource(packets(10)), MemorySink()
    run_to_the_end(worker(source, sink), source)
    assert 10 == len(sink.to("annotations")) == len(sink.to("clean"))
    assert {PARTITION: 10} == source.committed


def test_each_survey_has_topics_of_its_own() -> None:
    """Each alert goes to its survey's; without a topic there it is rejected, and the others go on.

    Metrics name the output, whatever its topic.
    """
    source, sink, registry = MemorySource(packets(40)), MemorySink(), CollectorRegistry()
    topics = Outputs(annotations="notes-{survey}", clean="{survey}", rejected="rejected")
    absent = ("notes-lsst",)
    made = worker(
        source,
        sink,
        topics=topics,
        registry=registry,
        absent=lambda names: tuple(each for each in names if each in absent),
    )
    run_to_the_end(made, source)
    ztf, lsst = sink.to("ztf"), sink.to("rejected")
    assert {b"ztf"} == {dict(each.headers)["streamfilter-survey"] for each in ztf}
    assert {each.origin for each in ztf} == {each.origin for each in sink.to("notes-ztf")}
    assert {b"topic_missing"} == {dict(each.headers)["streamfilter-reason"] for each in lsst}
    assert (40, []) == (len(ztf) + len(lsst), sink.to("lsst"))
    assert {PARTITION: 40} == source.committed
    for name in ("annotations", "clean"):
        sample = registry.get_sample_value("streamfilter_outputs_total", {"output": name})
        assert len(ztf) == sample


def test_an_engine_of_several_planes_judges_each_alert_once() -> None:
    """All its planes go together, in batches of one side, and the annotation names them."""
    source, sink, engine = MemorySource(packets(24)), MemorySink(), SeveralPlanes()
    pipeline = SimulatedPipeline(network=MANIFEST)
    run_to_the_end(worker(source, sink, pipeline=pipeline, engine=engine), source)
    records = [read(output.value or b"") for output in sink.to("annotations")]
    assert 24 == len(records) == sum(map(len, engine.batches))
    assert {(5, 32, 32), (5, 64, 64)} <= {batch.shape[1:] for batch in engine.batches}
    planes = {record["survey"]: record["engine"]["planes"] for record in records}
    assert {
        "lsst": ["science", "template", "difference", "variance", "valid"],
        "ztf": ["science", "template", "difference", "valid"],
    } == planes
    assert all(record["science"]["res"] and not record["science"]["fr"] for record in records)
    assert all(record["priors"]["res"] and not record["priors"]["fr"] for record in records)


def test_an_idle_network_is_not_kept_waiting() -> None:
    """One alert in a quiet hour does not wait for company."""
    source, sink = MemorySource(packets(1)), MemorySink()
    made = worker(source, sink, max_wait_s=60, batch_size=100)
    thread = threading.Thread(target=made.run)
    thread.start()
    end = time.monotonic() + 10
    while not sink.to("annotations") and time.monotonic() < end:
        time.sleep(0.01)
    found = len(sink.to("annotations"))
    made.stop()
    thread.join()
    assert 1 == found


def test_a_stamp_that_breaks_the_evaluation_is_rejected_alone() -> None:
    """The others of its batch are annotated, and the worker goes on."""
    values = packets(8)
    poison = MemorySource(values).poll(8, 0)[2]
    source, sink = MemorySource(values), MemorySink()
    run_to_the_end(worker(source, sink, pipeline=Stumbling(poison)), source)
    assert [b"2"] == [each.key for each in sink.to("rejected")], sink.to("rejected")
    assert 7 == len(sink.to("annotations"))
    assert {PARTITION: 8} == source.committed


def test_a_header_of_nonsense_stops_nothing() -> None:
    """A producer's time of 400 digits is no time; it is read where acknowledgements are served."""
    source = MemorySource(packets(2), (("producer_timestamp", b"9" * 400),))
    sink = MemorySink()
    run_to_the_end(worker(source, sink), source)
    assert {PARTITION: 2} == source.committed


def test_a_refused_output_is_answered_outside_its_callback() -> None:
    """Waiting for room in a callback would wait for itself: the worker's own turn sends."""
    source, sink = MemorySource(packets(3)), MemorySink(largest=2000)
    run_to_the_end(worker(source, sink), source)
    # The originals do not fit either: their places stand in the headers.
    assert [None] * 3 == [output.value for output in sink.to("rejected")]
    headers = dict(sink.to("rejected")[0].headers)
    assert b"output_too_large" == headers["streamfilter-reason"]
    assert b"0" == headers["streamfilter-partition"]
    assert {PARTITION: 3} == source.committed


def test_headers_and_key_without_measure_lose_no_alert() -> None:
    """What a broker refuses for them is rejected without them; where it stands is still said."""
    source = MemorySource(packets(2), (("big", b"x" * 10_000),))
    sink = MemorySink(largest=2000)
    run_to_the_end(worker(source, sink), source)
    first, second = sink.to("rejected")
    headers = dict(second.headers)
    assert "big" not in headers
    assert (None, None) == (first.value, second.key)
    assert (b"output_too_large", b"1") == (
        headers["streamfilter-reason"],
        headers["streamfilter-offset"],
    )
    assert {PARTITION: 2} == source.committed


def test_an_alert_that_can_have_no_answer_ends_the_worker_uncommitted() -> None:
    """Neither its annotation nor even an empty rejected message is taken."""
    source, sink = MemorySource(packets(3)), MemorySink(largest=10)
    with pytest.raises(TransportFailed, match=r"alerts\[0\]@0 has no answer: rejected does not"):
        run_to_the_end(worker(source, sink), source)
    assert ([], {}) == (sink.sent, source.committed)


def test_stopping_waits_once_for_outputs_that_do_not_come() -> None:
    """The bound on draining holds for the whole way out, and nothing is committed."""
    source, sink = MemorySource(packets(3)), MemorySink(away=True)
    made = worker(source, sink, drain_s=4.0)
    started = time.monotonic()
    run_to_the_end(made, source)
    assert time.monotonic() - started < 7.9
    assert {} == source.committed


class Slow(SimulatedPipeline):
    """Takes a while for each batch."""

    def __init__(self, batch_s: float) -> None:
        super().__init__()
        self._batch_s = batch_s

    def evaluate(self, engine: Engine, items: Sequence[Item]) -> list[StampEvidence]:
        time.sleep(self._batch_s)
        return super().evaluate(engine, items)


def test_what_a_slow_network_has_not_begun_is_left() -> None:
    """After the drain the judges do not work through what is queued."""
    source, sink = MemorySource(packets(12)), MemorySink()
    made = worker(source, sink, pipeline=Slow(1.0), batch_size=1, drain_s=0.2)
    started = time.monotonic()
    run_to_the_end(made, source)
    assert time.monotonic() - started < 9
    assert source.committed.get(PARTITION, 0) <= len(sink.to("annotations")) < 8


def test_a_network_that_hangs_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader goes on, so its own beat does not tell."""
    monkeypatch.setattr("streamfilter.service.alerts.worker._SILENCE_S", 0.3)
    source, sink = MemorySource(packets(1)), MemorySink()
    made = worker(source, sink, pipeline=Slow(2.0), batch_size=1)
    thread = threading.Thread(target=made.run)
    thread.start()
    assert made.wrong() is None
    end = time.monotonic() + 10
    while (said := made.wrong()) is None and time.monotonic() < end:
        time.sleep(0.01)
    made.stop()
    thread.join()
    assert said is not None
    assert "network" in said


def test_a_short_wait_for_room_does_not_pause() -> None:
    """Pausing throws away what was fetched: a partial batch that comes due is no reason."""
    source, sink = MemorySource(packets(15)), MemorySink()
    made = worker(source, sink, pipeline=Slow(0.1), batch_size=2, max_in_flight=3)
    run_to_the_end(made, source)
    assert 0 == source.pauses
    assert {PARTITION: 15} == source.committed


def test_a_slow_network_is_waited_for_and_a_stop_is_not() -> None:
    """A batch of a second does not pause reading, and does not keep the worker from stopping."""
    source, sink = MemorySource(packets(20)), MemorySink()
    made = worker(source, sink, pipeline=Slow(1.0), batch_size=1, max_in_flight=1, drain_s=0.1)
    threading.Timer(1.5, made.stop).start()
    started = time.monotonic()
    made.run()
    assert 0 == source.pauses
    assert time.monotonic() - started < 15  # the batches that are left would take as long


def test_an_alert_too_old_is_shed_where_that_is_wanted() -> None:
    """It is published as not evaluated by overload, is counted, and its offset is committed."""
    registry = CollectorRegistry()
    source, sink = MemorySource(packets(4)), MemorySink()
    made = worker(source, sink, registry=registry, pipeline=Failing(), overload="shed")
    run_to_the_end(made, source)
    headers = [dict(output.headers) for output in sink.to("annotations")]
    assert [b"not_evaluated"] * 4 == [each["streamfilter-verdict"] for each in headers]
    assert [b"0", b"1", b"2", b"3"] == [output.key for output in sink.to("annotations")]
    assert {PARTITION: 4} == source.committed
    counted = [
        each.value
        for family in registry.collect()
        for each in family.samples
        if each.name == "streamfilter_shed_total"
    ]
    assert 4 == sum(counted)


class Failing(SimulatedPipeline):
    """An engine that cannot go on."""

    def evaluate(self, engine: Engine, items: Sequence[Item]) -> list[StampEvidence]:
        raise EngineUnavailable("the device is gone")


def test_an_engine_that_fails_stops_the_worker_at_once() -> None:
    """Nothing is waited for that cannot come, nothing is committed, and health tells why."""
    source, sink = MemorySource(packets(3)), MemorySink()
    made = worker(source, sink, pipeline=Failing())
    started = time.monotonic()
    with pytest.raises(EngineUnavailable):
        made.run()
    assert time.monotonic() - started < 5
    assert "failed: the device is gone" == made.wrong()
    assert {} == source.committed


class Refusing:
    """A registry that takes no schema."""

    def register(self, subject_name: str, schema: PublishedSchema) -> int:
        raise SchemaUnavailable("incompatible")


def test_a_registry_that_takes_no_schema_stops_nothing() -> None:
    """What cannot be published as it should be is rejected, after one wait for all."""
    source, sink = MemorySource(packets(6)), MemorySink()
    made = worker(source, sink, encoder=Encoder(finder(), registrar=Refusing()))
    started = time.monotonic()
    run_to_the_end(made, source)
    assert time.monotonic() - started < 4
    reasons = {dict(output.headers)["streamfilter-reason"] for output in sink.to("rejected")}
    assert {b"schema_unavailable"} == reasons
    assert {PARTITION: 6} == source.committed


class Late(SimulatedPipeline):
    """Finds out late that an alert cannot be used."""

    def prepare(self, alert: Alert) -> Prepared:
        raise MessageRejected(Reason.STAMP_MALFORMED, "seen too late")


def test_a_late_rejection_is_a_rejection() -> None:
    """Whichever step says it, a message that cannot be used stops nothing."""
    source, sink = MemorySource(packets(2)), MemorySink()
    run_to_the_end(worker(source, sink, pipeline=Late()), source)
    reasons = {dict(output.headers)["streamfilter-reason"] for output in sink.to("rejected")}
    assert {b"stamp_malformed"} == reasons
    assert {PARTITION: 2} == source.committed


def test_a_refused_commit_is_tried_again_without_new_messages() -> None:
    """The source keeps what the broker refused, and is asked though the stream is silent."""
    source, sink = MemorySource(packets(1)), MemorySink()
    made = worker(source, sink, commit_interval_s=0.05)
    threading.Timer(0.6, made.stop).start()
    made.run()
    assert source.commits > 3


def test_readiness_partitions_and_queue_stand_in_the_metrics() -> None:
    """Gauges say what the worker is, not what it was made with."""
    registry = CollectorRegistry()
    source, sink = MemorySource(packets(5)), MemorySink()
    made = worker(source, sink, registry=registry, pipeline=Slow(1.0), batch_size=1)
    thread = threading.Thread(target=made.run)
    thread.start()
    source.ended.wait(10)
    seen = [
        registry.get_sample_value(f"streamfilter_{name}")
        for name in ("queue_depth_stamps", "ready", "assigned_partitions", "healthy")
    ]
    made.stop()
    thread.join()
    assert 1 < (seen[0] or 0) < 5
    assert [1.0, 1.0, 1.0] == seen[1:]
    assert 0.0 == registry.get_sample_value("streamfilter_ready")
    assert 0.0 == registry.get_sample_value("streamfilter_queue_depth_stamps")
