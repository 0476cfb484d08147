"""What the page knows of an alert: its annotation, and what its own packet adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from streamfilter.contaminants import CODES
from streamfilter.posterior import pooled
from streamfilter.records import Action, Label, Origin, Plane, Rule, Statistic

LIKED_ABOVE, SCORED_BELOW = 0.7, 0.3
"""Scores of the survey (0 bogus, 1 real) from which on it likes an alert, and below which not."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the annotation says of one class in one stamp; see ``records.ClassEvidence``."""

    core: float
    peak: float
    pixels: int
    distance_px: float | None


@dataclass(frozen=True, slots=True)
class StampSummary:
    """The results for one stamp, without classes of which nothing is there."""

    not_evaluated: str | None
    classes: Mapping[str, Evidence]


@dataclass(frozen=True, slots=True)
class CardOpinion:
    """What one further engine says of an alert that it was asked about."""

    engine: str
    stamps: Mapping[str, StampSummary]
    """By plane."""
    thresholds: Mapping[str, float]
    """On the posteriors of pixels, by class."""
    priors: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One annotated alert."""

    place: Origin
    """Of the annotation: by it the card is found again."""
    origin: Origin
    """Of the alert."""
    survey: str
    alert_id: str
    object_id: str | None
    label: Label
    action: Action
    contaminant: str | None
    rule: str | None
    stamps: Mapping[str, StampSummary]
    """By plane."""
    thresholds: Mapping[str, float]
    """On the posteriors of pixels, by class."""
    priors: Mapping[str, float]
    flagged: tuple[str, ...]
    flaggable: tuple[str, ...]
    agreement: str
    engine: str
    sha256: str
    runtime: str
    light_end: datetime | None
    received: datetime
    annotated: datetime
    message: datetime | None
    infer_s: float
    also: tuple[CardOpinion, ...] = ()
    """Of further engines, in the order of the settings."""

    @property
    def core(self) -> float | None:
        """Posterior of the class that decided, at the alert's place; None where no rule spoke.

        Of the first engine that finds the class.
        """
        code = self.contaminant or ""
        for stamps in (self.stamps, *(each.stamps for each in self.also)):
            found = [stamp.classes[code] for stamp in stamps.values() if code in stamp.classes]
            if found:
                return max(each.core for each in found)
        return None

    @property
    def since_light_s(self) -> float | None:
        """From the end of the exposure to the annotation."""
        if self.light_end is None:
            return None
        return (self.annotated - self.light_end).total_seconds()


def card_of(place: Origin, record: Mapping[str, Any]) -> Card:
    """Returns the card of an annotation's record, as ``streamfilter.read`` gives it.

    Raises
    ------
    KeyError, ValueError, TypeError
        It is no annotation.
    """
    verdict, times, engine = record["verdict"], record["times"], record["engine"]
    flags = record["survey_flags"]
    priors, thresholds = _priors(record)
    return Card(
        place=place,
        origin=Origin(**record["origin"]),
        survey=record["survey"],
        alert_id=record["alert_id"],
        object_id=record["object_id"],
        label=Label(verdict["label"]),
        action=Action(verdict["action"]),
        contaminant=verdict["contaminant"],
        rule=verdict["rule"],
        stamps=_stamps(record),
        thresholds=thresholds,
        priors=priors,
        flagged=tuple(flags["flagged"]),
        flaggable=tuple(flags["flaggable"]),
        agreement=flags["agreement"],
        engine=engine["name"],
        sha256=engine["sha256"].hex(),
        runtime=engine["runtime"],
        light_end=times["light_end"],
        received=times["received"],
        annotated=times["annotated"],
        message=times["message"],
        infer_s=times["infer_s"],
        also=tuple(map(_opinion, record.get("also") or ())),
    )


def _opinion(record: Mapping[str, Any]) -> CardOpinion:
    priors, thresholds = _priors(record)
    return CardOpinion(record["engine"]["name"], _stamps(record), thresholds, priors)


def _stamps(record: Mapping[str, Any]) -> dict[str, StampSummary]:
    return {str(plane): _stamp(record[plane]) for plane in Plane if record[plane]}


def _priors(record: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Priors and thresholds by class."""
    rows = record["priors"]
    known = {code: rows[code.lower()] for code in CODES if rows.get(code.lower())}
    return (
        {code: row["prior"] for code, row in known.items()},
        {code: row["threshold"] for code, row in known.items()},
    )


def _stamp(record: Mapping[str, Any]) -> StampSummary:
    rows = {code: record.get(code.lower()) for code in CODES}
    classes = {
        code: Evidence(row["core"], row["peak"], row["pixels"], row["distance_px"])
        for code, row in rows.items()
        if row is not None and (row["pixels"] or row["core"] >= 0.01)
    }
    return StampSummary(record["not_evaluated"], classes)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the alert's own packet says; empty texts and None where it says nothing."""

    score: float | None = None
    score_name: str = ""
    detector: str = ""
    filter: str = ""


class Disagreement(StrEnum):
    """How streamfilter and the survey differ over an alert."""

    DROPPED_AND_LIKED = "dropped here, liked by the survey"
    KEPT_AND_FLAGGED = "kept here, flagged by the survey"
    KEPT_AND_SCORED_LOW = "kept here, scored low by the survey"


def disagreement(card: Card, facts: Facts | None) -> Disagreement | None:
    """Returns how the two differ; None where they do not, or it is not known.

    A drop is contradicted by a high score. Flags are compared by class elsewhere
    (``card.agreement``): here any flag speaks against an alert that is kept.
    """
    score = None if facts is None else facts.score
    if card.action is Action.DROP:
        liked = score is not None and score >= LIKED_ABOVE
        return Disagreement.DROPPED_AND_LIKED if liked else None
    if card.label is not Label.CLEAN:
        return None
    if card.flagged:
        return Disagreement.KEPT_AND_FLAGGED
    if score is not None and score < SCORED_BELOW:
        return Disagreement.KEPT_AND_SCORED_LOW
    return None


@dataclass(frozen=True, slots=True)
class Deciding:
    """The number that a rule compared, and with what."""

    statistic: Statistic
    value: float
    above: float
    engine: str
    """Whose number it is; of several together the first engine's."""


def deciding(card: Card, rules: Sequence[Rule]) -> Deciding | None:
    """Returns what decided; None where that is not known.

    No rule spoke, the settings have no such rule (now), or an engine's number was too small to be
    kept in the annotation's card.
    """
    rule = next((each for each in rules if each.name == card.rule), None)
    if rule is None or rule.contaminant != card.contaminant:
        return None
    if rule.statistic is Statistic.TOGETHER:
        value = _together(card, rule)
        return None if value is None else Deciding(rule.statistic, value, rule.above, card.engine)
    engine = rule.engine or card.engine
    voices = {each.engine: each.stamps for each in card.also} | {card.engine: card.stamps}
    stamp = voices.get(engine, {}).get(rule.plane)
    evidence = None if stamp is None else stamp.classes.get(rule.contaminant)
    if evidence is None:
        return None
    return Deciding(rule.statistic, float(getattr(evidence, rule.statistic)), rule.above, engine)


def _together(card: Card, rule: Rule) -> float | None:
    """The posterior from every engine that was asked and has the class, as the verdict had it."""
    code = rule.contaminant
    value: float | None = None
    voices: tuple[Card | CardOpinion, ...] = (card, *card.also)
    for each in voices:
        if code not in each.priors:
            continue
        stamp = each.stamps.get(rule.plane)
        evidence = None if stamp is None else stamp.classes.get(code)
        if evidence is None:
            return None
        core = evidence.core
        value = core if value is None else pooled(value, core, each.priors[code])
    return value
