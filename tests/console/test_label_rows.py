"""Labels as tables: what each row says, in both forms."""

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from card_factories import NOON, card

from streamfilter.console.label_rows import COLUMNS, json_lines, meaning, rows_of
from streamfilter.console.labels import Answer, Label, label_of
from streamfilter.records import Label as Verdict


def said(number: int, answer: Answer, person: str = "ana", **changes: object) -> Label:
    contaminant = "TRL" if answer is Answer.ARTEFACT else None
    return label_of(card(number, **changes), person=person, answer=answer,
                    contaminant=contaminant, said=NOON + timedelta(seconds=number))  # fmt: skip


@pytest.mark.parametrize(("answer", "verdict", "expected"), [
    (Answer.REAL, Verdict.CONTAMINATED, ("real", None)),
    (Answer.ARTEFACT, Verdict.CLEAN, ("artefact", "TRL")),
    (Answer.CANNOT_TELL, Verdict.CLEAN, ("cannot_tell", None)),
    (Answer.RIGHT, Verdict.CONTAMINATED, ("artefact", "CR")),
    (Answer.RIGHT, Verdict.SUSPECT, ("artefact", "CR")),
    (Answer.RIGHT, Verdict.CLEAN, ("real", None)),
    (Answer.WRONG, Verdict.CONTAMINATED, ("real", None)),
    (Answer.WRONG, Verdict.CLEAN, ("artefact", None)),
    (Answer.WRONG, Verdict.NOT_EVALUATED, ("cannot_tell", None)),
])  # fmt: skip
def test_a_label_says_what_the_alert_is(
    answer: Answer, verdict: Verdict, expected: tuple[str, str | None]
) -> None:
    """Also where a person speaks of the verdict."""
    assert expected == meaning(said(1, answer, label=verdict))


def test_a_line_has_the_alert_and_its_place() -> None:
    """Flat, so that any program reads it; what the person pressed is kept beside what it means."""
    (line,) = json_lines([said(7, Answer.WRONG)]).splitlines()
    row = json.loads(line)
    assert list(COLUMNS) == list(row)
    assert ("7", "real", "wrong", "ana") == (
        row["alert_id"], row["label"], row["answer"], row["person"]
    )  # fmt: skip
    assert ("alerts", 0, 7) == (row["topic"], row["partition"], row["offset"])
    assert "2026-09-01T12:00:07+00:00" == row["when"]


def test_tune_reads_both_tables(tmp_path: Path) -> None:
    """A wrong drop is real; what nobody can tell counts for neither."""
    pytest.importorskip("pyarrow", reason="no pyarrow: install the extra archive")
    from streamfilter.archive.label_files import read_labels
    from streamfilter.console.label_table import parquet

    answers = (Answer.WRONG, Answer.ARTEFACT, Answer.RIGHT, Answer.REAL, Answer.CANNOT_TELL)
    labels = [said(n, each) for n, each in enumerate(answers)]
    for name, content in (("a.jsonl", json_lines(labels)), ("a.parquet", parquet(labels))):
        (tmp_path / name).write_bytes(content)
        found = read_labels(tmp_path / name)
        assert [{True}, {False}, {False}, {True}, set()] == [
            found.of("ztf", str(n)) for n in range(5)
        ]
        assert 1 == found.undecided


def test_parquet_has_the_same_rows() -> None:
    """With types: a time is one."""
    pq = pytest.importorskip("pyarrow.parquet", reason="no pyarrow: install the extra archive")
    from streamfilter.console.label_table import parquet

    labels = [said(1, Answer.ARTEFACT), said(2, Answer.REAL, "ben")]
    assert rows_of(labels) == pq.read_table(io.BytesIO(parquet(labels))).to_pylist()
    assert [] == pq.read_table(io.BytesIO(parquet([]))).to_pylist()
