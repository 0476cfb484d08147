"""Asks a broker about itself, its topics and this client's rights; it changes nothing there."""

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
from streamfilter.kafka.client import (
    ClientErrors,
    Settings,
    error_of,
    make_client,
    merged,
)
from streamfilter.kafka.messages import message_of
from streamfilter.kafka.properties import CONSUMER
from streamfilter.kafka.topics import Answer, open_admin, wait_for_answer
from streamfilter.records import Message

READ, WRITE = "READ", "WRITE"
# A new broker chooses the coordinator of groups only when it is first asked for it.
_NOT_YET = frozenset(
    {
        KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
    }
)  # fmt: skip
_RETRY_S = 0.3
# Partitions that are searched for a last message, and how far before their ends: the last offsets
# of a transaction hold no message.
_MOST_PARTITIONS, _TAIL = 16, 5
_API = re.compile(r"ApiKey \S+ \((\d+)\) Versions (\d+)\.\.(\d+)")
_FETCH, _INIT_PRODUCER_ID, _DESCRIBE_CLUSTER = 1, 22, 60


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster behind an address."""

    brokers: tuple[str, ...]
    """Host and port of each broker."""
    version: str
    """A range of Kafka versions; empty where the broker says nothing about it."""
    idempotent: bool
    """Whether the brokers accept idempotent producers (since Kafka 0.11)."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the broker describes it."""

    name: str
    partitions: int
    without_leader: int
    replicas: int
    """Replicas of the partition that has the fewest in-sync replicas."""
    in_step: int
    """In-sync replicas of that partition."""
    rights: frozenset[str]
    """Rights of this client, such as ``READ``; empty where the broker does not say."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Settings of the topic; empty where this client may not read them."""

    @property
    def max_message_bytes(self) -> int | None:
        """Largest batch that the topic accepts; None where this client may not read it."""
        value = self.config.get("max.message.bytes")
        return None if value is None else int(value)


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A consumer group as the broker describes it."""

    state: str
    members: int
    rights: frozenset[str]
    client_ids: tuple[str, ...] = ()
    """The client ids of its members."""


def _address(host: str, port: int) -> str:
    """Returns host and port; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _client_ids(found: Any) -> tuple[str, ...]:
    return tuple(str(member.client_id) for member in found.members)


def client_version() -> str:
    """Returns the versions of the Kafka client libraries."""
    return f"confluent-kafka {confluent_kafka.__version__}, librdkafka {_librdkafka()}"


def _librdkafka() -> str:
    return str(confluent_kafka.libversion()[0])


class Inspector:
    """Asks one cluster; each question takes at most ``timeout_s``.

    Raises
    ------
    ConfigurationInvalid
        librdkafka refuses the settings.
    """

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._api_versions = _ApiVersions()
        # Only these log lines say which API versions the broker has.
        self._admin = open_admin({**settings, "debug": "feature"}, self._api_versions)

    def cluster(self) -> Cluster:
        """Returns the brokers of the cluster.

        Raises
        ------
        TransportFailed
            No broker answers, or none accepts this client; with what to check.
        """
        found = self._ask(self._admin.describe_cluster(request_timeout=self._timeout_s), "brokers")
        self._admin.poll(0)
        versions = self._api_versions.versions
        return Cluster(
            tuple(_address(node.host, node.port) for node in found.nodes),
            _version(versions),
            not versions or _INIT_PRODUCER_ID in versions,
        )

    def names(self) -> frozenset[str]:
        """Returns the names of the topics that the broker shows this client."""
        try:
            return frozenset(self._admin.list_topics(timeout=self._timeout_s).topics)
        except KafkaException as error:
            raise self._api_versions.failure(error_of(error), "asking for the topics") from error

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts | TransportFailed]:
        """Returns the facts of topics by name, or why there are none."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        futures: Mapping[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(wanted),
            include_authorized_operations=True,
            request_timeout=self._timeout_s,
        )
        found: dict[str, TopicFacts | TransportFailed] = {}
        for name, future in futures.items():
            try:
                found[name] = _facts(self._ask(future, f"topic {name}"), self._config(name))
            except TransportFailed as error:
                found[name] = error
        return found

    def group(self, name: str) -> GroupFacts:
        """Returns a consumer group; one that was never used counts as an empty group.

        Raises
        ------
        TransportFailed
            The broker does not answer, or this client has no right to the group.
        """
        end = time.monotonic() + self._timeout_s
        while True:
            futures: Mapping[str, Future[Any]] = self._admin.describe_consumer_groups(
                [name], include_authorized_operations=True, request_timeout=self._timeout_s
            )
            try:
                found = self._answer(futures[name], f"group {name}")
            except KafkaException as error:
                passing = error_of(error).code() in _NOT_YET and time.monotonic() < end
                if not passing:
                    raise self._api_versions.failure(error_of(error), f"group {name}") from error
                time.sleep(_RETRY_S)
            else:
                state = str(found.state.name).lower()
                return GroupFacts(state, len(found.members), _rights(found), _client_ids(found))

    def last(self, topic: str, partitions: int, group: str) -> Message | None:
        """Returns one of the last messages of a topic, without joining a group; None: no message.

        Raises
        ------
        TransportFailed
            This client may not read the topic.
        ConfigurationInvalid
            librdkafka refuses the settings.
        """
        client = {**self._settings, "group.id": group, "enable.auto.commit": False}
        errors = ClientErrors("doctor")
        ready = merged({}, client, ("bootstrap.servers",), CONSUMER)
        consumer = make_client(Consumer, {**ready, **errors.settings()}, "consumer")
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
            raise self._api_versions.failure(error_of(error), f"reading {topic}") from error
        finally:
            consumer.close()

    def _newest(self, consumer: Consumer) -> Message | None:
        """Returns the newest of the fetched messages, once a second passes without another one."""
        newest: Message | None = None
        end = time.monotonic() + self._timeout_s
        while time.monotonic() < end:
            raw = consumer.poll(end - time.monotonic() if newest is None else 1.0)
            if raw is None:
                break
            if (error := raw.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(error)
            message = message_of(raw)
            if newest is None or (message.timestamp_ms or 0) > (newest.timestamp_ms or 0):
                newest = message
        return newest

    def _config(self, topic: str) -> dict[str, str]:
        """Returns a topic's settings; empty where this client may not read them."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        futures: Mapping[Any, Future[Any]] = self._admin.describe_configs(
            [resource], request_timeout=self._timeout_s
        )
        try:
            entries = self._ask(futures[resource], f"settings of {topic}")
        except TransportFailed:
            return {}
        return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def _ask(self, future: "Future[Answer]", about: str) -> Answer:
        try:
            return self._answer(future, about)
        except KafkaException as error:
            raise self._api_versions.failure(error_of(error), about) from error

    def _answer(self, future: "Future[Answer]", about: str) -> Answer:
        end = time.monotonic() + self._timeout_s
        return wait_for_answer(self._admin, future, self._api_versions, end, about)


class _ApiVersions(ClientErrors):
    """Reads the broker's API versions, by request, from librdkafka's log lines."""

    def __init__(self) -> None:
        super().__init__("doctor")
        self.versions: dict[int, tuple[int, int]] = {}

    def log(self, level: int, template: str, facility: str, client: str, line: str) -> None:
        """Keep the API versions that a log line names."""
        if match := _API.search(line):
            key, low, high = map(int, match.groups())
            self.versions[key] = (low, high)


def _version(versions: Mapping[int, tuple[int, int]]) -> str:
    """Returns a range of Kafka versions, from the API versions: brokers do not state their own."""
    if _FETCH not in versions:
        return ""
    if versions[_FETCH][0] >= 4:  # 4.0 dropped the older ones (KIP-896)
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
