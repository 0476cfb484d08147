"""Finds what earlier workers published of exposures, for detectors that come late."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import structlog

from streamfilter.errors import TransportFailed
from streamfilter.exposures.earlier_verdicts import Key, Record, collected
from streamfilter.exposures.encode import TrackingEncoder
from streamfilter.exposures.records import EarlierVerdict
from streamfilter.records import Message

log = structlog.get_logger(__name__)

_HORIZON_S = 3600.0
"""How long before and after an assignment a late detector may still find its exposure."""
_MOST = 256


class EarlierVerdicts:
    """Finds the verdict on an exposure in our own output topic.

    The topic is read once after an assignment, when an exposure is first asked for; this worker's
    own verdicts are remembered.

    Parameters
    ----------
    read
        Returns the topic's messages from a time on (Unix, milliseconds).
    """

    def __init__(
        self, read: Callable[[int], Iterable[Message]], tracking: TrackingEncoder, topic: str
    ) -> None:
        self._read, self._tracking, self._topic = read, tracking, topic
        self._known: dict[Key, EarlierVerdict] | None = None
        self._since_s = time.monotonic()

    def forget(self) -> None:
        """Forget what was read: others may have published about new partitions' exposures."""
        self._known, self._since_s = None, time.monotonic()

    def of(self, instrument: str, exposure_id: str) -> EarlierVerdict | None:
        """Returns the last verdict on an exposure; None where none is known, or it is too old."""
        if time.monotonic() - self._since_s > _HORIZON_S:
            self._known = {}
        if self._known is None:
            self._known = self._read_back()
        return self._known.get((instrument, exposure_id))

    def _read_back(self) -> dict[Key, EarlierVerdict]:
        started = time.monotonic()
        since_ms = round((time.time() - _HORIZON_S) * 1000)
        try:
            known = collected(self._records(since_ms))
        except TransportFailed as error:
            log.warning("earlier verdicts unknown: late detectors begin anew", detail=str(error))
            return {}
        seconds = round(time.monotonic() - started, 1)
        log.info("earlier verdicts read", exposures=len(known), seconds=seconds)
        return dict(islice(known.items(), max(len(known) - _MOST, 0), None))

    def _records(self, since_ms: int) -> Iterator[Record]:
        for message in self._read(since_ms):
            record = self._tracking.read(message.value or b"", self._topic)
            if record is not None:
                yield record
