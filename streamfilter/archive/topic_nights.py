"""Nights of annotations that stand in a topic."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from streamfilter.alerts.surveys import Surveys, night_of
from streamfilter.archive.nights import DISAGREEING, UNKNOWN, Night

Record = Mapping[str, Any]
"""An annotation, as ``streamfilter.read`` gives it."""
_BITS = 4096


class TopicAnnotations:
    """Annotations as records, each alert once: a worker that died may have published one twice.

    Parameters
    ----------
    records
        Yields the records from the first one on, whenever it is called.
    surveys
        The field maps, which say when a survey's nights begin.
    rejected
        Rejected messages by reason.
    """

    def __init__(
        self,
        records: Callable[[], Iterator[Record]],
        surveys: Surveys,
        rejected: Mapping[str, int],
    ) -> None:
        self._records, self._surveys, self._rejected = records, surveys, rejected
        self.repeated = 0
        """Records of alerts that stood there already, at the last reading."""

    def nights(self) -> list[Night]:
        """Returns the nights in order, by survey and night, with their latency."""
        found: dict[tuple[str, str], Night] = {}
        for record in self._once():
            key = record["survey"], self._night(record)
            night = found.setdefault(key, Night(*key))
            night.alerts += 1
            for column, value in _counted(record).items():
                night.count(column, value)
            times = record["times"]
            night.from_receipt.add((times["annotated"] - times["received"]).total_seconds())
            if times["light_end"] is not None:
                night.from_light.add((times["annotated"] - times["light_end"]).total_seconds())
        return [found[key] for key in sorted(found)]

    def disagreements(self) -> Iterator[dict[str, Any]]:
        """Yields the alerts on which filter and survey disagree, by the survey's flags."""
        for record in self._once():
            told = _counted(record)
            if told["agreement"] in DISAGREEING:
                yield {
                    "survey": record["survey"],
                    "alert_id": record["alert_id"],
                    "night": self._night(record),
                    **{each: told[each] for each in ("verdict", "contaminant", "rule")},
                    "agreement": told["agreement"],
                    "flagged": record["survey_flags"]["flagged"],
                }

    def rejected(self) -> dict[str, int]:
        """Returns the rejected messages by reason, the most frequent first."""
        return dict(sorted(self._rejected.items(), key=lambda each: -each[1]))

    def _once(self) -> Iterator[Record]:
        self.repeated, origins = 0, _Origins()
        for record in self._records():
            origin = record["origin"]
            if origins.add(origin["topic"], origin["partition"], origin["offset"]):
                yield record
            else:
                self.repeated += 1

    def _night(self, record: Record) -> str:
        light_end: datetime | None = record["times"]["light_end"]
        if light_end is None:
            return UNKNOWN
        begins_utc_h = self._surveys.night_begins_utc_h(record["survey"])
        return night_of(light_end, begins_utc_h) or UNKNOWN


class _Origins:
    """Places of alerts, a bit for each: a topic's offsets lie close together."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, int, int], int] = {}

    def add(self, topic: str, partition: int, offset: int) -> bool:
        """Remember a place; returns whether it is new."""
        key, bit = (topic, partition, offset // _BITS), 1 << offset % _BITS
        before = self._there.get(key, 0)
        self._there[key] = before | bit
        return not before & bit


def _counted(record: Record) -> dict[str, str | None]:
    """Returns the values of ``nights.COUNTED``."""
    verdict = record["verdict"]
    return {
        "verdict": verdict["label"],
        "action": verdict["action"],
        "contaminant": verdict["contaminant"],
        "rule": verdict["rule"],
        "agreement": record["survey_flags"]["agreement"],
    }
