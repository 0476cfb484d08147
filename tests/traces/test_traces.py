"""Contexts of producers, who is sampled, and spans on their way to a collector."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, get_current_span

from streamfilter.records import Headers, Message, Origin
from streamfilter.traces.export import CountedExporter
from streamfilter.traces.otlp import OtlpTracer, extracted
from streamfilter.traces.spans import Trace

GIVEN = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331

Open = Callable[..., OtlpTracer]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens tracers, which are closed at the end; they export to nowhere unless told."""
    tracers = []

    def open_one(
        exporter: SpanExporter | None = None, count: "Counter[str] | None" = None, **settings: Any
    ) -> OtlpTracer:
        counted = Counter[str]() if count is None else count
        chosen = {"sample_ratio": 1.0, "max_per_s": 1e6, "max_waiting": 4096} | settings
        tracer = OtlpTracer(
            exporter or InMemorySpanExporter(),
            lambda result, n: counted.update({result: n}),
            attributes={"service.name": "streamfilter"},
            **chosen,
        )
        tracers.append(tracer)
        return tracer

    yield open_one
    for tracer in tracers:
        tracer.close(10.0)


class Hanging(SpanExporter):  # type: ignore[misc]
    """A collector that does not answer until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait(30)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is open."""


class Answering(Hanging):
    """A collector with these answers; at None its connection breaks."""

    def __init__(self, *answers: SpanExportResult | None) -> None:
        self._answers = iter(answers)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        answer = next(self._answers)
        if answer is None:
            raise ConnectionError("reset")
        return answer


def message(*headers: tuple[str, bytes | None]) -> Message:
    return Message(Origin("alerts", 0, 7), b"value", None, 1, headers)


def context(headers: Headers) -> SpanContext:
    return get_current_span(extracted(headers)).get_span_context()


def begun(tracer: OtlpTracer, *headers: tuple[str, bytes | None]) -> Trace:
    trace = tracer.begin(message(*headers), time.time())
    assert trace is not None
    return trace


def test_a_producers_context_is_read_as_w3c_has_it() -> None:
    """The example of the recommendation."""
    found = context((("traceparent", GIVEN), ("other", b"x")))
    assert (TRACE, PARENT, True) == (found.trace_id, found.span_id, found.trace_flags.sampled)


@pytest.mark.parametrize(
    "headers",
    [
        (("traceparent", GIVEN), ("traceparent", GIVEN)),
        (("traceparent", None),),
        (("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"),),
        (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01"),),
        (("traceparent", GIVEN.upper()),),
        (("traceparent", b"ff" + GIVEN[2:]),),
        (("traceparent", GIVEN + b"-more"),),
        (("traceparent", b"01" + GIVEN[2:] + b"-more"),),
        (("traceparent", b" " + GIVEN),),
        (("traceparent", GIVEN + b"\n"),),
        (("traceparent", b"\xff" * 55),),
        (("traceparent", b"0" * 10**6),),
    ],
)
def test_what_is_not_exactly_a_context_is_none(headers: Headers) -> None:
    """Anyone may write a header."""
    assert not context(headers).is_valid


@given(st.lists(st.tuples(st.just("traceparent"), st.binary(max_size=60)), max_size=3))
def test_no_header_breaks_anything(headers: list[tuple[str, bytes]]) -> None:
    """A context, or none."""
    found = context(tuple(headers))
    said = b"%032x-%016x" % (found.trace_id, found.span_id)
    assert not found.is_valid or said == headers[0][1][3:52]


def test_an_output_has_one_context(opened: Open) -> None:
    """Ours, whatever came; its neighbour stays only with the trace that it belongs to."""
    came = (("traceparent", b"hostile"), ("tracestate", b"b"), ("traceparent", GIVEN))
    continuing = begun(opened(), ("traceparent", GIVEN))
    state, (name, value) = continuing.passed_on(came)
    assert ("tracestate", b"b") == state
    assert ("traceparent", GIVEN[:36]) == (name, (value or b"")[:36])
    ((name, value),) = begun(opened()).passed_on(came)
    assert "traceparent" == name
    assert value not in (b"hostile", GIVEN)


def test_a_producers_decision_is_followed(opened: Open) -> None:
    """Whatever share of the others is traced."""
    none, every = opened(sample_ratio=0.0), opened(sample_ratio=1.0)
    assert none.begin(message(), 0.0) is None
    assert every.begin(message(("traceparent", GIVEN[:-1] + b"0")), 0.0) is None
    followed = begun(none, ("traceparent", GIVEN))
    assert followed.continued
    assert f"{TRACE:032x}" == followed.ids["trace_id"]
    hostile = begun(every, ("traceparent", b"hostile"))
    assert not hostile.continued


def test_a_share_of_the_others_is_traced(opened: Open) -> None:
    """A tenth of 5,000, within six standard deviations."""
    tracer = opened(sample_ratio=0.1)
    assert 370 <= sum(tracer.begin(message(), 0.0) is not None for _ in range(5000)) <= 630


def test_producers_that_want_all_traced_do_not_get_it(opened: Open) -> None:
    """The bound holds for them too, and the parts of an alert take nothing of it."""
    tracer, taken = opened(sample_ratio=0.0, max_per_s=5), 0
    for _ in range(100):
        trace = tracer.begin(message(("traceparent", GIVEN)), 0.0)
        if trace is not None:
            taken += 1
            trace.add("decode", 1.0, 2.0)
            trace.finish(3.0)
    assert 5 <= taken <= 7


def test_spans_have_their_parents_and_times(opened: Open) -> None:
    """As they were measured; outputs name the producer's span before it begins."""
    exporter = InMemorySpanExporter()
    tracer, received = opened(exporter), time.time()
    trace = begun(tracer, ("traceparent", GIVEN))
    now = time.monotonic()
    trace.add("decode", now, now + 0.25)
    output = context(trace.passed_on(()))
    trace.finish(now + 0.5)
    tracer.close(10.0)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    decode, produce, consume = (spans.pop(name) for name in ("decode", "produce", "consume"))
    assert {} == spans
    assert (output.trace_id, output.span_id) == (TRACE, produce.context.span_id)
    assert PARENT == consume.parent.span_id
    assert {consume.context.span_id} == {decode.parent.span_id, produce.parent.span_id}
    assert len({span.context.span_id for span in (decode, produce, consume)}) == 3
    assert round(received * 1e9) <= consume.start_time <= consume.end_time
    assert 250_000_000 == pytest.approx(decode.end_time - decode.start_time, abs=1000)
    assert 500_000_000 == pytest.approx(produce.start_time - decode.start_time, abs=1000)
    kinds = [span.kind for span in (consume, decode, produce)]
    assert [SpanKind.CONSUMER, SpanKind.INTERNAL, SpanKind.PRODUCER] == kinds


def test_a_rejection_is_a_failure_with_its_reason(opened: Open) -> None:
    """The collector shows it so."""
    exporter = InMemorySpanExporter()
    tracer = opened(exporter)
    trace = begun(tracer)
    trace.failure = "not_avro"
    trace.finish(0.0)
    tracer.close(10.0)
    (consume,) = exporter.get_finished_spans()
    assert (StatusCode.ERROR, "not_avro") == (
        consume.status.status_code,
        consume.status.description,
    )
    assert 7 == consume.attributes["messaging.kafka.offset"]


def test_an_alert_that_is_not_settled_leaves_no_span(opened: Open) -> None:
    """The next owner of its partition reads it again."""
    exporter = InMemorySpanExporter()
    tracer = opened(exporter)
    trace = begun(tracer)
    trace.add("decode", 1.0, 2.0)
    trace.passed_on(())
    tracer.close(10.0)
    assert () == exporter.get_finished_spans()


def test_every_span_of_many_threads_is_exported(opened: Open) -> None:
    """Under different ids."""
    exporter, counted = InMemorySpanExporter(), Counter[str]()
    tracer = opened(exporter, counted, max_waiting=10_000)
    traces = [begun(tracer) for _ in range(400)]

    def finish(some: Sequence[Trace]) -> None:
        for trace in some:
            trace.add("decode", 1.0, 2.0)
            trace.finish(3.0)

    threads = [threading.Thread(target=finish, args=(traces[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracer.close(10.0)
    assert {"exported": 1200} == dict(counted)
    assert 1200 == len({span.context.span_id for span in exporter.get_finished_spans()})


def test_a_collector_that_hangs_holds_nothing_up(opened: Open) -> None:
    """Handing over returns at once; what has no room is dropped and counted."""
    counted, hanging = Counter[str](), Hanging()
    tracer = opened(hanging, counted, max_waiting=10)
    started = time.monotonic()
    for _ in range(50):
        trace = begun(tracer)
        trace.add("decode", 1.0, 2.0)
        trace.finish(0.0)
    tracer.close(0.2)
    assert time.monotonic() - started < 5.0
    assert counted["dropped"] >= 80
    hanging.released.set()


def test_every_span_is_exported_or_counted_as_dropped(opened: Open) -> None:
    """The batch processor never drops on its own account, which it would not tell."""
    counted, hanging = Counter[str](), Hanging()
    tracer = opened(hanging, counted, max_waiting=10)
    for _ in range(50):
        trace = begun(tracer)
        trace.add("decode", 1.0, 2.0)
        trace.finish(0.0)
    hanging.released.set()
    tracer.close(10.0)
    assert counted["exported"] >= 10
    assert 100 == counted["exported"] + counted["dropped"]


def test_a_dead_collector_is_told_once() -> None:
    """And again when it is back; every span is counted."""
    counted = Counter[str]()
    dead, back = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    export = CountedExporter(
        Answering(dead, None, dead, back),
        lambda result, n: counted.update({result: n}),
        max_waiting=512,
    )
    with structlog.testing.capture_logs() as log:
        for _ in range(4):
            assert export.take_room(512)
            assert not export.take_room(1)
            export.export([ReadableSpan("decode")] * 512)
    assert {"failed": 3 * 512, "exported": 512, "dropped": 4} == dict(counted)
    assert ["traces not exported", "traces exported again"] == [event["event"] for event in log]


@pytest.mark.process
def test_nothing_is_imported_while_traces_are_off() -> None:
    """Sites without a collector do not pay for one."""
    code = (
        "import sys, streamfilter.cli.run; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ("[]", "") == (done.stdout.strip(), done.stderr)
