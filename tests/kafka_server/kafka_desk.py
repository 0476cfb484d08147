"""What a test does at a broker: make topics, produce, read to the end, look at commits."""

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
)
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic
from kafka_node import KafkaNode

from streamfilter.records import Headers, Message, Origin

# An answer of a broker on two busy cores.
ANSWER_S = 30.0
# What a client hears of a topic that is new, or of a broker that was away.
_PASSING = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN,
        KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE,
    }
)  # fmt: skip


class Broker:
    """A broker and the helpers around it.

    ``node`` is None where another process started it, ``sasl_bootstrap`` empty where the address
    was given.
    """

    replicas = 1
    """Of each partition of a topic that is made here."""

    def __init__(
        self, bootstrap: str, node: KafkaNode | None = None, sasl_bootstrap: str = ""
    ) -> None:
        self.bootstrap = bootstrap
        self.node = node
        self.sasl_bootstrap = sasl_bootstrap
        # Its log would tell of every try to reach a broker that a test stopped.
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})

    def topic(self, partitions: int = 1, *, stem: str = "t", name: str = "", **config: str) -> str:
        """Create a topic, by default under a unique name, and wait until it has leaders.

        ``config`` takes topic settings with underscores: ``max_message_bytes="1000"``.
        """
        name = name or f"{stem}-{uuid.uuid4().hex[:12]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        new = NewTopic(name, partitions, self.replicas, config=settings)
        self._admin.create_topics([new])[name].result(ANSWER_S)
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            known = self._admin.list_topics(name, ANSWER_S).topics[name].partitions
            if len(known) == partitions and all(p.leader >= 0 for p in known.values()):
                return name
            time.sleep(0.05)
        raise TimeoutError(f"topic {name} has no leaders after {ANSWER_S} s")

    def delete(self, *topics: str) -> None:
        """Delete topics, as retention by a survey's operators would."""
        for future in self._admin.delete_topics(list(topics)).values():
            future.result(ANSWER_S)

    def alter(self, topic: str, **config: str) -> None:
        """Change settings of a topic, written as ``topic`` takes them."""
        changes = [
            ConfigEntry(
                key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET
            )
            for key, value in config.items()
        ]  # fmt: skip
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
        for future in self._admin.incremental_alter_configs([resource]).values():
            future.result(ANSWER_S)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the messages below an offset, as retention does."""
        asked = [Position(topic, partition, offset)]
        for future in self._admin.delete_records(asked).values():
            future.result(ANSWER_S)

    def step_to(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Let a group without members go on at an offset, as ``kafka-consumer-groups.sh`` does."""
        asked = ConsumerGroupTopicPartitions(group, [Position(topic, partition, offset)])
        answer = self._admin.alter_consumer_group_offsets([asked])[group].result(ANSWER_S)
        (position,) = answer.topic_partitions or []
        if position.error is not None:
            raise KafkaException(position.error)

    def produce(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        headers: Headers = (),
        partition: int = -1,
        timestamp_ms: int = 0,
    ) -> None:
        """Append messages (``keys`` runs beside ``values``) and wait for all acknowledgements."""
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 1,
            "message.max.bytes": 40 * 2**20,
            # Without it a first request that a new topic's leader refuses is repeated too late.
            "enable.idempotence": True,
        }  # fmt: skip
        producer = Producer(settings)
        failed: list[object] = []
        for index, value in enumerate(values):
            key = keys[index] if keys is not None else None
            while True:
                try:
                    producer.produce(
                        topic, value, key, partition, timestamp=timestamp_ms,
                        headers=list(headers),
                        on_delivery=lambda error, _: failed.append(error) if error else None,
                    )  # fmt: skip
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(ANSWER_S)
        assert ([], 0) == (failed, left)

    def read(self, topic: str, *, isolation: str = "read_committed") -> list[Message]:
        """Everything that stands in a topic now, partition by partition, committed only."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap, "group.id": f"read-{uuid.uuid4().hex}",
                "enable.auto.commit": False, "isolation.level": isolation,
            }
        )  # fmt: skip
        try:
            found: list[Message] = []
            for partition in sorted(consumer.list_topics(topic, ANSWER_S).topics[topic].partitions):
                found += self._read_partition(consumer, Position(topic, partition))
            return found
        finally:
            consumer.close()

    def _read_partition(self, consumer: Consumer, at: Position) -> list[Message]:
        low, high = self._ends(consumer, at)
        consumer.assign([Position(at.topic, at.partition, low)])
        found: list[Message] = []
        end = time.monotonic() + ANSWER_S
        while consumer.position([at])[0].offset < high and low < high:
            if time.monotonic() > end:
                raise TimeoutError(f"{at} was not read to {high} within {ANSWER_S} s")
            for each in consumer.consume(500, 0.05):
                error = each.error()
                if error is not None:
                    if error.code() in _PASSING:
                        continue
                    raise KafkaException(error)
                offset = each.offset()
                assert offset is not None
                origin = Origin(at.topic, at.partition, offset)
                headers = cast("Headers", tuple(each.headers() or ()))
                stamp = each.timestamp()[1]
                found.append(Message(origin, each.value(), each.key(), stamp, headers))
        return found

    def _ends(self, consumer: Consumer, at: Position) -> tuple[int, int]:
        """First and next offset; a broker that has just started, or a new topic, takes a while."""
        end = time.monotonic() + ANSWER_S
        while True:
            try:
                return consumer.get_watermark_offsets(at, ANSWER_S)
            except KafkaException as error:
                if error.args[0].code() not in _PASSING or time.monotonic() > end:
                    raise
            time.sleep(0.1)
            consumer.list_topics(at.topic, ANSWER_S)

    def size(self, topic: str) -> int:
        """How many messages were ever appended to a topic, as its end offsets say."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "size"})
        try:
            known = consumer.list_topics(topic, ANSWER_S).topics[topic].partitions
            ends = (self._ends(consumer, Position(topic, n)) for n in known)
            return sum(high for _, high in ends)
        finally:
            consumer.close()

    def counts(self, topic: str) -> Counter[bytes | None]:
        """How often each key stands in a topic."""
        return Counter(message.key for message in self.read(topic))

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The offsets that a group has committed, by partition; without those it has not."""
        known = self._admin.list_topics(topic, ANSWER_S).topics[topic].partitions
        asked = ConsumerGroupTopicPartitions(group, [Position(topic, each) for each in known])
        answer = self._admin.list_consumer_group_offsets([asked])[group].result(ANSWER_S)
        positions: list[Position] = answer.topic_partitions or []
        return {each.partition: each.offset for each in positions if each.offset >= 0}
