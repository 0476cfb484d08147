"""The topics that settings name, what each needs, and whether they exist."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import structlog

from streamfilter.config import Scalar, Settings
from streamfilter.errors import Reason, TopicMissing, TransportFailed
from streamfilter.kafka.topics import absent, missing
from streamfilter.service.assembly.clients import (
    ANSWER_S,
    consumer_settings,
    names_of,
    outputs,
    producer_settings,
    readers,
)

log = structlog.get_logger(__name__)

_HEADROOM_BYTES = 2**20
"""Room for keys, headers and appended fields, over the largest message that is read."""
# Outputs that take whole messages as they came, or frames.
_OF_ALERTS = ("enriched", "clean", "contaminated", "rejected")
_OF_FRAMES = ("rejected", "masks")


@dataclass(frozen=True, slots=True)
class NamedTopic:
    """A topic that the settings name."""

    key: str
    name: str
    written: bool
    survey: str = ""
    """The only survey whose alerts go there; empty: all surveys."""
    largest_bytes: int | None = None
    """The largest message; None where that is far below every broker's own bound."""

    @property
    def properties(self) -> dict[str, str]:
        """Returns Kafka's settings of such a topic.

        Compaction would delete all but the last message of a key, and refuse messages without one.
        """
        size = {} if self.largest_bytes is None else {"max.message.bytes": str(self.largest_bytes)}
        return {"cleanup.policy": "delete", **size}


def named_topics(settings: Settings, sections: Collection[str] | None = None) -> list[NamedTopic]:
    """Returns every topic, but no pattern, that the workers of these sections (None: all) use."""
    found: dict[str, NamedTopic] = {}
    for topic in (*_inputs(settings, sections), *_outputs(settings, sections)):
        found.setdefault(topic.name, topic)
    return list(found.values())


def client_of(settings: Settings, topic: str) -> dict[str, Scalar]:
    """Returns how to reach the brokers of a topic: an output's, else the input's.

    Both sides are the same brokers unless ``kafka.output_bootstrap`` is set.
    """
    written = {each.name for each in named_topics(settings) if each.written}
    return producer_settings(settings) if topic in written else consumer_settings(settings)


def patterns(settings: Settings) -> list[str]:
    """Returns the patterns that are read: their topics are made by whoever writes them."""
    return [name for reader in readers(settings) for name in reader.topics if name.startswith("^")]


def check_topics(settings: Settings, sections: Collection[str], command: str) -> None:
    """Check that the topics exist, before anything that takes long.

    Where brokers do not answer, the log says so, and the worker waits for them later. Where an
    output has a topic for each survey one is enough: nobody reads all surveys that have a map.

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
        (producer_settings(settings), [t for t in wanted if t.written and not t.survey]),
    )
    own = [t for t in wanted if t.survey]
    try:
        for client, topics in sides:
            gone = absent(client, [t.name for t in topics], timeout_s=ANSWER_S)
            if gone:
                named = ", ".join(f"{t.name} ({t.key})" for t in topics if t.name in gone)
                raise TopicMissing(f"no topic {named}; make it: {command}")
        if own:
            _check_own_topics(settings, own, command)
    except TopicMissing:
        raise
    except TransportFailed as error:
        log.warning("topics not looked at", detail=str(error))


def _check_own_topics(settings: Settings, topics: Sequence[NamedTopic], command: str) -> None:
    """Refuse an output for which no survey has a topic; log which surveys lack one."""
    client = producer_settings(settings)
    gone = set(missing(client, [t.name for t in topics], timeout_s=ANSWER_S))
    for key in dict.fromkeys(t.key for t in topics):
        names = [t.name for t in topics if t.key == key]
        if not gone.issuperset(names):
            continue
        if absent(client, names, timeout_s=ANSWER_S):
            output = getattr(settings.outputs, key.removeprefix("outputs."))
            raise TopicMissing(
                f"no survey has a topic {output} ({key}); make those of all: {command} (of one: "
                "with --survey NAME)"
            )
        gone -= set(names)  # the brokers have made them
    if gone:
        log.info(
            "surveys without topics",
            surveys=sorted({t.survey for t in topics if t.name in gone}),
            detail="where brokers make no topics by themselves, their alerts are rejected as "
            f"{Reason.TOPIC_MISSING}; make them: {command} --survey NAME",
        )


def largest_input(settings: Settings, section: str) -> int:
    """Returns the bytes of the largest message that a worker accepts."""
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
        for survey, each in names_of(settings, topic).items():
            yield NamedTopic(f"outputs.{name}", each, written=True, survey=survey,
                             largest_bytes=max(sizes, default=None))  # fmt: skip
