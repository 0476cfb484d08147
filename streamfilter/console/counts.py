"""Counts of what came: verdicts by class, by detector and filter, latencies, rejections."""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streamfilter.console.cards import Card, Facts

_HOUR = timedelta(hours=1)
_STEP = timedelta(minutes=5)
_MOST_LATENCIES = 20_000
# Detectors times filters (LSSTCam: 189 x 6), verdicts and classes. More than cameras have is a
# stream of packets that were made up.
_MOST_KEYS = 20_000


class _Windowed:
    """Counts since the beginning, and of the last hour in steps of five minutes."""

    def __init__(self) -> None:
        self.total: Counter[tuple[str, ...]] = Counter()
        self._steps: deque[tuple[datetime, Counter[tuple[str, ...]]]] = deque()

    def add(self, key: tuple[str, ...], now: datetime) -> None:
        if key not in self.total and len(self.total) >= _MOST_KEYS:
            return
        self.total[key] += 1
        if not self._steps or now - self._steps[-1][0] >= _STEP:
            self._steps.append((now, Counter()))
        self._steps[-1][1][key] += 1
        while now - self._steps[0][0] > _HOUR:
            self._steps.popleft()

    def hour(self, now: datetime) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for began, counts in self._steps:
            if now - began <= _HOUR:
                found.update(counts)
        return found


@dataclass(frozen=True, slots=True)
class Rates:
    """What was counted in the last hour, and since the page began."""

    began: datetime
    hour: Mapping[tuple[str, ...], int]
    total: Mapping[tuple[str, ...], int]
    places_hour: Mapping[tuple[str, ...], int]
    places_total: Mapping[tuple[str, ...], int]
    rejected: Mapping[str, int]
    unreadable: int
    """Messages of the outputs that could not be read."""
    since_light_s: Sequence[float]
    """Median and 99th percentile of the last hour; empty where nothing is dated."""
    since_message_s: Sequence[float]
    """The same from the Kafka timestamp of the alert."""


class Counts:
    """Counts what comes; any thread may use it."""

    def __init__(self, began: datetime) -> None:
        self._began = began
        self._lock = threading.Lock()
        self._verdicts, self._places = _Windowed(), _Windowed()
        self._rejected: Counter[str] = Counter()
        self._unreadable = 0
        self._light: deque[tuple[datetime, float]] = deque(maxlen=_MOST_LATENCIES)
        self._message: deque[tuple[datetime, float]] = deque(maxlen=_MOST_LATENCIES)

    def add(self, card: Card) -> None:
        """Count an annotation, at the time that it was written."""
        at = card.annotated
        with self._lock:
            self._verdicts.add((card.label, card.contaminant or ""), at)
            if card.since_light_s is not None:
                self._light.append((at, card.since_light_s))
            if card.message is not None:
                self._message.append((at, (at - card.message).total_seconds()))

    def learn(self, card: Card, facts: Facts) -> None:
        """Count an alert whose packet was read, by detector and filter."""
        if facts.detector or facts.filter:
            place = (card.survey, facts.detector, facts.filter)
            with self._lock:
                self._places.add((*place, card.label, card.contaminant or ""), card.annotated)

    def reject(self, reason: str) -> None:
        """Count a rejected message."""
        with self._lock:
            if reason in self._rejected or len(self._rejected) < 100:
                self._rejected[reason] += 1

    def fail(self) -> None:
        """Count a message of an output that could not be read."""
        with self._lock:
            self._unreadable += 1

    def rates(self, now: datetime) -> Rates:
        """Returns what was counted."""
        with self._lock:
            return Rates(
                began=self._began,
                hour=self._verdicts.hour(now),
                total=Counter(self._verdicts.total),
                places_hour=self._places.hour(now),
                places_total=Counter(self._places.total),
                rejected=dict(self._rejected),
                unreadable=self._unreadable,
                since_light_s=_percentiles(s for at, s in self._light if now - at <= _HOUR),
                since_message_s=_percentiles(s for at, s in self._message if now - at <= _HOUR),
            )


def _percentiles(values: Iterable[float]) -> tuple[float, ...]:
    """Returns the median and the 99th percentile, by the nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return ()
    return tuple(ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
