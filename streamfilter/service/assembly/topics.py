"""The topics that settings name, what each needs, and whether they are there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import structlog

from streamfilter.config import Scalar, Settings
from streamfilter.errors import TopicMissing, TransportFailed
from streamfilter.kafka.topics import absent
from streamfilter.service.assembly.clients import (
    consumer_settings,
    outputs,
    producer_settings,
    readers,
)

log = structlog.get_logger(__name__)

_HEADROOM_BYTES = 2**20
"""Of keys, headers and what is appended, over the largest message that is read."""
_ANSWER_S = 5.0
"""A worker waits for brokers that are away; a look at its topics is not worth more."""
# Outputs that take whole messages as they came, or frames.
_OF_ALERTS = ("enriched", "clean", "contaminated", "rejected")
_OF_FRAMES = ("rejected", "masks")


@dataclass(frozen=True, slots=True)
class NamedTopic:
    """A topic of the settings."""

    key: str
    name: str
    written: bool
    largest_bytes: int | None = None
    """Of what may come in; None where that is far below any broker's own bound."""

    @property
    def properties(self) -> dict[str, str]:
        """Kafka's settings of such a topic.

        Compaction would throw away all but the last message of a key, and refuse those without.
        """
        size = {} if self.largest_bytes is None else {"max.message.bytes": str(self.largest_bytes)}
        return {"cleanup.policy": "delete", **size}


def named_topics(settings: Settings, sections: Collection[str] | None = None) -> list[NamedTopic]:
    """Every topic that the workers of these sections (None: all) read or write; no patterns."""
    found: dict[str, NamedTopic] = {}
    for topic in (*_inputs(settings, sections), *_outputs(settings, sections)):
        found.setdefault(topic.name, topic)
    return list(found.values())


def client_of(settings: Settings, topic: str) -> dict[str, Scalar]:
    """How to reach the brokers that have a topic: where outputs go for an output, else the input's.

    Both sides are the same brokers unless ``kafka.output_bootstrap`` is set.
    """
    written = {each.name for each in named_topics(settings) if each.written}
    return producer_settings(settings) if topic in written else consumer_settings(settings)


def patterns(settings: Settings) -> list[str]:
    """Patterns of what is read: whoever writes such topics makes them."""
    return [name for reader in readers(settings) for name in reader.topics if name.startswith("^")]


def check_topics(settings: Settings, sections: Collection[str], command: str) -> None:
    """Look whether the topics are there, before anything that takes long.

    Brokers that are away are waited for later; then nothing is known, and the log says so.

    Parameters
    ----------
    sections
        Of the workers that run.
    command
        What makes the topics, for the message.

    Raises
    ------
    TopicMissing
        A topic is missing, and the brokers make none by themselves; with the command.
    """
    wanted = named_topics(settings, sections)
    creates = str(consumer_settings(settings).get("allow.auto.create.topics", "")).lower() == "true"
    sides = (
        (consumer_settings(settings), [t for t in wanted if not t.written and not creates]),
        (producer_settings(settings), [t for t in wanted if t.written]),
    )
    for client, topics in sides:
        try:
            missing = absent(client, [each.name for each in topics], timeout_s=_ANSWER_S)
        except TransportFailed as error:
            log.warning("topics not looked at", detail=str(error))
            return
        if missing:
            named = ", ".join(f"{t.name} ({t.key})" for t in topics if t.name in missing)
            raise TopicMissing(f"no topic {named}; make it: {command}")


def largest_input(settings: Settings, section: str) -> int:
    """Bytes of the largest message that a worker takes."""
    if section == "alerts":
        return settings.limits.max_message_bytes
    return settings.exposures.max_message_bytes


def _inputs(settings: Settings, sections: Collection[str] | None) -> Iterator[NamedTopic]:
    for reader in readers(settings):
        largest = largest_input(settings, reader.section) + _HEADROOM_BYTES
        for name in reader.topics:
            if not name.startswith("^") and (sections is None or reader.section in sections):
                yield NamedTopic(f"{reader.section}.topics", name, written=False,
                                 largest_bytes=largest)  # fmt: skip


def _outputs(settings: Settings, sections: Collection[str] | None) -> Iterator[NamedTopic]:
    for name, topic in outputs(settings, sections).items():
        sizes = [
            largest_input(settings, reader.section) + _HEADROOM_BYTES
            for reader in readers(settings)
            if name in (_OF_ALERTS if reader.section == "alerts" else _OF_FRAMES)
        ]
        yield NamedTopic(f"outputs.{name}", topic, written=True,
                         largest_bytes=max(sizes, default=None))  # fmt: skip
