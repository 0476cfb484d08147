"""Reads the newest messages of topics and those that follow; joins no group, commits nothing."""

import time
from collections.abc import Mapping

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.client import (
    GONE,
    ClientErrors,
    Settings,
    lasting,
    make_client,
    merged,
    transport_failed,
)
from streamfilter.kafka.messages import message_of
from streamfilter.kafka.properties import CONSUMER
from streamfilter.kafka.reader import DEFAULTS
from streamfilter.records import Message

log = structlog.get_logger(__name__)

_AT_ONCE = 200
# How often the broker is asked for missing topics and new partitions, and whether it is up.
_LOOK_EVERY_S = 2.0
_ANSWER_S = 3.0


class Tail:
    """The newest messages of topics, and all that come later.

    It waits for a topic that does not exist, and tries again while a broker is away.

    Parameters
    ----------
    settings
        librdkafka's settings; ``bootstrap.servers`` is required.
    topics
        With each, how many messages before the end of a partition reading begins; None: all.

    Raises
    ------
    ConfigurationInvalid
        A setting cannot be.
    """

    def __init__(self, settings: Settings, topics: Mapping[str, int | None]) -> None:
        self._topics = dict(topics)
        self._errors = ClientErrors("reader", patient=True, passing=GONE)
        own = {"topic.metadata.refresh.interval.ms": 5000, "reconnect.backoff.max.ms": 1000}
        ready = merged({**DEFAULTS, **own}, settings, ("bootstrap.servers",), CONSUMER)
        self._consumer = make_client(Consumer, {**ready, **self._errors.settings()}, "reader")
        self._read: dict[tuple[str, int], int] = {}  # where reading began
        self._due_s = 0.0
        self._connected = False
        self.missing: tuple[str, ...] = tuple(topics)
        """Topics that do not exist."""

    @property
    def connected(self) -> bool:
        """Whether the broker answered the last question, or has sent something since."""
        return self._connected

    def poll(self, timeout_s: float) -> list[Message]:
        """Returns the messages that have come, in the order of each partition.

        Raises
        ------
        TransportFailed
            Something must be mended by a person, such as a password.
        """
        self._errors.check()
        if time.monotonic() >= self._due_s:
            self._look()
            self._due_s = time.monotonic() + _LOOK_EVERY_S
        found = []
        for raw in self._consumer.consume(_AT_ONCE, timeout_s):
            error = raw.error()
            if error is None:
                found.append(message_of(raw))
            elif error.code() in GONE:
                self._forget(str(raw.topic()))
            elif lasting(error):
                raise transport_failed(error, "reading the outputs")
        if found:
            self._errors.recovered()
            self._connected = True
        return found

    def behind(self) -> int:
        """Returns how many messages are known to exist and are not read yet."""
        total = 0
        for (topic, number), began in self._read.items():
            at = Position(topic, number)
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
            position = self._consumer.position([at])[0].offset
            total += max(0, high - max(position, began))
        return total

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _look(self) -> None:
        """Ask for the topics, and begin to read partitions that are new."""
        try:
            missing = []
            for topic, back in self._topics.items():
                known = self._consumer.list_topics(topic, _ANSWER_S).topics[topic]
                if known.error is not None or not known.partitions:
                    missing.append(topic)
                for number in sorted(set(known.partitions) - self._numbers(topic)):
                    self._begin(Position(topic, number), back)
        except KafkaException:  # asked again soon; what lasts is kept by the client's errors
            self._connected = False
            return
        self._errors.recovered()
        self._connected, self.missing = True, tuple(missing)

    def _numbers(self, topic: str) -> set[int]:
        return {number for name, number in self._read if name == topic}

    def _begin(self, at: Position, back: int | None) -> None:
        low, high = self._consumer.get_watermark_offsets(at, _ANSWER_S)
        start = low if back is None else max(low, high - back)
        self._consumer.incremental_assign([Position(at.topic, at.partition, start)])
        self._read[at.topic, at.partition] = start

    def _forget(self, topic: str) -> None:
        """Stop reading a topic that was deleted: it may come again, with other offsets."""
        gone = [each for each in self._read if each[0] == topic]
        self._consumer.incremental_unassign([Position(*each) for each in gone])
        for each in gone:
            del self._read[each]
