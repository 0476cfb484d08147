"""Labels as flat rows, one for each person and alert: what tables of labels have."""

import json
from collections.abc import Iterable
from datetime import datetime

from streamfilter.console.labels import Answer, Label
from streamfilter.records import real_where

Row = dict[str, str | int | float | datetime | None]
COLUMNS = (
    "alert_id", "label", "contaminant", "person", "when", "survey", "object_id", "topic",
    "partition", "offset", "answer", "verdict", "action", "rule", "decided_by", "core", "engine",
    "sha256",
)  # fmt: skip
"""Columns of a table; ``label`` and ``contaminant`` are what ``meaning`` says."""


def meaning(label: Label) -> tuple[str, str | None]:
    """Returns what a person says the alert is, and of an artefact its class where that is said.

    The first is ``real``, ``artefact`` or ``cannot_tell``. "Right" and "wrong" speak of the
    verdict: who calls a contaminated or suspect one wrong says that nothing is there, and who calls
    a clean one wrong does not say what is. Of what was not evaluated neither tells anything.
    """
    answer = label.answer
    if answer not in (Answer.RIGHT, Answer.WRONG):
        return str(answer), label.contaminant
    real = real_where(label.verdict, right=answer is Answer.RIGHT)
    if real is None:
        return str(Answer.CANNOT_TELL), None
    if real:
        return str(Answer.REAL), None
    return str(Answer.ARTEFACT), label.decided_by if answer is Answer.RIGHT else None


def rows_of(labels: Iterable[Label]) -> list[Row]:
    """Returns a row of ``COLUMNS`` for each label."""
    return [_row(each) for each in labels]


def json_lines(labels: Iterable[Label]) -> bytes:
    """Returns a JSON object a line, with times as ISO 8601 in UTC."""
    lines = (json.dumps(row, default=datetime.isoformat) for row in rows_of(labels))
    return "".join(f"{line}\n" for line in lines).encode()


def _row(label: Label) -> Row:
    said, contaminant = meaning(label)
    values = (
        label.alert_id, said, contaminant, label.person, label.said, label.survey, label.object_id,
        label.origin.topic, label.origin.partition, label.origin.offset, str(label.answer),
        label.verdict, label.action, label.rule, label.decided_by, label.core, label.engine,
        label.sha256,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
