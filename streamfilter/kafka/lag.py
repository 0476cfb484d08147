"""How far a consumer group is behind, asked from outside."""

import re

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.client import ClientErrors, Settings, make_client, merged
from streamfilter.kafka.properties import CONSUMER

_ANSWER_S = 2.0


class GroupLag:
    """Asks for the offsets of a group, which it does not join; for one thread.

    Parameters
    ----------
    settings
        librdkafka's settings; ``bootstrap.servers`` is required.
    topics
        Names, or patterns that begin with ``^``.

    Raises
    ------
    ConfigurationInvalid
        A setting cannot be.
    """

    def __init__(self, settings: Settings, group: str, topics: tuple[str, ...]) -> None:
        self._topics = topics
        errors = ClientErrors("lag", patient=True)
        own: Settings = {"enable.auto.commit": False, "allow.auto.create.topics": False}
        ready = merged(own, settings, ("bootstrap.servers",), CONSUMER)
        self._consumer = make_client(
            Consumer, {**ready, "group.id": group, **errors.settings()}, "lag"
        )

    def messages(self) -> int | None:
        """Returns messages that are there and not committed; None where nothing is known."""
        try:
            committed = self._consumer.committed(self._partitions(), _ANSWER_S)
            total = 0
            for at in committed:
                low, high = self._consumer.get_watermark_offsets(at, _ANSWER_S)
                total += max(0, high - max(low, at.offset))
        except KafkaException:
            return None
        return total if committed else None

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _partitions(self) -> list[Position]:
        known = self._consumer.list_topics(timeout=_ANSWER_S).topics
        names = [
            name
            for name in known
            if any(re.match(t, name) if t.startswith("^") else t == name for t in self._topics)
        ]
        return [Position(name, number) for name in names for number in known[name].partitions]
