"""Reads single messages by partition and offset, over one connection."""

import time
from collections.abc import Collection, Iterator
from itertools import pairwise

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Position

from streamfilter.kafka.client import (
    GONE,
    ClientErrors,
    Settings,
    lasting,
    make_client,
    merged,
    transport_failed,
)
from streamfilter.kafka.messages import message_of
from streamfilter.kafka.properties import CONSUMER
from streamfilter.kafka.reader import DEFAULTS
from streamfilter.records import Message, Origin

_OWN: Settings = {
    # An offset that retention has deleted is reported, not replaced by another.
    "auto.offset.reset": "error",
    # One message is wanted, not those after it.
    "max.partition.fetch.bytes": 2**18,
    "queued.min.messages": 4,
    # After a full queue the client rests for so long (1 s by default), also where it was sent
    # elsewhere meanwhile.
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 50,
}
_ABSENT = GONE | {KafkaError._AUTO_OFFSET_RESET}
_POLL_S = 0.05
_AT_ONCE = 50
# Messages between two wanted ones that are read along rather than sought past.
_GAP = 8


class PlaceReader:
    """A consumer that reads messages by their offsets; for one thread.

    Parameters
    ----------
    settings
        librdkafka's settings; ``bootstrap.servers`` is required.

    Raises
    ------
    ConfigurationInvalid
        A setting cannot be.
    """

    def __init__(self, settings: Settings) -> None:
        self._errors = ClientErrors("reader", patient=True, passing=GONE)
        ready = merged({**DEFAULTS, **_OWN}, settings, ("bootstrap.servers",), CONSUMER)
        self._consumer = make_client(Consumer, {**ready, **self._errors.settings()}, "reader")

    def read(self, places: Collection[Origin], timeout_s: float) -> dict[Origin, Message]:
        """Returns the messages at these places, but those that are missing or come too late.

        Raises
        ------
        TransportFailed
            Something must be mended by a person, such as a password.
        """
        found: dict[Origin, Message] = {}
        end_s = time.monotonic() + timeout_s
        waiting = list(_runs(places))
        while waiting and time.monotonic() < end_s:
            # One run of each partition at a time.
            now = {(run[0].topic, run[0].partition): run for run in reversed(waiting)}
            waiting = [run for run in waiting if all(run is not each for each in now.values())]
            self._read_runs(list(now.values()), found, end_s)
        self._consumer.unassign()
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _read_runs(
        self, runs: list[list[Origin]], found: dict[Origin, Message], end_s: float
    ) -> None:
        """Read runs of different partitions, all at once."""
        firsts = [Position(r[0].topic, r[0].partition, r[0].offset) for r in runs]
        left = {(run[-1].topic, run[-1].partition): run[-1].offset for run in runs}
        wanted = {place for run in runs for place in run}
        self._consumer.assign(firsts)
        while left and time.monotonic() < end_s:
            self._errors.check()
            for raw in self._consumer.consume(_AT_ONCE, _POLL_S):
                error = raw.error()
                if error is None:
                    message = message_of(raw)
                    at = message.origin
                    if at in wanted:
                        found[at] = message
                    if at.offset >= left.get((at.topic, at.partition), at.offset + 1):
                        del left[at.topic, at.partition]
                elif error.code() in _ABSENT:
                    left.pop((str(raw.topic()), int(raw.partition() or 0)), None)
                elif lasting(error):
                    raise transport_failed(error, "reading alerts")


def _runs(places: Collection[Origin]) -> Iterator[list[Origin]]:
    """Yields places of one partition that stand close together, in order."""
    ordered = sorted(set(places), key=lambda each: (each.topic, each.partition, each.offset))
    if not ordered:
        return
    run = [ordered[0]]
    for before, place in pairwise(ordered):
        same = (before.topic, before.partition) == (place.topic, place.partition)
        if not same or place.offset - before.offset > _GAP:
            yield run
            run = []
        run.append(place)
    yield run
