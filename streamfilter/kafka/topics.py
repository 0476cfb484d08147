"""Creates and changes topics, and finds which are missing."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.client import (
    ClientErrors,
    Settings,
    error_of,
    make_client,
    merged,
    transport_failed,
)
from streamfilter.kafka.properties import PRODUCER
from streamfilter.kafka.tokens import uses_tokens

Answer = TypeVar("Answer")

# A broker needs seconds to elect leaders for many partitions.
ANSWER_S = 30.0
# Interval of checks for a lasting failure (a wrong password, say) while waiting.
CHECK_S = 0.1
# The caller's request is wrong; the broker's message says why.
_WRONG_REQUEST = frozenset(
    {
        KafkaError.INVALID_CONFIG, KafkaError.INVALID_PARTITIONS, KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.POLICY_VIOLATION,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic after ``create``, either new or unchanged."""

    name: str
    created: bool
    partitions: int


def create(
    settings: Settings,
    names: Sequence[str],
    partitions: int = -1,
    replication: int = -1,
    config: Mapping[str, str] | None = None,
    *,
    timeout_s: float = ANSWER_S,
) -> tuple[Topic, ...]:
    """Create the topics that do not exist; existing ones do not change.

    Parameters
    ----------
    settings
        librdkafka's settings; ``bootstrap.servers`` is required.
    names
        Names of the topics.
    partitions, replication
        Numbers for each new topic; -1 leaves the choice to the broker.
    config
        Kafka's topic settings, such as ``retention.ms``.
    timeout_s
        Limit for the whole call.

    Raises
    ------
    ConfigurationInvalid
        The broker refuses the name, a number or a setting.
    TransportFailed
        The broker does not answer, or this client may not create topics.
    """
    errors = ClientErrors("administration")
    admin, end = open_admin(settings, errors), time.monotonic() + timeout_s
    new = [NewTopic(name, partitions, replication, config=dict(config or {})) for name in names]
    futures: Mapping[str, Future[None]] = admin.create_topics(new, request_timeout=timeout_s)
    created = {name: _created(admin, name, future, errors, end) for name, future in futures.items()}
    known = _known(admin, errors, end)
    return tuple(Topic(name, created[name], known.get(name, partitions)) for name in names)


def missing(
    settings: Settings, names: Sequence[str], *, timeout_s: float = ANSWER_S
) -> tuple[str, ...]:
    """Returns the names of topics that do not exist.

    Raises
    ------
    TransportFailed
        The broker does not answer.
    """
    errors = ClientErrors("administration")
    known = _known(open_admin(settings, errors), errors, time.monotonic() + timeout_s)
    return tuple(name for name in names if name not in known)


def partitions_of(
    settings: Settings, names: Sequence[str], *, timeout_s: float = ANSWER_S
) -> dict[str, int]:
    """Returns the number of partitions of each topic that exists.

    Raises
    ------
    TransportFailed
        The broker does not answer.
    """
    if not names:
        return {}
    errors = ClientErrors("administration")
    known = _known(open_admin(settings, errors), errors, time.monotonic() + timeout_s)
    return {name: known[name] for name in names if name in known}


def absent(
    settings: Settings, names: Sequence[str], *, timeout_s: float = ANSWER_S
) -> tuple[str, ...]:
    """Returns the names that no topic has, and that brokers do not create when asked for them.

    Brokers that make topics by themselves (``auto.create.topics.enable``) do so here, as they
    would for the first message.

    Raises
    ------
    ConfigurationInvalid
        librdkafka refuses the settings.
    TransportFailed
        The broker does not answer.
    """
    left = missing(settings, names, timeout_s=timeout_s) if names else ()
    if not left:
        return ()
    errors = ClientErrors("producer")
    ready = merged({}, settings, ("bootstrap.servers",), PRODUCER)
    producer = make_client(Producer, {**ready, **errors.settings()}, "producer")
    return tuple(name for name in left if not _made_when_asked_for(producer, name, timeout_s))


def alter(
    settings: Settings, name: str, config: Mapping[str, str], *, timeout_s: float = ANSWER_S
) -> None:
    """Change settings of a topic; the others stay.

    Raises
    ------
    ConfigurationInvalid
        The broker refuses a setting.
    TransportFailed
        There is no such topic, the broker does not answer, or gives no right to do this.
    """
    errors = ClientErrors("administration")
    admin, end = open_admin(settings, errors), time.monotonic() + timeout_s
    changes = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
    asked: Mapping[Any, Future[None]] = admin.incremental_alter_configs(
        [resource], request_timeout=timeout_s
    )
    try:
        wait_for_answer(admin, asked[resource], errors, end, f"topic {name}")
    except KafkaException as exception:
        error = error_of(exception)
        if error.code() in _WRONG_REQUEST:
            raise ConfigurationInvalid(f"topic {name!r}: {error.str()}") from exception
        raise errors.failure(error, f"changing topic {name}") from exception


def _made_when_asked_for(producer: Producer, name: str, timeout_s: float) -> bool:
    """Whether the brokers have a topic once a producer asks for it."""
    try:
        error = producer.list_topics(name, timeout_s).topics[name].error
    except KafkaException as exception:
        raise transport_failed(error_of(exception), f"asking for topic {name}") from exception
    # One that is being made has no leader yet.
    return error is None or error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART


def open_admin(settings: Settings, errors: ClientErrors) -> AdminClient:
    """Open a client for administration, which reports its errors to ``errors``.

    Raises
    ------
    ConfigurationInvalid
        librdkafka refuses the settings.
    """
    ready = merged({}, settings, ("bootstrap.servers",))
    errors.tokens_used = uses_tokens(ready)
    return make_client(AdminClient, {**ready, **errors.settings()}, "client")


def wait_for_answer(
    admin: AdminClient, future: Future[Answer], errors: ClientErrors, end: float, about: str
) -> Answer:
    """Returns the broker's answer; waits until ``end`` (monotonic seconds).

    Raises
    ------
    KafkaException
        The broker refuses, or librdkafka's own time-out passes.
    TransportFailed
        The broker does not answer, or does not accept this client.
    """
    while True:
        try:
            return future.result(CHECK_S)
        except NotYet:
            admin.poll(0)  # serves the callbacks that report lasting errors
            errors.check()
            if time.monotonic() > end + CHECK_S:
                raise errors.silence(about) from None


def _created(
    admin: AdminClient, name: str, future: Future[None], errors: ClientErrors, end: float
) -> bool:
    """Wait for the creation of a topic; returns whether it is new."""
    try:
        wait_for_answer(admin, future, errors, end, f"topic {name}")
    except KafkaException as exception:
        error = error_of(exception)
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        if error.code() in _WRONG_REQUEST:
            raise ConfigurationInvalid(f"topic {name!r}: {error.str()}") from exception
        raise errors.failure(error, f"creating topic {name}") from exception
    return True


def _known(admin: AdminClient, errors: ClientErrors, end: float) -> dict[str, int]:
    """Returns the number of partitions of every topic that the broker shows."""
    while True:
        admin.poll(0)
        errors.check()
        left_s = end - time.monotonic()
        try:
            topics = admin.list_topics(timeout=min(1.0, max(left_s, CHECK_S))).topics
        except KafkaException as error:
            if left_s <= 0:
                raise errors.failure(error_of(error), "asking for the topics") from error
        else:
            return {name: len(topic.partitions) for name, topic in topics.items()}
