"""The forms in which alert packets are given to the library, as messages."""

import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from streamfilter.alerts.packets import Packet, packets_in, read_packets
from streamfilter.records import Message, Origin

IN_MEMORY = "memory"
"""Source of packets that are given as bytes."""


def messages_of(packets: object) -> Iterator[Message]:
    """Yields the messages of packets, in order; see ``Filter.judge`` for their forms.

    A message's origin has the file, or ``archive:member``, as its topic and the number of the
    packet in it as its offset. A file that is skipped is a ``UserWarning``, with the reason.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    TypeError
        The packets have another form.
    """
    if isinstance(packets, str | os.PathLike) or hasattr(packets, "read"):
        yield from _of_one(packets, 0)
    elif packets is None or isinstance(packets, bytes | bytearray | memoryview):
        yield _of_bytes(packets, 0)
    elif isinstance(packets, Iterable):
        for number, each in enumerate(packets):
            yield from _of_one(each, number)
    else:
        raise _unknown(packets)


def paths_of(path: str | os.PathLike[str]) -> list[Path]:
    """Returns the path, or the sorted paths that a pattern with ``*`` names.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    name = os.fspath(path)
    if glob.has_magic(name) and not Path(name).exists():
        # Path.glob knows no absolute patterns.
        if not (found := sorted(glob.glob(name, recursive=True))):  # noqa: PTH207
            raise FileNotFoundError(f"no file or folder matches {name}")
        return [Path(each) for each in found]
    if not Path(name).exists():
        raise FileNotFoundError(f"no file or folder {name}")
    return [Path(name)]


def _of_one(given: Any, number: int) -> Iterator[Message]:
    """Yields the messages of one path, file object, or value of a column."""
    if isinstance(given, str | os.PathLike):
        yield from _of_packets(read_packets(paths_of(given), skipped=_skipped))
    elif hasattr(given, "read"):
        name = getattr(given, "name", IN_MEMORY)
        source = name if isinstance(name, str) else IN_MEMORY
        if not isinstance(content := given.read(), bytes):
            raise TypeError(
                f"{source}: reading gives {type(content).__name__}, expected bytes: open a file in "
                'binary mode, open(path, "rb")'
            )
        yield from _of_packets(packets_in(content, source, skipped=_skipped))
    elif hasattr(given, "as_py"):  # an Arrow column's own values
        yield _of_bytes(given.as_py(), number)
    else:
        yield _of_bytes(given, number)


def _of_bytes(value: object, number: int) -> Message:
    """Returns the message with this value: the whole of it, as a stream would bring it."""
    if value is not None and not isinstance(value, bytes | bytearray | memoryview):
        raise _unknown(value)
    return Message(Origin(IN_MEMORY, 0, number), None if value is None else bytes(value))


def _of_packets(packets: Iterable[Packet]) -> Iterator[Message]:
    return (Message(Origin(each.source, 0, each.index), each.value) for each in packets)


def _unknown(found: object) -> TypeError:
    return TypeError(
        f"a packet given as {type(found).__name__}: expected a path, the bytes of a packet, a file "
        "opened in binary mode, or a list or column of these (arrays: Filter.judge_stamps)"
    )


def _skipped(source: str, reason: str) -> None:
    warnings.warn(f"{source}: skipped: {reason}", UserWarning, stacklevel=2)
