"""Contexts of producers, who is sampled, and spans on their way to a collector."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.records import Headers, Message, Origin
from streamfilter.traces.context import Context, of_headers, passed_on
from streamfilter.traces.export import Export
from streamfilter.traces.spans import Span, Tracer

GIVEN = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def message(*headers: tuple[str, bytes | None]) -> Message:
    return Message(Origin("alerts", 0, 7), b"value", None, 1, headers)


def span() -> Span:
    return Span("decode", Context(1, 2, True), None, "internal", 0.0, 1.0, {})


def test_a_producers_context_is_read_and_written_as_w3c_has_it() -> None:
    """The example of the recommendation, both ways."""
    found = of_headers((("traceparent", GIVEN), ("other", b"x")))
    assert Context(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True) == found
    assert GIVEN == found.header


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
        (("traceparent", b"\xff" * 55),),
        (("traceparent", b"0" * 10**6),),
    ],
)
def test_what_is_not_exactly_a_context_is_none(headers: Headers) -> None:
    """Anyone may write a header."""
    assert of_headers(headers) is None


@given(st.lists(st.tuples(st.just("traceparent"), st.binary(max_size=60)), max_size=3))
def test_no_header_breaks_anything(headers: list[tuple[str, bytes]]) -> None:
    """A context, or none."""
    found = of_headers(tuple(headers))
    assert found is None or found.header[3:52] == headers[0][1][3:52]


def test_an_output_has_one_context() -> None:
    """Ours, whatever came; its neighbour stays only with the trace that it belongs to."""
    ours = Context(3, 4, True)
    came = (("traceparent", b"hostile"), ("tracestate", b"b"), ("traceparent", GIVEN))
    ending = ("traceparent", ours.header)
    assert (("tracestate", b"b"), ending) == passed_on(came, ours, continued=True)
    assert (ending,) == passed_on(came, ours, continued=False)


def test_a_producers_decision_is_followed() -> None:
    """Whatever share of the others is traced."""
    none = Tracer(sample_ratio=0.0, most_per_s=100, hand=lambda _: None)
    every = Tracer(sample_ratio=1.0, most_per_s=100, hand=lambda _: None)
    assert none.begin(message(), 0.0) is None
    assert every.begin(message(("traceparent", GIVEN[:-1] + b"0")), 0.0) is None
    followed = none.begin(message(("traceparent", GIVEN)), 0.0)
    assert followed is not None
    assert followed.parent is not None
    assert of_headers((("traceparent", GIVEN),)) == followed.parent
    assert followed.parent.trace_id == followed.root.trace_id == followed.produce.trace_id
    hostile = every.begin(message(("traceparent", b"hostile")), 0.0)
    assert hostile is not None
    assert hostile.parent is None


def test_producers_that_want_all_traced_do_not_get_it() -> None:
    """The bound holds for them too."""
    tracer = Tracer(sample_ratio=0.0, most_per_s=5, hand=lambda _: None)
    begun = [tracer.begin(message(("traceparent", GIVEN)), 0.0) for _ in range(100)]
    assert 5 <= sum(trace is not None for trace in begun) <= 7


def test_a_collector_that_hangs_holds_nothing_up() -> None:
    """Handing over returns at once; what has no room is dropped and counted."""
    counted: Counter[str] = Counter()
    hang = threading.Event()

    def send(spans: Sequence[Span]) -> bool:
        hang.wait(30)
        return True

    export = Export(send, lambda result, n: counted.update({result: n}), most=10)
    started = time.monotonic()
    for _ in range(50):
        export.hand([span(), span()])
    export.close(0.2)
    assert time.monotonic() - started < 5.0
    assert counted["dropped"] >= 80
    hang.set()


def test_a_dead_collector_is_told_once() -> None:
    """And again when it is back; every span is counted."""
    counted: Counter[str] = Counter()
    answers = iter([False, False, False, True])
    with structlog.testing.capture_logs() as log:
        export = Export(
            lambda _: next(answers), lambda result, n: counted.update({result: n}), most=10_000
        )
        export.hand([span()] * 4 * 512)
        export.close(10.0)
    assert {"failed": 3 * 512, "exported": 512} == dict(counted)
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
