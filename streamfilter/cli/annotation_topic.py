"""The annotations that stand in a topic, for ``report``."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import Progress

from streamfilter.config import Settings
from streamfilter.errors import MessageRejected, Reason
from streamfilter.kafka import reader
from streamfilter.kafka.client import Settings as ClientSettings
from streamfilter.kafka.reader import Stretch
from streamfilter.reading import read
from streamfilter.records import Message
from streamfilter.rejections import rejection_of
from streamfilter.service.assembly.alerts import registry_settings

_PARTS = ("survey", "alert_id", "origin", "verdict", "survey_flags", "times")
"""Fields of an annotation that are looked at."""


@dataclass(slots=True)
class AnnotationTopic:
    """What a topic of annotations holds when this is made; it may be read again and again."""

    client: ClientSettings
    name: str
    registry: Mapping[str, Any] | None
    stretches: tuple[Stretch, ...]
    unread: Counter[str] = field(default_factory=Counter)
    """By reason, messages that are no annotations, at the last reading."""
    first_unread: str = ""
    """Place of the first of them, and what is wrong with it."""

    @classmethod
    def opened(
        cls, settings: Settings, client: ClientSettings, name: str, since_ms: int | None
    ) -> "AnnotationTopic":
        """Returns the messages from a time on (Unix, milliseconds; None: all) up to now.

        Raises
        ------
        TransportFailed
            There is no such topic, or the broker cannot be used.
        """
        publish = settings.schemas.publish
        registry = registry_settings(publish) if publish.url else None
        return cls(client, name, registry, reader.stretches(client, name, since_ms=since_ms))

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yields the annotations, while a bar shows the progress.

        Raises
        ------
        TransportFailed
            The broker cannot be used.
        SchemaUnavailable
            The registry of our schemas does not answer.
        """
        self.unread.clear()
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            total = sum(each.last - each.first + 1 for each in self.stretches)
            task = progress.add_task(f"reading {self.name}", total=total)
            for message in reader.read_stretches(self.client, self.name, self.stretches):
                progress.advance(task)
                record = self._record(message)
                if record is not None:
                    yield record

    def why_unread(self) -> str:
        """Returns words about the messages that are no annotations; empty where there are none."""
        if not self.unread:
            return ""
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.unread.most_common())
        return f"no annotations: {reasons}; the first is at {self.first_unread}"

    def _record(self, message: Message) -> Mapping[str, Any] | None:
        try:
            return _annotation(message, self.registry)
        except MessageRejected as error:
            if not self.unread:
                place = f"{message.origin.partition}:{message.origin.offset}"
                self.first_unread = f"{place}: {error.detail}"
            self.unread[error.reason] += 1
            return None


def _annotation(message: Message, registry: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Returns the annotation in a message.

    Raises
    ------
    MessageRejected
        It holds none.
    """
    if message.value is None:
        raise MessageRejected(Reason.EMPTY, "a message without a value")
    record = read(message.value, headers=message.headers, registry=registry)
    if missing := [name for name in _PARTS if name not in record]:
        there = ", ".join(record)
        raise MessageRejected(
            Reason.FIELD_MISSING, f"a record without the field {missing[0]}; it has {there}"
        )
    return record


def rejected_in(client: ClientSettings, topic: str, since_ms: int | None) -> Counter[str]:
    """Returns how many messages of a rejected topic there are from a time on, by reason.

    Raises
    ------
    TransportFailed
        There is no such topic, or the broker cannot be used.
    """
    found = (rejection_of(each) for each in reader.read_topic(client, topic, since_ms=since_ms))
    return Counter(each.reason for each in found if each is not None)
