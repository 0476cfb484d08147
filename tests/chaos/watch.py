"""Two clients beside the workers: one that sends each alert once, one that sees answers come."""

import threading
import time
from types import TracebackType

from audit import Answer
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    Producer,
)
from confluent_kafka import Message as RawMessage
from confluent_kafka import TopicPartition as Position
from kafka_desk import ANSWER_S

# A broker that was killed is back within seconds, on a busy machine within a minute.
_OUTAGE_MS = 180_000
_QUIET = 2  # that the broker is away is no news


class Feed:
    """An idempotent producer: a broker that dies takes no alert twice."""

    def __init__(self, bootstrap: str) -> None:
        self._failed: list[str] = []
        self.taken: dict[bytes, int] = {}
        """Of each alert, at which offset the broker said that it stands."""
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5,
                "message.max.bytes": 40 * 2**20, "delivery.timeout.ms": _OUTAGE_MS,
                "client.id": "feed", "log_level": _QUIET,
            }
        )  # fmt: skip

    def send(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Hand one message over."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has all of it."""
        left = self._producer.flush(_OUTAGE_MS / 1000)
        assert ([], 0) == (self._failed, left)

    def _delivered(self, error: object, message: RawMessage) -> None:
        if error is not None:
            self._failed.append(str(error))
        else:
            self.taken[bytes(message.key() or b"")] = message.offset() or 0


class Watch:
    """Reads topics from their beginning as a reader of committed messages does, in a thread."""

    def __init__(self, bootstrap: str, topics: list[str]) -> None:
        self._answers: list[Answer] = []
        self._keys: dict[str, set[bytes]] = {topic: set() for topic in topics}
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": "watch", "enable.auto.commit": False,
                "isolation.level": "read_committed", "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 500, "log_level": _QUIET,
            }
        )  # fmt: skip
        known = self._consumer.list_topics(timeout=ANSWER_S).topics
        self._consumer.assign(
            [Position(name, n, OFFSET_BEGINNING) for name in topics for n in known[name].partitions]
        )
        self._thread = threading.Thread(target=self._read, name="watch")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """What came so far."""
        return tuple(self._answers)

    @property
    def keys(self) -> frozenset[bytes]:
        """The alerts that were answered so far."""
        return frozenset().union(*map(tuple, self._keys.values()))

    def keys_in(self, topic: str) -> frozenset[bytes]:
        """Those that one of the topics answers."""
        return frozenset(tuple(self._keys[topic]))

    def _read(self) -> None:
        while not self._stopping.is_set():
            for each in self._consumer.consume(500, 0.1):
                if each.error() is not None:  # a broker that is away; librdkafka goes on by itself
                    continue
                key, (kind, stamp_ms) = each.key() or b"", each.timestamp()
                key = key.encode() if isinstance(key, str) else key
                arrived_s = time.time()
                # A worker's own clock may be wrong.
                told = kind == TIMESTAMP_LOG_APPEND_TIME
                self._answers.append(Answer(key, stamp_ms / 1000 if told else arrived_s, arrived_s))
                self._keys[each.topic() or ""].add(key)
