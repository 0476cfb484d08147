"""The source reads what is there, gives partitions up in order, commits only what it is told."""

import time
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Position
from joined_source import joined
from kafka_desk import Broker

from streamfilter.errors import ConfigurationInvalid, TransportFailed
from streamfilter.kafka.assignee import Partitions
from streamfilter.kafka.source import KafkaSource
from streamfilter.records import Message

# Two busy cores and a broker that has just started.
PATIENCE_S = 40.0
SOON = {"topic.metadata.refresh.interval.ms": 500, "reconnect.backoff.max.ms": 500}


def group() -> str:
    return f"g-{uuid.uuid4().hex[:12]}"


def source(
    broker: Broker, *topics: str, member_of: str | None = None, **settings: str
) -> KafkaSource:
    """A source in its own group unless told; settings with underscores for dots."""
    more = {key.replace("_", "."): value for key, value in settings.items()}
    address = {"bootstrap.servers": broker.bootstrap, "group.id": member_of or group()}
    return joined({**SOON, **address, **more}, topics)


def read(
    source: KafkaSource, count: int, *, until: Callable[[], bool] | None = None
) -> list[Message]:
    """Poll until ``count`` messages have come (and ``until`` holds), or patience ends."""
    found: list[Message] = []
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and (len(found) < count or not (until is None or until())):
        found += source.poll(100, 0.1)
    return found


def offsets_after(messages: list[Message]) -> dict[tuple[str, int], int]:
    """The next offset of each partition after all these messages."""
    ordered = sorted(messages, key=lambda each: each.origin.offset)
    return {(m.origin.topic, m.origin.partition): m.origin.offset + 1 for m in ordered}


def test_a_message_comes_as_it_was_sent(broker: Broker) -> None:
    """Key, headers in their order, timestamp, and a tombstone's missing value are kept."""
    topic = broker.topic()
    headers = (("a", b"1"), ("b", None), ("a", b"2"))
    stamp = 1_700_000_000_123
    broker.produce(topic, [b"v", None], keys=[b"k", None], headers=headers, timestamp_ms=stamp)
    reader = source(broker, topic)
    first, second = read(reader, 2)
    reader.close()
    assert (b"v", b"k", stamp, headers) == (
        first.value, first.key, first.timestamp_ms, first.headers,
    )  # fmt: skip
    assert (None, None, 1) == (second.value, second.key, second.origin.offset)


def test_messages_that_are_here_do_not_wait_for_the_time_out(broker: Broker) -> None:
    """A short batch comes at once, although the time-out is ten seconds."""
    topic = broker.topic()
    reader = source(broker, topic)
    read(reader, 0, until=lambda: bool(reader.assigned))
    broker.produce(topic, [b"v"] * 3)
    begin = time.monotonic()
    found = reader.poll(100, 10.0)
    took = time.monotonic() - begin
    reader.close()
    assert found
    assert took < 9.0


def test_no_more_messages_come_than_were_asked_for(broker: Broker) -> None:
    """A batch has its bound even where the prefetched queue is longer."""
    topic = broker.topic()
    broker.produce(topic, [b"v"] * 50)
    reader = source(broker, topic)
    sizes: list[int] = []
    while sum(sizes) < 50:
        sizes.append(len(reader.poll(7, 1.0)))
    reader.close()
    assert 7 == max(sizes)


@pytest.mark.parametrize("wait", [True, False])
def test_a_restart_resumes_at_the_committed_offset(broker: Broker, wait: bool) -> None:
    """Messages that were read but not committed are read again, committed ones are not."""
    topic, member_of = broker.topic(), group()
    broker.produce(topic, [b"%d" % number for number in range(10)])
    reader = source(broker, topic, member_of=member_of)
    assert 10 == len(read(reader, 10))
    assert reader.commit({(topic, 0): 4}, wait=wait)
    reader.close()
    assert {0: 4} == broker.committed(member_of, topic)
    again = source(broker, topic, member_of=member_of)
    found = read(again, 6)
    again.close()
    assert [b"4", b"5", b"6", b"7", b"8", b"9"] == [message.value for message in found]


def test_a_late_refusal_does_not_take_a_commit_back(broker: Broker) -> None:
    """A refused offset is committed again only if no later one was committed meanwhile."""
    topic, name = broker.topic(), group()
    broker.produce(topic, [b"v"] * 3)
    reader = source(broker, topic, member_of=name)
    read(reader, 3)
    reader.commit({(topic, 0): 3}, wait=True)
    refused = Position(topic, 0, 1)
    reader._committed(KafkaError(KafkaError._TIMED_OUT), [refused])
    reader.commit({}, wait=True)
    reader.close()
    assert broker.committed(name, topic) == {0: 3}


def test_a_partition_of_another_worker_is_not_committed(broker: Broker) -> None:
    """A late commit cannot move the offset of a partition that is not assigned."""
    topic, member_of = broker.topic(2), group()
    reader = source(broker, topic, member_of=member_of)
    read(reader, 0, until=lambda: len(reader.assigned) == 2)
    assert reader.commit({(topic, 0): 5, ("elsewhere", 0): 7}, wait=True)
    reader.close()
    assert {0: 5} == broker.committed(member_of, topic)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_two_sources_share_the_partitions_and_no_message_is_lost(
    broker: Broker, protocol: str
) -> None:
    """What the first commits as it gives partitions up is not read by the second."""
    topic, member_of = broker.topic(4), group()
    broker.produce(topic, [b"v"] * 40, keys=[b"%d" % n for n in range(40)])
    seen: list[Message] = []
    given_up: list[Partitions] = []

    def hand_over(partitions: Partitions) -> None:
        given_up.append(partitions)
        first.commit({p: o for p, o in offsets_after(seen).items() if p in partitions}, wait=True)

    address = {"bootstrap.servers": broker.bootstrap, "group.id": member_of}
    settings: dict[str, str | int] = {**SOON, **address, "group.protocol": protocol}
    first = joined(settings, [topic], on_revoked=hand_over)
    seen += read(first, 40)
    second = joined(settings, [topic])
    late: list[Message] = []
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and len(second.assigned) != 2:
        seen += first.poll(10, 0.1)
        late += second.poll(10, 0.1)
    assert {2, 4} == {len(first.assigned), len(first.assigned + second.assigned)}
    assert [2] == [len(partitions) for partitions in given_up]
    broker.produce(topic, [b"v"] * 40, keys=[b"%d" % n for n in range(40, 80)])
    while time.monotonic() < end and len(seen) + len(late) < 80:
        seen += first.poll(10, 0.1)
        late += second.poll(10, 0.1)
    first.close()
    second.close()
    assert sorted(b"%d" % n for n in range(80)) == sorted(m.key or b"" for m in seen + late)


def test_a_paused_source_fetches_nothing_and_resumes_where_it_stopped(broker: Broker) -> None:
    """Every message comes once across a pause."""
    topic = broker.topic()
    broker.produce(topic, [b"%d" % number for number in range(100)])
    reader = source(broker, topic)
    found: list[Message] = []
    while not found:
        found += reader.poll(5, 0.5)
    reader.pause()
    assert [] == [each for _ in range(10) for each in reader.poll(5, 0.05)]
    reader.resume()
    found += read(reader, 100 - len(found))
    reader.close()
    assert list(range(100)) == [message.origin.offset for message in found]


def test_a_partition_that_is_held_keeps_no_other_back(broker: Broker) -> None:
    """It goes on where it stopped when it is released, also after a pause of all."""
    topic = broker.topic(2)
    reader = source(broker, topic)
    read(reader, 0, until=lambda: len(reader.assigned) == 2)
    reader.hold((topic, 0))
    for partition in (0, 1):
        broker.produce(topic, [b"%d" % n for n in range(50)], partition=partition)
    found = read(reader, 50)
    reader.pause()
    reader.resume()
    assert [] == [each for _ in range(10) for each in reader.poll(5, 0.1)]
    reader.release((topic, 0))
    found += read(reader, 50)
    reader.close()
    places = [(m.origin.partition, m.origin.offset) for m in found]
    assert [(partition, offset) for partition in (1, 0) for offset in range(50)] == places


def test_a_partition_that_was_held_when_it_went_is_read_when_it_comes_back(broker: Broker) -> None:
    """It went to another member of the group, which left."""
    topic, member_of = broker.topic(2), group()
    reader = source(broker, topic, member_of=member_of)
    read(reader, 0, until=lambda: len(reader.assigned) == 2)
    for partition in (0, 1):
        reader.hold((topic, partition))
    other = source(broker, topic, member_of=member_of)
    read(reader, 0, until=lambda: bool(other.poll(1, 0.1) or other.assigned))
    (gone,) = other.assigned
    other.close()
    read(reader, 0, until=lambda: len(reader.assigned) == 2)
    for partition in (0, 1):
        broker.produce(topic, [b"v"], partition=partition)
    (message,) = read(reader, 1)
    assert gone == (message.origin.topic, message.origin.partition)
    assert [] == [each for _ in range(10) for each in reader.poll(5, 0.1)]
    reader.close()


def test_partitions_that_come_during_a_pause_are_paused_too(broker: Broker) -> None:
    """A source that paused before it joined reads nothing until it resumes."""
    topic = broker.topic()
    broker.produce(topic, [b"v"])
    reader = source(broker, topic)
    reader.pause()
    assert [] == read(reader, 0, until=lambda: bool(reader.assigned))
    assert [] == [each for _ in range(10) for each in reader.poll(5, 0.1)]
    reader.resume()
    assert 1 == len(read(reader, 1))
    reader.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_pattern_finds_tonights_topic(broker: Broker, protocol: str) -> None:
    """A topic that is made later and matches is read from its beginning."""
    stem = f"ztf-{uuid.uuid4().hex[:8]}"
    last_night = broker.topic(name=f"{stem}_20260101_programid1")
    broker.produce(last_night, [b"old"])
    settings = {"group_protocol": protocol}
    reader = source(broker, f"^{stem}_[0-9]+_programid1$", **settings)
    assert [b"old"] == [message.value for message in read(reader, 1)]
    tonight = broker.topic(name=f"{stem}_20260102_programid1")
    broker.topic(name=f"{stem}_20260102_programid2")
    broker.produce(tonight, [b"new"])
    assert [b"new"] == [message.value for message in read(reader, 1)]
    assert {last_night, tonight} == {topic for topic, _ in reader.assigned}
    reader.close()


def test_a_topic_that_expires_does_not_stall_the_others(broker: Broker) -> None:
    """A vanished partition of a pattern is given up and reading goes on."""
    stem = f"ztf-{uuid.uuid4().hex[:8]}"
    old, new = broker.topic(name=f"{stem}_1"), broker.topic(name=f"{stem}_2")
    reader = source(broker, f"^{stem}_")
    read(reader, 0, until=lambda: len(reader.assigned) == 2)
    broker.delete(old)
    broker.produce(new, [b"v"])
    found = read(reader, 1, until=lambda: len(reader.assigned) == 1)
    reader.close()
    assert [(new, b"v")] == [(message.origin.topic, message.value) for message in found]


def test_offsets_that_have_expired_are_skipped_not_waited_for(broker: Broker) -> None:
    """A committed offset beyond what the topic holds starts again at its beginning."""
    topic, member_of = broker.topic(), group()
    broker.produce(topic, [b"v"])
    reader = source(broker, topic, member_of=member_of)
    read(reader, 1)
    reader.commit({(topic, 0): 1000}, wait=True)
    reader.close()
    again = source(broker, topic, member_of=member_of)
    assert [b"v"] == [message.value for message in read(again, 1)]
    again.close()


def test_a_topic_that_never_was_stops_the_service(broker: Broker) -> None:
    """The failure names the topic and what creates it."""
    reader = source(broker, "never-was")
    with pytest.raises(TransportFailed, match=r"never-was.*streamfilter topics create"):
        read(reader, 1)
    reader.close()


def test_a_fenced_reader_ends_before_it_reads_what_it_fetched(broker: Broker) -> None:
    """Another worker reads these messages already; the words say what mends it."""
    topic, fetched = broker.topic(), 300
    broker.produce(topic, [b"v"] * fetched)
    # The commit is refused before a beat of its heart is.
    same = {"member_of": group(), "group_instance_id": "one", "heartbeat_interval_ms": "15000"}
    first = source(broker, topic, **same)
    found = read(first, 1)
    second = source(broker, topic, **same)
    assert fetched == len(read(second, fetched))
    first.commit(offsets_after(found), wait=False)
    time.sleep(1)  # its answer is here
    more: list[Message] = []

    def read_on() -> None:
        while len(found) + len(more) < fetched:
            more.extend(first.poll(1, 0.1))

    with pytest.raises(TransportFailed, match="give each worker its own"):
        read_on()
    assert len(more) < 10
    second.close()


def test_what_a_callback_raises_comes_out_of_poll(broker: Broker) -> None:
    """A drain that fails is not swallowed by librdkafka."""

    def fail(_: Partitions) -> None:
        raise TransportFailed("the drain failed")

    address = {"bootstrap.servers": broker.bootstrap, "group.id": group()}
    reader = joined({**SOON, **address}, [broker.topic()], on_assigned=fail)
    with pytest.raises(TransportFailed, match="the drain failed"):
        read(reader, 1)
    with pytest.raises(TransportFailed, match="the drain failed"):
        reader.close()


def test_an_outage_is_waited_for(private_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit fails and is made good, and reading goes on, once the broker is back."""
    monkeypatch.setattr("streamfilter.kafka.source.COMMIT_WAIT_S", 1.0)
    node = private_broker.node
    assert node is not None
    topic, member_of = private_broker.topic(), group()
    private_broker.produce(topic, [b"before"])
    reader = source(private_broker, topic, member_of=member_of)
    read(reader, 1)
    node.stop()
    assert not reader.commit({(topic, 0): 1}, wait=True)
    node.start()
    private_broker.produce(topic, [b"after"])
    assert [b"after"] == [message.value for message in read(reader, 1)]
    assert reader.commit({}, wait=True)
    reader.close()
    assert {0: 1} == private_broker.committed(member_of, topic)


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_a_drain_ends_in_time_although_the_broker_is_away(
    private_broker: Broker, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last commit and farewell are bounded: SIGTERM does not hang on a dead broker."""
    monkeypatch.setattr("streamfilter.kafka.source.COMMIT_WAIT_S", 1.0)
    monkeypatch.setattr("streamfilter.kafka.source.CLOSE_WAIT_S", 1.0)
    topic = private_broker.topic()
    private_broker.produce(topic, [b"v"])
    address = {"bootstrap.servers": private_broker.bootstrap, "group.id": group()}
    done: list[bool] = []
    reader = joined(
        {**SOON, **address}, [topic],
        on_revoked=lambda _: done.append(reader.commit({(topic, 0): 1}, wait=True)),
    )  # fmt: skip
    read(reader, 1)
    getattr(private_broker.node, how)()
    begin = time.monotonic()
    reader.close()
    assert time.monotonic() - begin < 5.0
    assert [False] == done


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"enable.auto.commit": True}, "'enable.auto.commit' is 'true'"),
        ({"group.identity": "x"}, 'No such configuration property: "group.identity"'),
        ({"isolation.level": "x"}, "isolation.level"),
        ({"auto.offset.reset": "newest"}, "'newest'; expected earliest, latest or error"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    settings: dict[str, str | int | float | bool], named: str
) -> None:
    """What would lose alerts, and what librdkafka does not know, does not start."""
    with pytest.raises(ConfigurationInvalid, match=named):
        joined({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", **settings}, ["t"])


@pytest.mark.parametrize("given", [{"bootstrap.servers": "x"}, {"group.id": "x"}])
def test_a_source_needs_an_address_and_a_group(given: dict[str, str]) -> None:
    """The message names the missing setting."""
    missing = ({"bootstrap.servers", "group.id"} - set(given)).pop()
    with pytest.raises(ConfigurationInvalid, match=f"'{missing}' is missing"):
        joined(given, ["t"])


def made_again_under(broker: Broker, reader: KafkaSource, topic: str) -> None:
    """Delete a topic and fill it beyond its old end before the reader fetches from it again."""
    reader.pause()
    reader.poll(1, 0.5)  # what was asked for before is answered
    broker.delete(topic)
    time.sleep(2)  # the broker forgets the group's offsets a little later
    broker.topic(name=topic)
    broker.produce(topic, [b"new %d" % n for n in range(25)])
    reader.resume()


def test_the_start_of_a_topic_that_is_made_again_is_not_skipped(broker: Broker) -> None:
    """The new offsets continue the old ones; only the group's deleted commit shows the change."""
    topic, lost = broker.topic(), list[Partitions]()
    broker.produce(topic, [b"old"] * 10)
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": group()}
    reader = joined(settings, [topic], on_lost=lost.append)
    assert reader.commit(offsets_after(read(reader, 10)), wait=True)
    made_again_under(broker, reader, topic)
    found = read(reader, 25)
    assert [b"new %d" % n for n in range(25)] == [each.value for each in found]
    assert [((topic, 0),)] == lost
    assert reader.commit(offsets_after(found), wait=True)
    reader.close()
