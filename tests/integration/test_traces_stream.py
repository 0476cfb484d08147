"""Spans of alerts on a real Kafka, as a collector of OpenTelemetry gets them."""

import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from filter_process import FilterProcess
from kafka_desk import Broker
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from receiver import Receiver, receiving

from streamfilter.records import Headers, Message
from streamfilter.simulate.visits import alerts
from streamfilter.traces.otlp import extracted

PATIENCE_S = 60.0
TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
SAMPLED, UNSAMPLED = (b"00-%032x-%016x-%02x" % (TRACE, PARENT, flag) for flag in (1, 0))
PARTS = {"consume", "decode", "batch", "infer", "produce"}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, tls=False) as made:
        yield made


def context(headers: Headers) -> trace.SpanContext:
    """The context in headers, which is valid."""
    found = trace.get_current_span(extracted(headers)).get_span_context()
    assert found.is_valid
    return found


class Site:
    """A worker, its topics, and what a producer sends."""

    def __init__(self, broker: Broker, folder: Path, home: Path) -> None:
        self._broker, self._folder, self._home = broker, folder, home
        self._topics = {name: broker.topic(stem=name) for name in ("alerts", "out", "rejected")}
        (self._value,) = (alert.value for alert in alerts(1, 1, surveys=("ztf",)))

    def start(self, endpoint: str, ratio: float) -> FilterProcess:
        topics = self._topics
        settings = {
            "kafka.bootstrap": self._broker.bootstrap,
            "kafka.group": f"g-{topics['alerts']}",
            "alerts.topics": f'["{topics["alerts"]}"]',
            "outputs.annotations": topics["out"],
            "outputs.rejected": topics["rejected"],
            "engine.workers": "1",
            "traces.endpoint": endpoint,
            "traces.sample_ratio": str(ratio),
        }
        worker = FilterProcess(self._folder / "worker.log", settings, self._home)
        return worker.wait_ready()

    def send(self, key: bytes, traceparent: bytes | None, value: bytes | None = None) -> None:
        headers = () if traceparent is None else (("traceparent", traceparent),)
        value = value or self._value
        self._broker.produce(self._topics["alerts"], [value], keys=[key], headers=headers)

    def published(self, count: int, name: str = "out") -> dict[bytes | None, Message]:
        end = time.monotonic() + PATIENCE_S
        while self._broker.size(self._topics[name]) < count:
            assert time.monotonic() < end
            time.sleep(0.1)
        return {message.key: message for message in self._broker.read(self._topics[name])}


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Site:
    return Site(broker, tmp_path, engine_home)


def collected(collector: Receiver, traces: int) -> list[dict[str, Any]]:
    """Spans by name, trace by trace, once so many traces came."""
    found: dict[bytes, dict[str, Any]] = {}
    while len(found) < traces or not all(set(spans) >= PARTS for spans in found.values()):
        try:
            call = collector.calls.get(timeout=PATIENCE_S)
        except Empty:
            raise AssertionError(f"{len(found)} traces came") from None
        request = ExportTraceServiceRequest()
        request.ParseFromString(call.body)
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert "streamfilter" == names["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found.setdefault(span.trace_id, {})[span.name] = span
    return list(found.values())


def test_a_producers_trace_goes_on_through_the_filter(site: Site, collector: Receiver) -> None:
    """Spans have the right parents and times, and the output's header names the last of them."""
    worker = site.start(f"{collector.url}/v1/traces", 0.0)
    before = time.time_ns()
    site.send(b"sampled", SAMPLED)
    site.send(b"unsampled", UNSAMPLED)
    out = site.published(2)
    (spans,) = collected(collector, 1)
    worker.stop()
    consume = spans["consume"]
    assert (TRACE.to_bytes(16, "big"), PARENT.to_bytes(8, "big")) == (
        consume.trace_id, consume.parent_span_id,
    )  # fmt: skip
    for name in PARTS - {"consume"}:
        part = spans[name]
        assert consume.span_id == part.parent_span_id
        assert before < consume.start_time_unix_nano <= part.start_time_unix_nano + 10**7
        assert part.start_time_unix_nano <= part.end_time_unix_nano
        assert part.end_time_unix_nano <= consume.end_time_unix_nano + 10**7 < time.time_ns()
    order = ("decode", "batch", "infer", "produce")
    starts = [spans[name].start_time_unix_nano for name in order]
    assert sorted(starts) == starts
    passed = context(out[b"sampled"].headers)
    assert TRACE == passed.trace_id
    assert int.from_bytes(spans["produce"].span_id, "big") == passed.span_id
    assert passed.trace_flags.sampled
    assert UNSAMPLED == dict(out[b"unsampled"].headers)["traceparent"]


def test_hostile_headers_begin_a_trace_of_their_own(site: Site, collector: Receiver) -> None:
    """What is rejected is traced too, and its line in the log names the trace."""
    worker = site.start(f"{collector.url}/v1/traces", 1.0)
    site.send(b"hostile", b"\xff\x00" * 40)
    out = site.published(1)
    (spans,) = collected(collector, 1)
    consume = spans["consume"]
    assert b"" == consume.parent_span_id
    passed = context(out[b"hostile"].headers)
    assert consume.trace_id == passed.trace_id.to_bytes(16, "big")
    site.send(b"rubbish", None, b"rubbish")
    rejected = context(site.published(1, "rejected")[b"rubbish"].headers)
    (line,) = (event for event in worker.events() if event["event"] == "rejected")
    assert (f"{rejected.trace_id:032x}", 0) == (line["trace_id"], line["partition"])
    assert line["span_id"]
    worker.stop()


def test_a_dead_collector_stops_nothing(site: Site) -> None:
    """It is told once, and its spans are counted."""
    worker = site.start("http://127.0.0.1:9/v1/traces", 1.0)
    for number in range(20):
        site.send(b"%d" % number, None)
    site.published(20)
    sample = 'streamfilter_trace_spans_total{result="failed"}'
    end = time.monotonic() + PATIENCE_S
    while worker.metric(sample) == 0:
        assert time.monotonic() < end, worker.log.read_text()
        time.sleep(0.2)
    started = time.monotonic()
    assert 0 == worker.stop()
    assert time.monotonic() - started < 20
    told = [event for event in worker.events() if event["event"] == "traces not exported"]
    assert 1 == len(told)
    assert "opentelemetry" not in worker.log.read_text().lower()
