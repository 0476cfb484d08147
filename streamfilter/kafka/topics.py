"""Making topics, and asking which are missing."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.client import (
    Settings,
    Trouble,
    error_of,
    merged,
    settings_invalid,
)
from streamfilter.kafka.tokens import uses_tokens

Answer = TypeVar("Answer")

# A broker that elects leaders for many partitions takes seconds.
ANSWER_S = 30.0
# How often a lasting failure (a wrong password, say) is looked for while waiting.
CHECK_S = 0.1
# What the caller asked for cannot be; the broker's words say why.
_WRONG = frozenset(
    {
        KafkaError.INVALID_CONFIG, KafkaError.INVALID_PARTITIONS, KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.POLICY_VIOLATION,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic after ``create``: new, or as it was."""

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
    """Create the topics that are not there; those that are stay as they are.

    Parameters
    ----------
    settings
        librdkafka's; ``bootstrap.servers`` is required.
    names
        Of the topics.
    partitions, replication
        Of each new topic; -1 leaves the number to the broker.
    config
        Kafka's topic settings, such as ``retention.ms``.
    timeout_s
        For the whole call.

    Raises
    ------
    ConfigurationInvalid
        The broker refuses the name, a number or a setting.
    TransportFailed
        The broker does not answer, or gives no right to do this.
    """
    trouble = Trouble("administration")
    admin, end = open_admin(settings, trouble), time.monotonic() + timeout_s
    new = [NewTopic(name, partitions, replication, config=dict(config or {})) for name in names]
    futures: Mapping[str, Future[None]] = admin.create_topics(new, request_timeout=timeout_s)
    made = {name: _made(admin, name, future, trouble, end) for name, future in futures.items()}
    known = _known(admin, trouble, end)
    return tuple(Topic(name, made[name], known.get(name, partitions)) for name in names)


def missing(
    settings: Settings, names: Sequence[str], *, timeout_s: float = ANSWER_S
) -> tuple[str, ...]:
    """Those of the names that no topic has.

    Raises
    ------
    TransportFailed
        The broker does not answer.
    """
    trouble = Trouble("administration")
    known = _known(open_admin(settings, trouble), trouble, time.monotonic() + timeout_s)
    return tuple(name for name in names if name not in known)


def open_admin(settings: Settings, trouble: Trouble) -> AdminClient:
    """A client for administration, which tells its troubles.

    Raises
    ------
    ConfigurationInvalid
        librdkafka refuses the settings.
    """
    ready = merged({}, settings, ("bootstrap.servers",))
    trouble.tokens_used = uses_tokens(ready)
    try:
        return AdminClient({**ready, **trouble.settings()})
    except (KafkaException, TypeError, ValueError) as error:
        raise settings_invalid(error, "client") from error


def answered(
    admin: AdminClient, future: Future[Answer], trouble: Trouble, end: float, about: str
) -> Answer:
    """What the broker answers until ``end`` (monotonic seconds).

    Raises
    ------
    KafkaException
        The broker refuses, or librdkafka's own time is up.
    TransportFailed
        It does not answer, or lets this client not in.
    """
    while True:
        try:
            return future.result(CHECK_S)
        except NotYet:
            admin.poll(0)  # serves the callbacks that tell of lasting trouble
            trouble.check()
            if time.monotonic() > end + CHECK_S:
                raise trouble.silence(about) from None


def _made(
    admin: AdminClient, name: str, future: Future[None], trouble: Trouble, end: float
) -> bool:
    """Whether the topic is new."""
    try:
        answered(admin, future, trouble, end, f"topic {name}")
    except KafkaException as exception:
        error = error_of(exception)
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        if error.code() in _WRONG:
            raise ConfigurationInvalid(f"topic {name!r}: {error.str()}") from exception
        raise trouble.failure(error, f"creating topic {name}") from exception
    return True


def _known(admin: AdminClient, trouble: Trouble, end: float) -> dict[str, int]:
    """Partitions of every topic that the broker shows."""
    while True:
        admin.poll(0)
        trouble.check()
        left_s = end - time.monotonic()
        try:
            found = admin.list_topics(timeout=min(1.0, max(left_s, CHECK_S))).topics
        except KafkaException as error:
            if left_s <= 0:
                raise trouble.failure(error_of(error), "asking for the topics") from error
        else:
            return {name: len(topic.partitions) for name, topic in found.items()}
