"""A worker for exposures whose messages' schema is late, with source and sink in memory."""

import io
import threading
import time
from collections.abc import Callable
from typing import cast

import fastavro
from constant_engine import Constant
from exposure_factories import make_announced
from looker_factories import make_looker, sky
from memory_worker import MemorySink, MemorySource
from prometheus_client import CollectorRegistry

import streamfilter
from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.encode import TrackingEncoder
from streamfilter.exposures.focal_plane import FocalPlaneRules, FocalPlanes
from streamfilter.exposures.watcher import Watcher
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.sink import KafkaSink
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.records import EngineIdentity
from streamfilter.schemas.finder import SchemaKey
from streamfilter.schemas.published import exposure_schema
from streamfilter.service.delivery.at_least_once import AtLeastOnce
from streamfilter.service.delivery.published_before import PublishedBefore
from streamfilter.service.exposures.looker import Looker
from streamfilter.service.exposures.publisher import ExposurePublisher
from streamfilter.service.exposures.worker import ExposureWorker

LATE, OTHER = ("alerts", 0), ("alerts", 1)


def worker(source: MemorySource, sink: MemorySink, looker: Looker) -> ExposureWorker:
    source.registry = registry = CollectorRegistry()
    metrics, ledger = ExposureMetrics(registry), Ledger()
    delivery = AtLeastOnce(cast("KafkaSink", sink), ledger)
    return ExposureWorker(
        source=cast("KafkaSource", source),
        delivery=delivery,
        ledger=ledger,
        publisher=ExposurePublisher(
            delivery=delivery,
            ledger=ledger,
            tracking=TrackingEncoder(EngineIdentity("maxitrack", "00" * 32, "none")),
            topic="tracking",
            rejected_topic="rejected",
            masks_topic="",
            metrics=metrics,
            alarm=None,
        ),
        published=PublishedBefore(),
        looker=looker,
        planes=FocalPlanes(Watcher(Constant()).judge, FocalPlaneRules(wait_s=30)),
        metrics=metrics,
        stall_s=300.0,
    )


def messages(count: int) -> list[bytes]:
    """In turn one with a fingerprint, whose schema is to be had, and one that brings its own."""
    frame = sky("SCI", side=256)
    values = []
    for number in range(count):
        single = encode_exposure(
            make_announced(exposure_id=f"e{number}", detectors_expected=1), frame
        )
        out = io.BytesIO()
        schema = exposure_schema().schema.definition
        fastavro.writer(out, fastavro.parse_schema(schema), [streamfilter.read(single)])
        values.append(out.getvalue() if number % 2 else single)
    return values


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_other_partitions_go_on_while_one_waits_for_its_schema() -> None:
    """It is held, so that no more frames of it are in memory, and goes on once it is there."""
    source, sink = MemorySource(messages(8), partitions=2), MemorySink()
    there = threading.Event()

    def ready(key: SchemaKey | None) -> bool:
        return key is None or there.is_set()

    made = worker(source, sink, make_looker(ready=ready))
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: source.committed.get(OTHER) == 4)
    assert {LATE} == source.held
    assert LATE not in source.committed
    there.set()
    until(lambda: source.committed.get(LATE) == 4)
    assert set() == source.held
    made.stop()
    thread.join()
    verdicts = [streamfilter.read(output.value or b"") for output in sink.to("tracking")]
    found = [each["exposure_id"] for each in verdicts if each["kind"] == "exposure"]
    assert sorted(f"e{n}" for n in range(8)) == sorted(found)
    assert [] == sink.to("rejected")


def test_a_stop_leaves_what_waits_to_the_next_worker() -> None:
    """It is neither rejected nor committed."""
    source, sink = MemorySource(messages(2)[:1]), MemorySink()
    made = worker(source, sink, make_looker(ready=lambda key: False))
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: LATE in source.held)
    made.stop()
    thread.join()
    assert {} == source.committed
    assert [] == sink.sent
