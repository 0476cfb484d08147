"""No offset is stepped over without a word."""

import time

import pytest
from joined_source import joined
from kafka_desk import Broker

from streamfilter.kafka.starts import Skip
from streamfilter.records import Message

PATIENCE_S = 60.0
GROUPS = [
    {"group.protocol": "classic"},
    {"group.protocol": "classic", "partition.assignment.strategy": "range"},
    {"group.protocol": "consumer"},
]


class Reading:
    """A source of one group, what it stepped over and what it read."""

    def __init__(self, broker: Broker, *topics: str, **settings: str) -> None:
        more = {key.replace("_", "."): value for key, value in settings.items()}
        address = {"bootstrap.servers": broker.bootstrap, "group.id": f"g-{topics[0]}"}
        self.skipped: list[tuple[str, Skip, int]] = []
        self.source = joined(
            {**address, "topic.metadata.refresh.interval.ms": 500, **more}, topics,
            on_skipped=lambda *what: self.skipped.append(what),
        )  # fmt: skip

    def offsets(self, count: int) -> list[int]:
        """Of so many messages."""
        found: list[Message] = []
        end = time.monotonic() + PATIENCE_S
        while len(found) < count:
            assert time.monotonic() < end, found
            found += self.source.poll(10, 0.2)
        return [each.origin.offset for each in found]

    def wait(self) -> None:
        """For an assignment, and for what comes of it."""
        end = time.monotonic() + PATIENCE_S
        while not self.source.assigned:
            assert time.monotonic() < end
            self.source.poll(1, 0.2)
        for _ in range(10):
            self.source.poll(1, 0.2)


@pytest.mark.parametrize("group", GROUPS, ids=["classic", "eager", "consumer"])
def test_what_retention_took_before_it_was_read_is_counted(
    broker: Broker, group: dict[str, str]
) -> None:
    """Of a group that comes back, and of one that reads on a held partition."""
    topic = broker.topic()
    broker.produce(topic, [b"v"] * 20)
    settings = {key.replace(".", "_"): value for key, value in group.items()}
    first = Reading(broker, topic, **settings)
    assert list(range(20)) == first.offsets(20)
    first.source.commit({(topic, 0): 5}, wait=True)
    first.source.close()
    assert [] == first.skipped
    broker.delete_before(topic, 0, 12)
    again = Reading(broker, topic, **settings)
    assert list(range(12, 20)) == again.offsets(8)
    assert [(topic, Skip.RETENTION, 7)] == again.skipped
    again.source.hold((topic, 0))
    again.source.poll(1, 0.5)
    broker.produce(topic, [b"v"] * 10)
    broker.delete_before(topic, 0, 26)
    again.source.release((topic, 0))
    assert list(range(26, 30)) == again.offsets(4)
    assert [(topic, Skip.RETENTION, 7), (topic, Skip.RETENTION, 6)] == again.skipped
    again.source.close()


@pytest.mark.parametrize("group", GROUPS, ids=["classic", "eager", "consumer"])
def test_what_latest_skips_is_counted_once(broker: Broker, group: dict[str, str]) -> None:
    """What comes later is read, also by the next worker of a group that never read a message."""
    topic = broker.topic(3)
    for partition in range(3):
        broker.produce(topic, [b"v"] * 20, partition=partition)
    settings = {key.replace(".", "_"): value for key, value in group.items()}
    first = Reading(broker, topic, auto_offset_reset="latest", **settings)
    first.wait()
    assert [(topic, Skip.LATEST, 20)] * 3 == first.skipped
    assert first.source.commit({}, wait=True)
    first.source.close()
    for partition in range(3):
        broker.produce(topic, [b"v"] * 3, partition=partition)
    again = Reading(broker, topic, auto_offset_reset="latest", **settings)
    assert [20, 20, 20, 21, 21, 21, 22, 22, 22] == sorted(again.offsets(9))
    assert [] == again.skipped
    again.source.close()


def test_a_paused_source_stays_paused_where_reading_begins(broker: Broker) -> None:
    """The group has no offset, and enough is in flight."""
    topic = broker.topic()
    broker.produce(topic, [b"v"] * 3)
    reading = Reading(broker, topic)
    reading.source.pause()
    reading.wait()
    assert [] == reading.source.poll(10, 1.0)
    reading.source.resume()
    assert [0, 1, 2] == reading.offsets(3)
    reading.source.close()
