"""Knows what is published of messages after the committed offset; no I/O.

A message of an open exposure holds the offset of its partition back, though its own record is
published. What is published is noted beside the offset, in the same transaction, so that the next
worker reads the messages again and publishes nothing twice.
"""

import base64
import zlib
from collections.abc import Sequence
from enum import IntEnum
from threading import Lock

import structlog

from streamfilter.kafka.ledger import Partition, Place, partition_of
from streamfilter.records import Origin
from streamfilter.service.delivery.parcel import Parcel

log = structlog.get_logger(__name__)

MOST_OPEN = 8192
"""Offsets from the committed one to the last that was read: any states of so many fit into the
4096 bytes that brokers keep beside an offset."""
_FORM = "1:"
_DIGITS = b"012"


class PublishedState(IntEnum):
    """How much of a message is published."""

    NOTHING = 0
    RECORDS = 1
    """Its own records, but not the verdict on its exposure."""
    ALL = 2


class PublishedBefore:
    """The states of messages at and after the offset from which reading goes on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._states: dict[Partition, dict[int, PublishedState]] = {}

    def recall(self, partition: Partition, place: Place) -> None:
        """Read the note beside a committed offset, when its partition is assigned."""
        try:
            states = _read(place)
        except ValueError as error:
            states = {}
            log.warning(
                "not known what was published; some may come twice",
                partition=f"{partition[0]}[{partition[1]}]",
                detail=str(error),
            )
        with self._lock:
            self._states[partition] = states

    def of(self, origin: Origin) -> PublishedState:
        """Returns how much of a message is published."""
        with self._lock:
            states = self._states.get(partition_of(origin), {})
            return states.get(origin.offset, PublishedState.NOTHING)

    def note(self, partition: Partition, offset: int, parcels: Sequence[Parcel]) -> str:
        """Returns the note to keep beside an offset that is committed with these parcels."""
        with self._lock:
            states = {**self._states.get(partition, {}), **_of(parcels).get(partition, {})}
        return _written(offset, states)

    def committed(self, places: dict[Partition, Place], parcels: Sequence[Parcel]) -> None:
        """Keep what these parcels publish, and forget messages before the new offsets."""
        found = _of(parcels)
        with self._lock:
            for partition, place in places.items():
                states = {**self._states.get(partition, {}), **found.get(partition, {})}
                self._states[partition] = {n: s for n, s in states.items() if n >= place.offset}


def _of(parcels: Sequence[Parcel]) -> dict[Partition, dict[int, PublishedState]]:
    """Returns the states that parcels bring: all of finished messages, the records of others."""
    found: dict[Partition, dict[int, PublishedState]] = {}
    for parcel in parcels:
        for origin in parcel.origins:
            found.setdefault(partition_of(origin), {}).setdefault(
                origin.offset, PublishedState.RECORDS
            )
        for origin in parcel.finished:
            found.setdefault(partition_of(origin), {})[origin.offset] = PublishedState.ALL
    return found


def _written(offset: int, states: dict[int, PublishedState]) -> str:
    """Returns a digit for each message from the offset on, packed; empty without any."""
    last = max((n for n in states if n >= offset), default=None)
    if last is None:
        return ""
    digits = bytes(_DIGITS[states.get(n, PublishedState.NOTHING)] for n in range(offset, last + 1))
    return _FORM + base64.b85encode(zlib.compress(digits, 9)).decode()


def _read(place: Place) -> dict[int, PublishedState]:
    """Returns the states in a note; raises ValueError for a note that is not ours."""
    if not place.note:
        return {}
    if not place.note.startswith(_FORM):
        raise ValueError(f"found {place.note[:20]!r}, expected a note that begins with {_FORM!r}")
    try:
        digits = zlib.decompress(base64.b85decode(place.note.removeprefix(_FORM)))
    except zlib.error as error:
        raise ValueError(f"found {place.note[:20]!r}, which is cut or damaged") from error
    states = {
        place.offset + n: PublishedState(_DIGITS.index(digit)) for n, digit in enumerate(digits)
    }
    return {n: state for n, state in states.items() if state is not PublishedState.NOTHING}
