"""What nights were like: counts of annotations by verdict, class, rule and agreement; latency."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamfilter.alerts.encode import Agreement
from streamfilter.archive.durations import Durations

COUNTED = ("verdict", "action", "contaminant", "rule", "agreement")
DISAGREEING = (Agreement.SURVEY_ONLY, Agreement.STREAMFILTER_ONLY, Agreement.OTHER_CLASS)
UNKNOWN = "unknown"
"""The night of alerts without a time."""


@dataclass(slots=True)
class Night:
    """The alerts of one survey and night; of one value of a further column where one is given."""

    survey: str
    night: str
    value: str = ""
    alerts: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By column of ``COUNTED``, how many alerts have each value; null is no value."""
    scored: int = 0
    """Alerts whose score is above the limit."""
    scored_and_dropped: int = 0
    from_light: Durations = field(default_factory=Durations)
    """From the end of the exposure to the annotation; empty where annotations do not say."""
    from_receipt: Durations = field(default_factory=Durations)
    """From the receipt of the alert to the annotation; likewise."""

    def number(self, column: str, value: str) -> int:
        """Returns how many alerts have a value."""
        return self.counts.get(column, Counter())[value]

    def count(self, column: str, value: str | None, alerts: int = 1) -> None:
        """Count alerts that have a value; None is no value."""
        if value is not None:
            self.counts.setdefault(column, Counter())[value] += alerts

    def as_json(self) -> dict[str, Any]:
        """Returns counts and shares, and latency where it is known."""
        told: dict[str, Any] = {
            "survey": self.survey,
            "night": self.night,
            "value": self.value,
            "alerts": self.alerts,
            "counts": {name: dict(found.most_common()) for name, found in self.counts.items()},
            "scored": self.scored,
            "scored_and_dropped": self.scored_and_dropped,
            "dropped_share": self.number("action", "drop") / self.alerts,
        }
        for name, found in (
            ("light_to_annotation_s", self.from_light),
            ("receipt_to_annotation_s", self.from_receipt),
        ):
            if found.count:
                told[name] = found.as_json()
        return told


class Annotations(Protocol):
    """Annotations of nights, from wherever they are read."""

    def nights(self) -> list[Night]:
        """Returns the nights in order: by survey, night, and the value of the further column."""

    def disagreements(self) -> Iterator[dict[str, Any]]:
        """Yields the alerts on which filter and survey disagree."""

    def rejected(self) -> dict[str, int]:
        """Returns the rejected packets by reason, the most frequent first."""


def over_nights(nights: Iterable[Night]) -> list[Night]:
    """Returns the counts of all nights together, by survey and value; without latency."""
    found: dict[tuple[str, str], Night] = {}
    for each in nights:
        total = found.setdefault((each.survey, each.value), Night(each.survey, "", each.value))
        total.alerts += each.alerts
        total.scored += each.scored
        total.scored_and_dropped += each.scored_and_dropped
        for column, values in each.counts.items():
            for value, alerts in values.items():
                total.count(column, value, alerts)
    return [found[key] for key in sorted(found)]
