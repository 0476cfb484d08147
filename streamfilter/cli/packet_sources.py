"""Where ``inspect`` has its packets from: files, places of a topic, or what comes there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from streamfilter.alerts import packets
from streamfilter.kafka import reader
from streamfilter.kafka.client import Settings as ClientSettings
from streamfilter.kafka.reader import Stretch
from streamfilter.records import Message, Origin


class Places(click.ParamType[Stretch]):
    """``PARTITION:OFFSET``, or ``PARTITION:FIRST-LAST``."""

    name = "PARTITION:OFFSET[-LAST]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Stretch:
        """The stretch that a text names."""
        if isinstance(value, Stretch):
            return value
        partition, _, offsets = str(value).partition(":")
        first, dash, last = offsets.partition("-")
        numbers = (partition, first, last if dash else first)
        if not all(each.isascii() and each.isdecimal() for each in numbers):
            self.fail(f"{value!r} is not PARTITION:OFFSET, or PARTITION:FIRST-LAST", param, ctx)
        found = Stretch(*(int(each) for each in numbers))
        if found.last < found.first:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return found


class PacketSource(Protocol):
    """Packets as messages, and how they are called."""

    def chunks(self) -> Iterator[Iterable[Message]]:
        """Messages; those of a chunk may be judged together."""

    def total(self) -> float | None:
        """Of ``done`` at the end; None where nobody knows."""

    def done(self, origin: Origin, size_bytes: int) -> float:
        """How far it is, once this message was handed out."""

    def label(self, origin: Origin) -> str:
        """A message's name in a table."""

    def place(self, origin: Origin) -> dict[str, Any]:
        """The same for a machine."""


class Files:
    """Containers, single packets, folders and archives."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._sizes = {str(file): file.stat().st_size for file in packets.files_of(paths)}
        self._current, self._before, self._within = "", 0, 0

    def chunks(self) -> Iterator[Iterable[Message]]:
        """All in one: the end is known to come."""
        yield (
            Message(Origin(each.source, 0, each.index), each.value)
            for each in packets.read_packets(self._paths)
        )

    def total(self) -> float | None:
        """Bytes of the files."""
        return float(sum(self._sizes.values()))

    def done(self, origin: Origin, size_bytes: int) -> float:
        """Bytes of files that are through, and of this one as far as its packets say."""
        if not _of(origin.topic, self._current):
            self._before += self._sizes.get(self._current, 0)
            self._current, self._within = self._file(origin.topic), 0
        self._within += size_bytes
        return self._before + min(self._within, self._sizes.get(self._current, 0))

    def label(self, origin: Origin) -> str:
        """The file's name, and the record's number where there are several."""
        return Path(origin.topic).name + (f"[{origin.offset}]" if origin.offset else "")

    def place(self, origin: Origin) -> dict[str, Any]:
        """Path and number."""
        return {"file": origin.topic, "index": origin.offset}

    def _file(self, source: str) -> str:
        """The file that a packet is of; itself for one that was not there before."""
        return next((file for file in self._sizes if _of(source, file)), source)


def _of(source: str, file: str) -> bool:
    """Whether a packet is a file's; members of archives are ``archive:member``."""
    return source == file or source.startswith(f"{file}:")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it stands, or stretches of it."""

    client: ClientSettings
    name: str
    stretches: tuple[Stretch, ...]

    def chunks(self) -> Iterator[Iterable[Message]]:
        """All in one."""
        yield reader.read_stretches(self.client, self.name, self.stretches)

    def total(self) -> float | None:
        """How many offsets there are."""
        return float(sum(each.last - each.first + 1 for each in self.stretches))

    def done(self, origin: Origin, size_bytes: int) -> float:
        """How many of them are behind."""
        behind = 0
        for each in self.stretches:
            if each.partition == origin.partition and each.first <= origin.offset <= each.last:
                return behind + origin.offset - each.first + 1
            behind += each.last - each.first + 1
        return behind

    def label(self, origin: Origin) -> str:
        """As ``--at`` takes it."""
        return f"{origin.partition}:{origin.offset}"

    def place(self, origin: Origin) -> dict[str, Any]:
        """Topic, partition and offset."""
        return {
            "topic": origin.topic, "partition": origin.partition, "offset": origin.offset,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Following(Topic):
    """What comes to a topic from now on."""

    def chunks(self) -> Iterator[Iterable[Message]]:
        """What came together."""
        yield from reader.follow(self.client, self.name)

    def total(self) -> float | None:
        """It goes on."""
        return None


def of_topic(
    client: Mapping[str, Any], topic: str, places: Sequence[Stretch], *, follow: bool
) -> PacketSource:
    """Packets of a topic: at places, those that come, or all that stand there now.

    Raises
    ------
    TransportFailed
        There is no such topic, partition or offset, or the brokers cannot be used.
    """
    if follow:
        return Following(client, topic, ())
    whole = reader.stretches(client, topic)
    return Topic(client, topic, tuple(_within(topic, each, whole) for each in places) or whole)


def _within(topic: str, asked: Stretch, whole: Sequence[Stretch]) -> Stretch:
    """The part of a stretch that is there.

    Raises
    ------
    ClickException
        Nothing of it is.
    """
    there = next((each for each in whole if each.partition == asked.partition), None)
    if there is not None and asked.first <= there.last and there.first <= asked.last:
        first, last = max(asked.first, there.first), min(asked.last, there.last)
        return Stretch(asked.partition, first, last)
    held = ", ".join(f"{each.partition}:{each.first}-{each.last}" for each in whole)
    raise click.ClickException(
        f"{topic} has nothing at {asked.partition}:{asked.first}"
        + (f"-{asked.last}" if asked.last > asked.first else "")
        + f"; it holds {held or 'no message at all'}"
    )
