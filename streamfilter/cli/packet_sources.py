"""The sources of packets for ``inspect``: files, places of a topic, or its new messages."""

import signal
import threading
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
    """A command-line value ``PARTITION:OFFSET`` or ``PARTITION:FIRST-LAST``."""

    name = "PARTITION:OFFSET[-LAST]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Stretch:
        """Returns the stretch that a text names.

        Raises
        ------
        BadParameter
            The text has another form, or the stretch ends before it begins.
        """
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
    """Yields packets as messages, and names them."""

    def chunks(self) -> Iterator[Iterable[Message]]:
        """Yields chunks of messages; the messages of a chunk may be judged together."""

    def total(self) -> float | None:
        """Returns the value of ``done`` after the last message; None if it is not known."""

    def done(self, origin: Origin, size_bytes: int) -> float:
        """Returns the progress after this message; call it once for each message, in order."""

    def label(self, origin: Origin) -> str:
        """Returns the name of a message for a person."""

    def place(self, origin: Origin) -> dict[str, Any]:
        """Returns the place of a message as fields of JSON."""

    def why_empty(self) -> str:
        """Returns words for a source that has no packet."""


class Files:
    """Packets in containers, single files, folders and archives."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._sizes = {str(file): file.stat().st_size for file in packets.files_of(paths)}
        self._current, self._before, self._within = "", 0, 0

    def chunks(self) -> Iterator[Iterable[Message]]:
        """Yields one chunk with all packets."""
        yield (
            Message(Origin(each.source, 0, each.index), each.value)
            for each in packets.read_packets(self._paths)
        )

    def total(self) -> float | None:
        """Returns the size of the files in bytes."""
        return float(sum(self._sizes.values()))

    def done(self, origin: Origin, size_bytes: int) -> float:
        """Returns the bytes of the finished files, plus those of the packets of this one so far."""
        if not _of(origin.topic, self._current):
            self._before += self._sizes.get(self._current, 0)
            self._current, self._within = self._file(origin.topic), 0
        self._within += size_bytes
        return self._before + min(self._within, self._sizes.get(self._current, 0))

    def label(self, origin: Origin) -> str:
        """Returns the file's name, with the record's number except for the first."""
        return Path(origin.topic).name + (f"[{origin.offset}]" if origin.offset else "")

    def place(self, origin: Origin) -> dict[str, Any]:
        """Returns the path and the record's number."""
        return {"file": origin.topic, "index": origin.offset}

    def why_empty(self) -> str:
        """Returns whether there is no file at all, or no packet in the files."""
        places = ", ".join(str(path) for path in self._paths)
        if not self._sizes:
            return f"no file in {places}"
        return f"no alert packet in {places}: the warnings name each file that was skipped, and why"

    def _file(self, source: str) -> str:
        """Returns the file of a packet; the packet's own name if the file was not listed."""
        return next((file for file in self._sizes if _of(source, file)), source)


def _of(source: str, file: str) -> bool:
    """Returns whether a packet is from a file; archive members are named ``archive:member``."""
    return source == file or source.startswith(f"{file}:")


@dataclass(frozen=True, slots=True)
class Topic:
    """Messages that a topic holds now: all of them, or some stretches."""

    client: ClientSettings
    name: str
    stretches: tuple[Stretch, ...]

    def chunks(self) -> Iterator[Iterable[Message]]:
        """Yields one chunk with all messages."""
        yield reader.read_stretches(self.client, self.name, self.stretches)

    def total(self) -> float | None:
        """Returns the number of offsets."""
        return float(sum(each.last - each.first + 1 for each in self.stretches))

    def done(self, origin: Origin, size_bytes: int) -> float:
        """Returns the number of offsets up to this message."""
        behind = 0
        for each in self.stretches:
            if each.partition == origin.partition and each.first <= origin.offset <= each.last:
                return behind + origin.offset - each.first + 1
            behind += each.last - each.first + 1
        return behind

    def label(self, origin: Origin) -> str:
        """Returns the place in the form that ``--at`` takes."""
        return f"{origin.partition}:{origin.offset}"

    def place(self, origin: Origin) -> dict[str, Any]:
        """Returns topic, partition and offset."""
        return {
            "topic": origin.topic, "partition": origin.partition, "offset": origin.offset,
        }  # fmt: skip

    def why_empty(self) -> str:
        """Returns words for a topic without a message."""
        return f"the topic {self.name} holds no message"


@dataclass(frozen=True, slots=True)
class Following(Topic):
    """Messages that come to a topic from now on, until Ctrl-C."""

    def chunks(self) -> Iterator[Iterable[Message]]:
        """Yields a chunk for the messages that came together.

        A signal only sets a flag: raised inside the client or a finaliser, it might be lost.
        """
        interrupted = threading.Event()
        before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
        try:
            yield from reader.follow(self.client, self.name, ended=interrupted.is_set)
        finally:
            signal.signal(signal.SIGINT, before)

    def total(self) -> float | None:
        """Returns None: there is no last message."""
        return None


def of_topic(
    client: Mapping[str, Any], topic: str, places: Sequence[Stretch], *, follow: bool
) -> PacketSource:
    """Returns the source for a topic: some places, its new messages, or all that it holds.

    Raises
    ------
    TransportFailed
        There is no such topic, or the brokers cannot be used.
    ClickException
        The topic holds nothing at one of the places.
    """
    if follow:
        return Following(client, topic, ())
    whole = reader.stretches(client, topic)
    return Topic(client, topic, tuple(_within(topic, each, whole) for each in places) or whole)


def _within(topic: str, asked: Stretch, whole: Sequence[Stretch]) -> Stretch:
    """Returns the part of a stretch that the topic holds.

    Raises
    ------
    ClickException
        The topic holds nothing of the stretch.
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
