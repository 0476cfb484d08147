"""Which schemas are here, which are waited for, and which are given up."""

import threading
import time
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client import CollectorRegistry

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable
from streamfilter.metrics.instruments import SchemaMetrics
from streamfilter.schemas.finder import SchemaKey
from streamfilter.schemas.wire import Form
from streamfilter.service.schemas_awaited import SchemasAwaited

KEY, OTHER = (Form.CONFLUENT, 7), (Form.CONFLUENT, 8)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as events:
        yield events


class Registry:
    """Answers as it is told, on a clock of its own."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.asked: list[SchemaKey] = []
        self.hangs = threading.Event()
        self.hangs.set()
        self.now_s = 0.0
        self.metrics = CollectorRegistry()

    def fetch(self, key: SchemaKey) -> None:
        self.asked.append(key)
        if key == KEY:
            self.hangs.wait(10)
        if self.trouble is not None:
            raise self.trouble

    def awaited(self, wait_s: float = 60.0) -> SchemasAwaited:
        return SchemasAwaited(self, wait_s, SchemaMetrics(self.metrics), lambda: self.now_s)

    def count(self, result: str) -> float | None:
        return self.metrics.get_sample_value(
            "streamfilter_schema_fetches_total", {"result": result}
        )


def settled(registry: Registry, questions: int) -> None:
    """Return once so many questions have had their answer."""
    end = time.monotonic() + 5
    results = ("found", "refused", "unavailable")
    while sum(registry.count(result) or 0 for result in results) < questions:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_message_without_a_key_need_not_wait() -> None:
    """Containers bring their schema along."""
    assert Registry().awaited().ready(None)


def test_a_schema_is_fetched_once() -> None:
    """Its messages wait for an instant, then never again."""
    registry = Registry()
    awaited = registry.awaited()
    assert not awaited.ready(KEY)
    settled(registry, 1)
    assert awaited.ready(KEY)
    assert awaited.ready(KEY)
    assert [KEY] == registry.asked


def test_what_is_denied_is_refused_at_once_and_asked_for_later() -> None:
    """A registry that says "no such schema" is believed for half a minute."""
    registry = Registry()
    awaited = registry.awaited()
    registry.trouble = MessageRejected(Reason.SCHEMA_UNKNOWN, "schema id 7 is not known")
    assert not awaited.ready(KEY)
    settled(registry, 1)
    for _ in range(3):
        with pytest.raises(MessageRejected, match="schema id 7"):
            awaited.ready(KEY)
    registry.trouble, registry.now_s = None, 31.0
    assert not awaited.ready(KEY)
    settled(registry, 2)
    assert awaited.ready(KEY)


def test_a_silent_registry_is_asked_ever_more_seldom() -> None:
    """After 0.5 s, then 1 s, 2 s, up to 15 s."""
    registry = Registry()
    awaited = registry.awaited()
    registry.trouble = SchemaUnavailable("no answer")
    times = []
    while registry.now_s < 30:
        before = len(registry.asked)
        assert not awaited.ready(KEY)
        settled(registry, len(registry.asked))
        times += [registry.now_s] * (len(registry.asked) - before)
        registry.now_s += 0.25
    assert [0.0, 0.5, 1.5, 3.5, 7.5, 15.5] == times


def test_after_the_limit_messages_are_rejected_until_it_is_there() -> None:
    """They do not wait one after another; the registry goes on being asked."""
    registry = Registry()
    awaited = registry.awaited(wait_s=5)
    registry.trouble = SchemaUnavailable("no answer")
    assert not awaited.ready(KEY)
    settled(registry, 1)
    registry.now_s = 4.0
    assert not awaited.ready(KEY)
    settled(registry, 2)
    registry.now_s = 5.1
    for _ in range(3):
        with pytest.raises(SchemaUnavailable, match=r"no answer; waited 5 s"):
            awaited.ready(KEY)
    settled(registry, 3)
    registry.trouble, registry.now_s = None, 9.0
    with pytest.raises(SchemaUnavailable):
        awaited.ready(KEY)
    settled(registry, 4)
    assert awaited.ready(KEY)


def test_a_question_that_hangs_hinders_no_other() -> None:
    """Nor does it keep its own messages beyond the limit."""
    registry = Registry()
    registry.hangs.clear()
    awaited = registry.awaited(wait_s=5)
    assert not awaited.ready(KEY)
    assert not awaited.ready(OTHER)
    settled(registry, 1)
    assert awaited.ready(OTHER)
    registry.now_s = 4.0
    assert not awaited.ready(KEY)
    registry.now_s = 5.1
    with pytest.raises(SchemaUnavailable, match="no answer; waited 5 s"):
        awaited.ready(KEY)
    assert [KEY, OTHER] == sorted(registry.asked)
    registry.hangs.set()
    settled(registry, 2)
    assert awaited.ready(KEY)


def test_an_outage_that_nobody_noticed_for_long_is_waited_out_anew() -> None:
    """The first message hours later is not rejected for what was then."""
    registry = Registry()
    awaited = registry.awaited(wait_s=5)
    registry.trouble = SchemaUnavailable("no answer")
    assert not awaited.ready(KEY)
    settled(registry, 1)
    registry.now_s = 3600.0
    assert not awaited.ready(KEY)


def test_our_own_mistake_is_a_refusal(log: list[structlog.typing.EventDict]) -> None:
    """It is logged, and rejects the messages of that schema alone."""
    registry = Registry()
    awaited = registry.awaited()
    registry.trouble = ZeroDivisionError("nobody thought of it")
    assert not awaited.ready(KEY)
    settled(registry, 1)
    with pytest.raises(MessageRejected, match="ZeroDivisionError"):
        awaited.ready(KEY)
    assert "internal error" in [event["event"] for event in log]


def test_after_a_reload_each_schema_is_fetched_anew() -> None:
    """What its messages take may have changed; an answer to the old question does not count."""
    registry = Registry()
    registry.hangs.clear()
    awaited = registry.awaited()
    assert not awaited.ready(KEY)
    awaited.forget()
    registry.hangs.set()
    settled(registry, 1)
    assert not awaited.ready(KEY)
    settled(registry, 2)
    assert awaited.ready(KEY)
