"""Reads a topic, as it stands or as it comes; joins no group and commits nothing."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from streamfilter.errors import TransportFailed
from streamfilter.kafka.client import (
    ClientErrors,
    Settings,
    error_of,
    make_client,
    merged,
    transport_failed,
)
from streamfilter.kafka.messages import message_of
from streamfilter.kafka.properties import CONSUMER
from streamfilter.records import Message

# Longest wait for an answer, and for the next message before the end of a partition.
ANSWER_S = 30.0
_POLL_S = 0.1
_AT_ONCE = 100
DEFAULTS: Settings = {
    "group.id": "streamfilter-reader",  # the client requires one; the group is never joined
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",  # retention may delete the first messages
    "allow.auto.create.topics": False,
    # Messages of aborted transactions are not read, and open transactions are not waited for.
    "isolation.level": "read_committed",
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets of one partition, from the first to the last, both included."""

    partition: int
    first: int
    last: int


def read_topic(settings: Settings, topic: str, *, since_ms: int | None = None) -> Iterator[Message]:
    """Yields the messages of a topic, partition by partition, up to its ends at the start.

    Parameters
    ----------
    settings
        librdkafka's settings; ``bootstrap.servers`` is required.
    topic
        An existing topic.
    since_ms
        Yield only messages with a timestamp at or after this time (Unix, milliseconds).

    Raises
    ------
    TransportFailed
        There is no such topic, or the broker cannot be used.
    """
    with _reading(settings, topic) as (consumer, errors):
        for partition in _partitions(consumer, topic):
            start, end = _extent(consumer, topic, partition, since_ms)
            yield from _between(consumer, errors, Position(topic, partition, start), end)


def stretches(
    settings: Settings, topic: str, *, since_ms: int | None = None
) -> tuple[Stretch, ...]:
    """Returns what a topic holds now, partition by partition, without empty ones.

    Parameters
    ----------
    since_ms
        From the first message on that has a timestamp at or after this time (Unix, milliseconds).

    Raises
    ------
    TransportFailed
        There is no such topic, or the broker cannot be used.
    """
    with _reading(settings, topic) as (consumer, _):
        found = []
        for partition in _partitions(consumer, topic):
            low, high = _extent(consumer, topic, partition, since_ms)
            if high > low:
                found.append(Stretch(partition, low, high - 1))
        return tuple(found)


def read_stretches(settings: Settings, topic: str, wanted: Iterable[Stretch]) -> Iterator[Message]:
    """Yields the messages of stretches that the topic holds, in this order.

    Raises
    ------
    TransportFailed
        The broker cannot be used.
    """
    with _reading(settings, topic) as (consumer, errors):
        for each in wanted:
            start = Position(topic, each.partition, each.first)
            yield from _between(consumer, errors, start, each.last + 1)


def follow(
    settings: Settings, topic: str, *, ended: Callable[[], bool] = lambda: False
) -> Iterator[list[Message]]:
    """Yields the messages that come to a topic from now on, until ``ended`` says so.

    Partitions that the topic is given later are not read.

    Raises
    ------
    TransportFailed
        There is no such topic, or the broker cannot be used.
    """
    with _reading(settings, topic) as (consumer, errors):
        ends = []
        for partition in _partitions(consumer, topic):
            _, high = consumer.get_watermark_offsets(Position(topic, partition), ANSWER_S)
            ends.append(Position(topic, partition, high))
        consumer.assign(ends)
        while not ended():
            errors.check()
            raws = consumer.consume(_AT_ONCE, _POLL_S)
            for raw in raws:
                if (error := raw.error()) is not None:
                    raise transport_failed(error, f"reading {topic}")
            if raws:
                yield [message_of(raw) for raw in raws]


def read_one(settings: Settings, topic: str, partition: int, offset: int) -> Message | None:
    """Returns the message at one offset; None where there is none, or none any more.

    Raises
    ------
    TransportFailed
        The broker cannot be used.
    """
    with _reading(settings, topic) as (consumer, errors):
        low, high = consumer.get_watermark_offsets(Position(topic, partition), ANSWER_S)
        if not low <= offset < high:
            return None
        messages = _between(consumer, errors, Position(topic, partition, offset), offset + 1)
        return next((each for each in messages if each.origin.offset == offset), None)


@contextmanager
def _reading(settings: Settings, topic: str) -> Iterator[tuple[Consumer, ClientErrors]]:
    """Open a consumer for a topic and close it; what librdkafka raises meanwhile is translated."""
    consumer, errors = _consumer(settings)
    try:
        yield consumer, errors
    except KafkaException as error:
        errors.check()  # a wrong password, say, which the time-out does not name
        raise transport_failed(error_of(error), f"reading {topic}") from error
    finally:
        consumer.close()


def _consumer(settings: Settings) -> tuple[Consumer, ClientErrors]:
    errors = ClientErrors("reader")
    ready = merged(DEFAULTS, settings, ("bootstrap.servers",), CONSUMER)
    return make_client(Consumer, {**ready, **errors.settings()}, "reader"), errors


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    """Returns the partitions of a topic, which must exist."""
    known = consumer.list_topics(topic, ANSWER_S).topics[topic]
    if known.error is not None:
        raise transport_failed(known.error, f"reading {topic}")
    return sorted(known.partitions)


def _extent(
    consumer: Consumer, topic: str, partition: int, since_ms: int | None
) -> tuple[int, int]:
    """Returns the first offset of a partition, by time where one is given, and the next to come."""
    start, end = consumer.get_watermark_offsets(Position(topic, partition), ANSWER_S)
    if since_ms is not None:
        times = [Position(topic, partition, since_ms)]
        offset = consumer.offsets_for_times(times, ANSWER_S)[0].offset
        start = offset if offset >= 0 else end  # -1: no message is that new
    return start, end


def _between(
    consumer: Consumer, errors: ClientErrors, start: Position, end: int
) -> Iterator[Message]:
    """Yields the messages of one partition from ``start`` to before ``end``."""
    if start.offset >= end:
        return
    consumer.assign([start])
    deadline = time.monotonic() + ANSWER_S
    # Transaction markers have offsets too, so reading ends at a position, not at a message.
    while consumer.position([start])[0].offset < end:
        errors.check()
        for raw in consumer.consume(_AT_ONCE, _POLL_S):
            deadline = time.monotonic() + ANSWER_S
            error = raw.error()
            if error is not None:
                raise transport_failed(error, f"reading {start.topic}")
            message = message_of(raw)
            if message.origin.offset < end:
                yield message
        if time.monotonic() > deadline:
            raise TransportFailed(
                f"{start.topic} [{start.partition}] gave nothing for {ANSWER_S:.0f} s, but should "
                f"go on to offset {end}: see that the broker is up"
            )
