"""Reads labels of alerts, real or artefact, from a file: CSV, Parquet, or lines of JSON."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streamfilter.errors import ConfigurationInvalid
from streamfilter.records import real_where

KEY, LABEL, ANSWER, SURVEY = "alert_id", "label", "answer", "survey"
_WORDS = {
    "real": True, "1": True, "true": True, "artefact": False, "bogus": False, "0": False,
    "false": False,
}  # fmt: skip
_UNDECIDED = ("cannot_tell", "", "none")
_OF_VERDICTS = ("right", "wrong")
"""Answers of the live page that say what a verdict is: of use only beside the verdict."""

_Row = Mapping[str, Any]


@dataclass(slots=True)
class Labels:
    """What was said of alerts: real or an artefact."""

    said: dict[str, dict[str, set[bool]]] = field(default_factory=dict)
    """By identifier and survey (empty: not said of which), whether it is real."""
    undecided: int = 0
    """Labels that say neither."""

    def add(self, alert_id: str, survey: str, real: bool) -> None:
        """Add a label."""
        self.said.setdefault(alert_id, {}).setdefault(survey, set()).add(real)

    def of(self, survey: str, alert_id: str) -> set[bool]:
        """Returns what was said of an alert: nothing, one thing, or both."""
        known = self.said.get(alert_id, {})
        return known.get(survey, set()) | known.get("", set())


def read_labels(path: Path) -> Labels:
    """Returns the labels in a file.

    Parameters
    ----------
    path
        ``.csv``, ``.parquet``, or ``.jsonl`` as the live page exports it. Each row has ``alert_id``
        and ``label`` or ``answer``, and may have ``survey``.

    Raises
    ------
    ConfigurationInvalid
        The file cannot be read, or a row is no label; the message names it.
    """
    readers: dict[str, Callable[[Path], Iterable[_Row]]] = {
        ".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines, ".ndjson": _json_lines,
    }  # fmt: skip
    if path.suffix not in readers:
        raise ConfigurationInvalid(f"{path}: labels end in {', '.join(readers)}")
    labels = Labels()
    try:
        for number, row in enumerate(readers[path.suffix](path), 1):
            real = _real(row, f"{path}, label {number}")
            if real is None:
                labels.undecided += 1
            else:
                labels.add(_key(row, f"{path}, label {number}"), str(row.get(SURVEY) or ""), real)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigurationInvalid(f"{path}: no labels: {error}") from error
    return labels


def _csv(path: Path) -> Iterator[_Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


def _parquet(path: Path) -> Iterator[_Row]:
    with pq.ParquetFile(path) as file:
        names = [name for name in (KEY, LABEL, ANSWER, SURVEY) if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=names):
            yield from batch.to_pylist()


def _json_lines(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8") as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            yield row if isinstance(row, dict) else {}


def _key(row: _Row, place: str) -> str:
    value = row.get(KEY)
    if value in (None, "") or isinstance(value, float):
        raise ConfigurationInvalid(
            f"{place}: {KEY} {value!r}; expected the alert's identifier, as a text or whole number"
        )
    return str(value).strip()


def _real(row: _Row, place: str) -> bool | None:
    """Returns whether the alert is real; None where that is not said."""
    name = next((name for name in (LABEL, ANSWER) if name in row), None)
    if name is None or KEY not in row:
        there = ", ".join(str(each) for each in row if each is not None) or "nothing"
        raise ConfigurationInvalid(f"{place}: {there}; expected {KEY}, and {LABEL} or {ANSWER}")
    value = row[name]
    whole = isinstance(value, float) and value.is_integer()
    word = str(int(value) if whole else value).strip().lower()
    verdict = row.get("verdict")
    if word in _OF_VERDICTS and isinstance(verdict, dict):
        return real_where(verdict.get("label"), right=word == "right")
    if word in _UNDECIDED:
        return None
    if word not in _WORDS:
        known = ", ".join((*_WORDS, _UNDECIDED[0]))
        raise ConfigurationInvalid(
            f"{place}: {name} {value!r}; there are {known}, and right and wrong beside a verdict, "
            "as the live page exports it"
        )
    return _WORDS[word]
