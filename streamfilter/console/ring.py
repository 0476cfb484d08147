"""The newest cards, bounded in number, and how they are chosen and ordered."""

import random
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from streamfilter.console.cards import Card, Disagreement, Facts, disagreement
from streamfilter.records import Label, Origin


@dataclass(frozen=True, slots=True)
class Entry:
    """A card in the ring; numbers rise with the order of arrival."""

    number: int
    card: Card
    facts: Facts | None = None
    """None until the alert's own packet was read."""
    learned: int = 0
    """Rises with the order in which packets were read; 0 until then."""

    @property
    def disagreement(self) -> Disagreement | None:
        """How streamfilter and the survey differ."""
        return disagreement(self.card, self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which cards are wanted; an empty text and None choose all.

    Where detector, filter or score is chosen, only cards whose packet was read can fit.
    """

    survey: str = ""
    label: str = ""
    contaminant: str = ""
    rule: str = ""
    detector: str = ""
    filter: str = ""
    score_from: float | None = None
    score_to: float | None = None
    minutes: float | None = None
    """Annotated within the last so many."""
    id: str = ""
    """Of the alert or its object."""

    @property
    def needs_facts(self) -> bool:
        """Whether only cards fit whose packet was read."""
        scores = (self.score_from, self.score_to)
        return bool(self.detector or self.filter) or scores != (None, None)

    def fits(self, entry: Entry, now: datetime) -> bool:
        """Returns whether a card is among those."""
        card, facts = entry.card, entry.facts or Facts()
        texts = (
            (self.survey, card.survey), (self.label, card.label),
            (self.contaminant, card.contaminant), (self.rule, card.rule),
            (self.detector, facts.detector), (self.filter, facts.filter),
        )  # fmt: skip
        if any(wanted and wanted != found for wanted, found in texts):
            return False
        if self.id and self.id not in (card.alert_id, card.object_id):
            return False
        if self.minutes is not None and now - card.annotated > timedelta(minutes=self.minutes):
            return False
        return self._scored(facts.score)

    def _scored(self, score: float | None) -> bool:
        low, high = self.score_from, self.score_to
        if low is None and high is None:
            return True
        return score is not None and (low or 0.0) <= score <= (1.0 if high is None else high)


class Ring:
    """The newest cards; any thread may use it.

    Parameters
    ----------
    most
        Cards that are held; with one more the oldest goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._numbers: dict[Origin, int] = {}
        self._last = self._learned = 0

    @property
    def last(self) -> int:
        """Number of the newest card; 0 before the first."""
        return self._last

    def last_for(self, choice: Choice) -> int:
        """Returns the number up to which all that fits is there: see ``since``."""
        return self._learned if choice.needs_facts else self._last

    @property
    def held(self) -> int:
        """How many cards there are."""
        return len(self._entries)

    def add(self, card: Card) -> Entry | None:
        """Add a card; None where it is held already."""
        with self._lock:
            if card.place in self._numbers:
                return None
            self._last += 1
            entry = Entry(self._last, card)
            self._entries[self._last] = entry
            self._numbers[card.place] = self._last
            if len(self._entries) > self._most:
                _, oldest = self._entries.popitem(last=False)
                del self._numbers[oldest.card.place]
            return entry

    def learn(self, place: Origin, facts: Facts) -> bool:
        """Add what the alert's packet says; returns whether that is new."""
        with self._lock:
            number = self._numbers.get(place)
            if number is None or self._entries[number].facts is not None:
                return False
            self._learned += 1
            entry = self._entries[number]
            self._entries[number] = replace(entry, facts=facts, learned=self._learned)
            return True

    def at(self, place: Origin) -> Entry | None:
        """Returns the card of an annotation; None where it is not held."""
        with self._lock:
            number = self._numbers.get(place)
            return None if number is None else self._entries[number]

    def newest(self, now: datetime, choice: Choice, most: int, *, before: int = 0) -> list[Entry]:
        """Returns the newest cards that fit, the newest first.

        Parameters
        ----------
        before
            Only with lower numbers; 0: all.
        """
        found = (each for each in self._backwards() if not before or each.number < before)
        return _first(found, now, choice, most)

    def since(
        self, number: int, now: datetime, choice: Choice, most: int
    ) -> tuple[list[Entry], int]:
        """Returns the newest of the cards behind a number that fit, and how many fit.

        Where the choice needs the packet, the number is that of the order in which packets were
        read: such a card fits only when its own was.
        """
        found = [
            each
            for each in self._backwards()
            if (each.learned if choice.needs_facts else each.number) > number
            and choice.fits(each, now)
        ]
        return found[:most], len(found)

    def doubtful(self, now: datetime, choice: Choice, most: int) -> list[Entry]:
        """Returns disagreements first, then suspects, then a clean one drawn as a control.

        Each group has its newest first. The control is the same until a new card comes.
        """
        differing, suspects, clean = [], [], []
        for each in self._backwards():
            if choice.fits(each, now):
                if each.disagreement is not None:
                    differing.append(each)
                elif each.card.label is Label.SUSPECT:
                    suspects.append(each)
                elif each.card.label is Label.CLEAN:
                    clean.append(each)
        control = random.Random(self._last).sample(clean, min(1, len(clean)))
        kept = (differing + suspects)[: most - len(control)]
        return kept + control

    def read(self) -> int:
        """Returns of how many cards the packet was read."""
        with self._lock:
            return sum(1 for each in self._entries.values() if each.facts is not None)

    def values(self) -> dict[str, list[str]]:
        """Returns what there is to choose from, by the name in ``Choice``."""
        found: dict[str, set[str]] = {}
        for each in self._backwards():
            facts = each.facts or Facts()
            for name, value in (
                ("survey", each.card.survey), ("contaminant", each.card.contaminant),
                ("rule", each.card.rule), ("detector", facts.detector), ("filter", facts.filter),
            ):  # fmt: skip
                found.setdefault(name, set()).add(value or "")
        return {name: sorted(values - {""}, key=_natural) for name, values in found.items()}

    def _backwards(self) -> Iterator[Entry]:
        with self._lock:
            entries = list(self._entries.values())
        return reversed(entries)


def _first(entries: Iterator[Entry], now: datetime, choice: Choice, most: int) -> list[Entry]:
    found = []
    for each in entries:
        if choice.fits(each, now):
            found.append(each)
            if len(found) == most:
                break
    return found


def _natural(text: str) -> tuple[int, str]:
    """Numbers by their value, before all other texts."""
    return (int(text), "") if text.isdecimal() and len(text) < 10 else (10**9, text)
