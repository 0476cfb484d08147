"""What people say of alerts: the record, its bytes, and the book of what holds."""

import io
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

import fastavro

from streamfilter import __version__
from streamfilter.console.cards import Card
from streamfilter.contaminants import BY_CODE, CODES
from streamfilter.records import Label as Verdict
from streamfilter.records import Origin
from streamfilter.schemas.published import label_schema

LONGEST_NAME = 40
"""Characters of a person's name."""
NAMED = tuple(code for code in CODES if not BY_CODE[code].normal)
"""Classes that an artefact may be of."""


class Answer(StrEnum):
    """What a person says of an alert, as the schema has it."""

    RIGHT = "right"
    WRONG = "wrong"
    REAL = "real"
    ARTEFACT = "artefact"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One saying of one person about one alert."""

    survey: str
    alert_id: str
    object_id: str | None
    origin: Origin
    person: str
    said: datetime
    answer: Answer | None
    """None where the person takes back what was said before."""
    contaminant: str | None
    verdict: str
    action: str
    decided_by: str | None
    """Class of the verdict."""
    rule: str | None
    core: float | None
    engine: str
    sha256: str

    @property
    def agrees(self) -> bool | None:
        """Whether the person bears the verdict out; None where that is not said.

        An artefact of another class than the verdict's bears it out: something is there.
        """
        kept = self.verdict == Verdict.CLEAN
        if self.answer in (Answer.RIGHT, Answer.WRONG):
            return self.answer is Answer.RIGHT
        if self.verdict == Verdict.NOT_EVALUATED:
            return None
        if self.answer is Answer.REAL:
            return kept
        return not kept if self.answer is Answer.ARTEFACT else None

    def taken_back(self, said: datetime) -> "Label":
        """Returns the label that takes this one back."""
        return replace(self, answer=None, contaminant=None, said=said)


def label_of(
    card: Card, *, person: str, answer: Answer | None, contaminant: str | None, said: datetime
) -> Label:
    """Returns what a person says of a card.

    Raises
    ------
    ValueError
        An artefact has no class, or another answer has one; or the class is none.
    """
    if (answer is Answer.ARTEFACT) != (contaminant is not None):
        raise ValueError("an artefact has a class, and nothing else has one")
    if contaminant is not None and contaminant not in NAMED:
        raise ValueError(f"no contaminant of that code; they are {', '.join(NAMED)}")
    return Label(
        survey=card.survey,
        alert_id=card.alert_id,
        object_id=card.object_id,
        origin=card.origin,
        person=person,
        said=said,
        answer=answer,
        contaminant=contaminant,
        verdict=card.label,
        action=card.action,
        decided_by=card.contaminant,
        rule=card.rule,
        core=card.core,
        engine=card.engine,
        sha256=card.sha256,
    )


def record_of(label: Label) -> dict[str, Any]:
    """Returns the label as a record of ``streamfilter.v1.Label``."""
    origin = label.origin
    return {
        "survey": label.survey,
        "alert_id": label.alert_id,
        "object_id": label.object_id,
        "origin": {
            "topic": origin.topic, "partition": origin.partition, "offset": origin.offset,
        },
        "person": label.person,
        "said": label.said,
        "answer": label.answer,
        "contaminant": label.contaminant,
        "verdict": {
            "label": label.verdict,
            "action": label.action,
            "contaminant": label.decided_by,
            "rule": label.rule,
            "core": label.core,
            "engine": label.engine,
            "sha256": bytes.fromhex(label.sha256),
        },
        "version": __version__,
    }  # fmt: skip


def encode(label: Label) -> bytes:
    """Returns the record in Avro's binary encoding, without a header."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(), record_of(label))
    return out.getvalue()


@cache
def _parsed() -> Any:
    return fastavro.parse_schema(label_schema().schema.definition)


def from_record(record: Mapping[str, Any]) -> Label:
    """Returns the label in a record, as ``streamfilter.read`` gives it.

    Raises
    ------
    KeyError, ValueError, TypeError
        It is no label.
    """
    verdict = record["verdict"]
    return Label(
        survey=record["survey"],
        alert_id=record["alert_id"],
        object_id=record["object_id"],
        origin=Origin(**record["origin"]),
        person=record["person"],
        said=record["said"].astimezone(UTC),
        answer=None if record["answer"] is None else Answer(record["answer"]),
        contaminant=record["contaminant"],
        verdict=verdict["label"],
        action=verdict["action"],
        decided_by=verdict["contaminant"],
        rule=verdict["rule"],
        core=verdict["core"],
        engine=verdict["engine"],
        sha256=verdict["sha256"].hex(),
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often people bear out or contradict what one rule decided."""

    rule: str
    """Empty: no rule spoke."""
    borne_out: int
    contradicted: int
    expected: float | None
    """Contradictions to be expected by the posteriors themselves; None: no drop with one."""

    @property
    def too_often(self) -> bool:
        """Whether the contradictions are more than the posteriors leave room for.

        By a one-sided test: the number is above the expected one by more than 1.64 of its
        standard deviations (of a Poisson count), and by more than one.
        """
        if self.expected is None:
            return False
        margin = max(1.0, 1.64 * math.sqrt(self.expected))
        return self.contradicted > self.expected + margin


class Book:
    """What people say of each alert; the newest of each person counts. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[Origin, dict[str, Label]] = {}

    def add(self, label: Label) -> None:
        """Add a saying; an older one than what is there changes nothing."""
        with self._lock:
            persons = self._said.setdefault(label.origin, {})
            before = persons.get(label.person)
            if before is None or before.said <= label.said:
                persons[label.person] = label

    def of(self, origin: Origin) -> list[Label]:
        """Returns what holds of an alert, by person."""
        with self._lock:
            persons = self._said.get(origin, {})
            return [label for _, label in sorted(persons.items()) if label.answer is not None]

    def last_by(self, person: str) -> Label | None:
        """Returns the newest saying of a person that holds; None where there is none."""
        mine = [label for label in self.all() if label.person == person]
        return max(mine, key=lambda label: label.said, default=None)

    def all(self) -> list[Label]:
        """Returns all that holds, alert by alert in the order of the first saying."""
        with self._lock:
            every = [label for persons in self._said.values() for label in persons.values()]
        return [label for label in every if label.answer is not None]

    def agreements(self) -> list[Agreement]:
        """Returns the count for each rule, each person's saying by itself."""
        borne_out: Counter[str] = Counter()
        contradicted: Counter[str] = Counter()
        expected: dict[str, float] = {}
        for label in self.all():
            rule, agrees = label.rule or "", label.agrees
            if agrees is None:
                continue
            borne_out[rule] += agrees
            contradicted[rule] += not agrees
            if label.action == "drop" and label.core is not None:
                expected[rule] = expected.get(rule, 0.0) + 1 - label.core
        return [
            Agreement(rule, borne_out[rule], contradicted[rule], expected.get(rule))
            for rule in sorted({*borne_out, *contradicted})
        ]

    def persons(self) -> Iterator[tuple[str, int]]:
        """Yields each person and how many of their sayings hold."""
        yield from sorted(Counter(label.person for label in self.all()).items())
