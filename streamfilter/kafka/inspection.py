"""What a broker says of itself, its topics and this client's rights; nothing is changed there."""

import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    ConfigResource,
    ResourceType,
)

from streamfilter.errors import TransportFailed
from streamfilter.kafka.client import Settings, Trouble, error_of, merged
from streamfilter.kafka.messages import message_of
from streamfilter.kafka.topics import Answer, answered, open_admin
from streamfilter.records import Message

READ, WRITE = "READ", "WRITE"
# The coordinator of groups is chosen at a new broker's first question for one.
_NOT_YET = frozenset(
    {
        KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
    }
)  # fmt: skip
_AGAIN_S = 0.3
# Partitions in which a last message is looked for, and how far from their ends: the last places of
# a transaction hold no message.
_MOST_PARTITIONS, _TAIL = 16, 5
_API = re.compile(r"ApiKey \S+ \((\d+)\) Versions (\d+)\.\.(\d+)")
_FETCH, _INIT_PRODUCER_ID, _DESCRIBE_CLUSTER = 1, 22, 60


@dataclass(frozen=True, slots=True)
class Cluster:
    """The brokers behind an address."""

    brokers: tuple[str, ...]
    """Host and port of each."""
    version: str
    """What can be said of it; empty where the broker told nothing."""
    idempotent: bool
    """Whether it takes idempotent producers (Kafka 0.11)."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the broker describes it."""

    name: str
    partitions: int
    without_leader: int
    replicas: int
    """Of the partition that has the fewest in step."""
    in_step: int
    """Replicas of that partition that are in step with its leader."""
    rights: frozenset[str]
    """What this client may do with it, such as ``READ``; empty where the broker does not say."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Its settings; empty where they may not be read."""

    @property
    def max_message_bytes(self) -> int | None:
        """Largest batch that it takes; None where that may not be read."""
        found = self.config.get("max.message.bytes")
        return None if found is None else int(found)


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A consumer group as the broker describes it."""

    state: str
    members: int
    rights: frozenset[str]


def client_version() -> str:
    """Of the libraries that speak to the brokers."""
    return f"confluent-kafka {confluent_kafka.__version__}, librdkafka {_librdkafka()}"


def _librdkafka() -> str:
    return str(confluent_kafka.libversion()[0])


class Inspector:
    """Asks one cluster; each question is bounded by ``timeout_s``.

    Raises
    ------
    ConfigurationInvalid
        librdkafka refuses the settings.
    """

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._told = _ApiVersions()
        # What the broker can do is told in these lines alone.
        self._admin = open_admin({**settings, "debug": "feature"}, self._told)

    def cluster(self) -> Cluster:
        """The brokers.

        Raises
        ------
        TransportFailed
            None answers, or they let this client not in; with what to look at.
        """
        found = self._ask(self._admin.describe_cluster(request_timeout=self._timeout_s), "brokers")
        self._admin.poll(0)
        versions = self._told.versions
        return Cluster(
            tuple(f"{node.host}:{node.port}" for node in found.nodes),
            _version(versions),
            not versions or _INIT_PRODUCER_ID in versions,
        )

    def names(self) -> frozenset[str]:
        """The topics that this client is shown."""
        try:
            return frozenset(self._admin.list_topics(timeout=self._timeout_s).topics)
        except KafkaException as error:
            raise self._told.failure(error_of(error), "asking for the topics") from error

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts | TransportFailed]:
        """What is known of topics, or why nothing is."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        asked: Mapping[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(wanted),
            include_authorized_operations=True,
            request_timeout=self._timeout_s,
        )
        found: dict[str, TopicFacts | TransportFailed] = {}
        for name, future in asked.items():
            try:
                found[name] = _facts(self._ask(future, f"topic {name}"), self._config(name))
            except TransportFailed as error:
                found[name] = error
        return found

    def group(self, name: str) -> GroupFacts:
        """A consumer group; one that was never used is there, and empty.

        Raises
        ------
        TransportFailed
            The broker tells nothing of it, or this client has no right to it.
        """
        end = time.monotonic() + self._timeout_s
        while True:
            asked: Mapping[str, Future[Any]] = self._admin.describe_consumer_groups(
                [name], include_authorized_operations=True, request_timeout=self._timeout_s
            )
            try:
                found = self._answer(asked[name], f"group {name}")
            except KafkaException as error:
                passing = error_of(error).code() in _NOT_YET and time.monotonic() < end
                if not passing:
                    raise self._told.failure(error_of(error), f"group {name}") from error
                time.sleep(_AGAIN_S)
            else:
                state = str(found.state.name).lower()
                return GroupFacts(state, len(found.members), _rights(found))

    def last(self, topic: str, partitions: int, group: str) -> Message | None:
        """One of the last messages of a topic; None where it holds none. No group is joined.

        Raises
        ------
        TransportFailed
            The broker does not let this client read there.
        """
        client = {**self._settings, "group.id": group, "enable.auto.commit": False}
        trouble = Trouble("doctor")
        consumer = Consumer({**merged({}, client, ("bootstrap.servers",)), **trouble.settings()})
        try:
            starts = [
                Position(topic, partition, max(low, high - _TAIL))
                for partition in range(min(partitions, _MOST_PARTITIONS))
                for low, high in [consumer.get_watermark_offsets(
                    Position(topic, partition), self._timeout_s
                )]
                if high > low
            ]  # fmt: skip
            if not starts:
                return None
            consumer.assign(starts)
            return self._newest(consumer)
        except KafkaException as error:
            raise self._told.failure(error_of(error), f"reading {topic}") from error
        finally:
            consumer.close()

    def _newest(self, consumer: Consumer) -> Message | None:
        """The newest of what comes; all is here once a second passes without more."""
        found: Message | None = None
        end = time.monotonic() + self._timeout_s
        while time.monotonic() < end:
            raw = consumer.poll(end - time.monotonic() if found is None else 1.0)
            if raw is None:
                break
            if (error := raw.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(error)
            message = message_of(raw)
            if found is None or (message.timestamp_ms or 0) > (found.timestamp_ms or 0):
                found = message
        return found

    def _config(self, topic: str) -> dict[str, str]:
        """A topic's settings; empty where they may not be read."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        asked: Mapping[Any, Future[Any]] = self._admin.describe_configs(
            [resource], request_timeout=self._timeout_s
        )
        try:
            entries = self._ask(asked[resource], f"settings of {topic}")
        except TransportFailed:
            return {}
        return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def _ask(self, future: "Future[Answer]", about: str) -> Answer:
        try:
            return self._answer(future, about)
        except KafkaException as error:
            raise self._told.failure(error_of(error), about) from error

    def _answer(self, future: "Future[Answer]", about: str) -> Answer:
        end = time.monotonic() + self._timeout_s
        return answered(self._admin, future, self._told, end, about)


class _ApiVersions(Trouble):
    """Keeps which requests, and which versions of them, a broker takes."""

    def __init__(self) -> None:
        super().__init__("doctor")
        self.versions: dict[int, tuple[int, int]] = {}

    def log(self, level: int, template: str, facility: str, client: str, line: str) -> None:
        """Read what is asked for out of librdkafka's lines."""
        if found := _API.search(line):
            key, low, high = map(int, found.groups())
            self.versions[key] = (low, high)


def _version(versions: Mapping[int, tuple[int, int]]) -> str:
    """Brokers do not say which Kafka they are; what they take says about as much."""
    if _FETCH not in versions:
        return ""
    if versions[_FETCH][0] >= 4:  # 4.0 takes no older ones (KIP-896)
        return "Kafka 4.0 or later"
    return "Kafka 2.8 to 3.9" if _DESCRIBE_CLUSTER in versions else "a Kafka before 2.8"


def _facts(found: Any, config: Mapping[str, str]) -> TopicFacts:
    partitions = found.partitions
    worst = min(partitions, key=lambda each: len(each.isr))
    return TopicFacts(
        name=found.name,
        partitions=len(partitions),
        without_leader=sum(each.leader is None or each.leader.id < 0 for each in partitions),
        replicas=len(worst.replicas),
        in_step=len(worst.isr),
        rights=_rights(found),
        config=config,
    )


def _rights(found: Any) -> frozenset[str]:
    return frozenset(each.name for each in found.authorized_operations or ())
