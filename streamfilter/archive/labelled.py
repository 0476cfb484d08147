"""Labelled alerts of annotations, and the numbers that rules look at, as arrays."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from streamfilter.archive.label_files import Labels
from streamfilter.archive.outputs import annotations_in
from streamfilter.archive.rule_limits import SILENT, Reals, dropped
from streamfilter.archive.stream_share import CLASSES, Counts, nearness
from streamfilter.archive.tuning import Sample
from streamfilter.config import Survey
from streamfilter.errors import ConfigurationInvalid
from streamfilter.library.filter import POSITION
from streamfilter.library.tables import METADATA
from streamfilter.records import Action, FieldKind, Plane, Rule, Statistic, fields_of

DETECTIONS = ("ndethist", "nDiaSources")
"""Fields of the surveys' maps that count the detections of an alert's place or object, this one
included."""
REAL_FROM = 3
"""Detections that make an alert real."""
_KEY = ("survey", "alert_id", "object_id", "action")
_SOURCE = "BBG"


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedBy:
    """How a survey's alerts were judged, as the metadata of annotations have it."""

    engine: str
    priors: Mapping[str, float]
    thresholds: Mapping[str, float]
    rules: tuple[Rule, ...]


@dataclass(slots=True)
class Labelled:
    """The labelled alerts of annotations."""

    judged_by: dict[str, JudgedBy]
    """By survey."""
    samples: dict[str, Sample] = field(default_factory=dict)
    """By survey, in the order of the names."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What was left out, by reason."""


@dataclass(frozen=True, slots=True)
class _Alert:
    """The choice of one alert of an object."""

    rank: int
    """A digest of its key: the lowest of an object counts, whatever order files have."""
    key: str
    real: bool
    fold: int
    values: Reals
    numbers: Sequence[float | None]


def read_labelled(
    path: Path,
    labels: Labels,
    *,
    detections: bool,
    surveys: Sequence[str],
    folds: int,
    guards: Sequence[str] | None = None,
) -> Labelled:
    """Returns the labelled alerts of annotations: of one object one real alert, one artefact.

    Parameters
    ----------
    detections
        Whether alerts of ``REAL_FROM`` detections are real, where no label says otherwise.
    surveys
        Those that are wanted; none: all.
    folds
        Into which the objects are divided, by a digest of their names.
    guards
        Columns whose numbers may guard rules; None: ``DETECTIONS``, as far as they are there and
        are not the truth.

    Raises
    ------
    ConfigurationInvalid
        There are no annotations, or without what a rule or a truth looks at, or they are not of
        the rules that their metadata name; the message says what to annotate with.
    """
    found = annotations_in(path, _KEY)
    judged = _judged_by(path, found.schema)
    counts = [name for name in DETECTIONS if detections and name in found.schema.names]
    if detections and not counts:
        raise ConfigurationInvalid(
            f"{path}: no annotation carries how often its place was detected: annotate with "
            f"--columns {' or '.join(DETECTIONS)} (in the words of the survey's field map)"
        )
    known: ds.Expression = ds.field("alert_id").isin(pa.array(list(labels.said), pa.string()))
    for name in counts:
        known |= ds.field(name) >= REAL_FROM
    numbers = _guarding(path, found.schema, counts, guards)
    reader = _Reader(Labelled(judged), labels, counts, folds, numbers)
    for name in surveys or sorted(judged):
        if name not in judged:
            raise ConfigurationInvalid(
                f"no survey {name!r} in {path}; there are {', '.join(sorted(judged))}"
            )
        rules = tuple(r for r in judged[name].rules if r.action is Action.DROP)
        needed = _checked(path, found.schema, rules)
        chosen = known & (ds.field("survey") == name)
        columns = list(dict.fromkeys([*_KEY, *counts, *numbers, *needed]))
        batches = (b for b in found.to_batches(columns=columns, filter=chosen) if b.num_rows)
        reader.read(name, rules, batches)
    reader.labelled.left_out["labels of no alert here"] = len(labels.said) - len(reader.matched)
    return reader.labelled


def _guarding(
    path: Path, schema: pa.Schema, counts: Sequence[str], guards: Sequence[str] | None
) -> tuple[str, ...]:
    """Returns the columns whose numbers may guard rules; refuses what cannot.

    Those of alerts are doubles, and ours are not; a position is no reason to believe an alert.
    """
    if guards is None:
        return tuple(each for each in DETECTIONS if each in schema.names and each not in counts)
    for name in guards:
        if name in counts:
            raise ConfigurationInvalid(
                f"{name} says which alerts are real (--truth detections): as a guard it would "
                "spare all of them, and nothing would be measured; label real ones by something "
                "else"
            )
        kept = name in schema.names and pa.types.is_float64(schema.field(name).type)
        if not kept or name in POSITION:
            raise ConfigurationInvalid(
                f"{path}: no number {name} of the alerts: annotate with --columns {name} (in the "
                "words of the survey's field map)"
            )
    return tuple(dict.fromkeys(guards))


def read_nearness(path: Path, sample: Sample) -> Counts:
    """Returns how many of all alerts of a sample's survey are in each class of nearness.

    Raises
    ------
    ConfigurationInvalid
        As ``read_labelled`` does.
    """
    found = annotations_in(path, _KEY)
    columns = ["alert_id", "action", *_checked(path, found.schema, sample.rules)]
    counts = np.zeros(CLASSES, np.int64)
    for batch in found.to_batches(columns=columns, filter=ds.field("survey") == sample.survey):
        if batch.num_rows:
            values = values_of(sample.rules, batch)
            _compare(sample.survey, sample.rules, values, batch)
            counts += nearness(sample.rules, values)
    return counts


def _judged_by(path: Path, schema: pa.Schema) -> dict[str, JudgedBy]:
    written = (schema.metadata or {}).get(METADATA)
    if written is None:
        raise ConfigurationInvalid(
            f"{path}: the metadata do not say which rules judged; expected what `annotate` wrote"
        )
    told = json.loads(written)
    return {
        name: JudgedBy(
            engine=told["engine"]["name"],
            priors=each["priors"],
            thresholds=each["thresholds"],
            rules=Survey.model_validate({"rules": each["rules"]}).rules or (),
        )
        for name, each in told["surveys"].items()
    }


def _checked(path: Path, schema: pa.Schema, rules: Sequence[Rule]) -> list[str]:
    """Returns the columns that rules look at; refuses rules whose numbers do not stand there."""
    for rule in rules:
        if rule.engine or rule.statistic is Statistic.TOGETHER:
            raise ConfigurationInvalid(
                f"rule {rule.name!r} looks at {rule.engine or 'all engines'}, and annotations have "
                "the first engine's numbers alone: annotate with one engine (without engine.also)"
            )
    fields = fields_of(rules)
    for name, kind in fields.items():
        text = kind is FieldKind.TEXT
        if name not in schema.names or text != pa.types.is_string(schema.field(name).type):
            raise ConfigurationInvalid(
                f"{path}: rules look at {name}, which the annotations do not carry: annotate with "
                f"--columns {name}{':text' if text else ''}"
            )
    planes = dict.fromkeys(str(rule.plane) for rule in rules)
    return [*(plane for plane in planes if plane in schema.names), *fields]


class _Reader:
    """Chooses alerts, survey by survey."""

    def __init__(
        self,
        labelled: Labelled,
        labels: Labels,
        counts: Sequence[str],
        folds: int,
        numbers: Sequence[str],
    ) -> None:
        self.labelled, self._labels = labelled, labels
        self._counts, self._folds, self._numbers = counts, folds, numbers
        self.matched: set[str] = set()

    def read(self, survey: str, rules: tuple[Rule, ...], batches: Iterator[pa.RecordBatch]) -> None:
        """Read the labelled alerts of a survey.

        Raises
        ------
        ConfigurationInvalid
            The rules do not drop what the annotations say that they dropped.
        """
        chosen: dict[tuple[str, bool], _Alert] = {}
        for batch in batches:
            values = values_of(rules, batch)
            _compare(survey, rules, values, batch)
            wanted = dict.fromkeys([*_KEY, *self._counts, *self._numbers])
            for number, row in enumerate(batch.select(list(wanted)).to_pylist()):
                real = self._truth(survey, row)
                if real is None:
                    continue
                key, name = row["alert_id"], row["object_id"] or row["alert_id"]
                rank, fold = _digest(key), _digest(f"object {name}") % self._folds
                own = [row[name] for name in self._numbers]
                alert = _Alert(rank, key, real, fold, values[:, number], own)
                before = chosen.get((name, real))
                if before is not None:
                    self.labelled.left_out["further alerts of an object"] += 1
                if before is None or alert.rank < before.rank:
                    chosen[name, real] = alert
        if chosen:
            alerts = list(chosen.values())
            self.labelled.samples[survey] = _sample(survey, rules, alerts, self._numbers)

    def _truth(self, survey: str, row: Mapping[str, Any]) -> bool | None:
        """Returns whether an alert is real; None where nobody says so, or both."""
        said = self._labels.of(survey, row["alert_id"])
        if said:
            self.matched.add(row["alert_id"])
        if len(said) > 1:
            self.labelled.left_out["contradicting labels"] += 1
            return None
        if said:
            return next(iter(said))
        counts = [row[name] for name in self._counts if row[name] is not None]
        return True if max(counts, default=0) >= REAL_FROM else None


def _sample(
    survey: str, rules: tuple[Rule, ...], alerts: Sequence[_Alert], names: Sequence[str]
) -> Sample:
    ordered = sorted(alerts, key=lambda each: (each.rank, each.key))
    numbers = np.array([each.numbers for each in ordered], np.float64)  # None becomes NaN
    return Sample(
        survey=survey,
        rules=rules,
        keys=tuple(each.key for each in ordered),
        values=np.array([each.values for each in ordered]).T,
        real=np.array([each.real for each in ordered]),
        folds=np.array([each.fold for each in ordered]),
        numbers=dict(zip(names, numbers.T, strict=True)),
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def values_of(rules: Sequence[Rule], batch: pa.RecordBatch) -> Reals:
    """Returns the number (R, N) that each rule compares with its limit, of each row.

    It is ``SILENT`` where the rule cannot speak: `alerts.verdict.applies` says the same of one
    alert, and a test holds the two together.
    """
    fields = fields_of(rules)
    rows = batch.select(list(fields)).to_pylist() if fields else []
    values = np.full((len(rules), batch.num_rows), SILENT)
    for number, rule in enumerate(rules):
        if rule.plane not in batch.schema.names:
            continue
        mine = _of_class(batch, rule.plane, rule.contaminant, rule.statistic)
        if rule.unless_source_above < 1.0:
            source = _of_class(batch, rule.plane, _SOURCE, Statistic.CORE)
            mine = np.where(source > rule.unless_source_above, SILENT, mine)
        if rule.when or rule.unless:
            given = ({k: v for k, v in row.items() if v is not None} for row in rows)
            mine = np.where([rule.allows(each) for each in given], mine, SILENT)
        values[number] = mine
    return values


def _of_class(batch: pa.RecordBatch, plane: Plane, code: str, statistic: Statistic) -> Reals:
    """Returns a statistic of a class, (N,); ``SILENT`` where the stamp was not evaluated."""
    stamps = batch.column(plane)
    classes = pc.struct_field(stamps, "class")
    evaluated = pc.drop_null(classes)
    if not len(evaluated):
        return np.full(batch.num_rows, SILENT)
    place = evaluated[0].as_py().index(code)
    named = pc.list_element(evaluated, place)
    assert pc.all(pc.equal(named, code)).as_py(), "one network has one order of classes"
    numbers = pc.list_element(pc.struct_field(stamps, str(statistic)), place)
    filled = numbers.cast(pa.float64()).fill_null(SILENT).to_numpy(zero_copy_only=False)
    return np.asarray(filled, np.float64)


def _compare(survey: str, rules: Sequence[Rule], values: Reals, batch: pa.RecordBatch) -> None:
    """Refuse annotations that the rules of their metadata did not judge."""
    said = pc.equal(batch.column("action"), Action.DROP.value).to_numpy(zero_copy_only=False)
    ours = dropped(values, np.array([rule.above for rule in rules]))
    if (differ := np.flatnonzero(said != ours)).size:
        key = batch.column("alert_id")[int(differ[0])]
        raise ConfigurationInvalid(
            f"{survey}: the rules in the metadata {'keep' if said[differ[0]] else 'drop'} alert "
            f"{key}, and its annotation says otherwise: annotations of several settings are mixed"
        )
