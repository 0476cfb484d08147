"""``streamfilter report``: what nights were like, against counts by hand."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from streamfilter.archive.outputs import TaskOutput
from streamfilter.cli import root
from streamfilter.contaminants import CODES
from streamfilter.library.columns import Column
from streamfilter.library.tables import Layout
from streamfilter.records import Plane


def row(number: int, night: str | None, **changes: Any) -> dict[str, Any]:
    """A clean alert of a night, or another."""
    return {
        "survey": "ztf", "alert_id": str(number), "night": night, "verdict": "clean",
        "action": "keep", "agreement": "agree", "flagged": [], "source": "x", "index": number,
        "rb": 0.9, "fid": float(1 + number % 2), "rbversion": "t17_f5", **changes,
    }  # fmt: skip


DROPPED = {"verdict": "contaminated", "action": "drop", "contaminant": "CR", "rule": "cosmic-ray"}
ROWS = [
    *(row(n, "2023-10-12") for n in range(6)),
    row(6, "2023-10-12", **DROPPED, agreement="streamfilter_only"),
    row(
        7,
        "2023-10-12",
        **DROPPED | {"contaminant": "TRL", "rule": "trail"},
        rb=0.1,
        rbversion="t18",
    ),
    *(row(n, "2023-10-13") for n in range(8, 11)),
    row(11, "2023-10-13", verdict="suspect", action="flag", contaminant="SAT", rule="saturated"),
    row(12, None, survey="lsst", agreement="survey_only", flagged=["CR", "SAT"], rb=None),
    {"source": "x", "index": 13, "rejected": "avro_malformed", "detail": "cut"},
]


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """An output as ``annotate`` writes it."""
    columns = (Column("rb"), Column("fid"), Column("rbversion", text=True))
    layout = Layout(
        planes=(Plane.SCIENCE,), codes=CODES, columns=columns, nights={}, judged_by={"version": "x"}
    )  # fmt: skip
    output = TaskOutput(tmp_path / "out", "0" * 16, layout.schema)
    output.add(pa.RecordBatch.from_pylist(ROWS, layout.schema))
    output.finish()
    return tmp_path / "out"


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, ["report", *map(str, arguments)])


def test_a_night_is_counted(annotations: Path, tmp_path: Path) -> None:
    """By verdict, class, rule and agreement; an alert without a time has a night of its own."""
    done = report(annotations, "--json", tmp_path / "report.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "report.json").read_text())
    nights = {(each["survey"], each["night"]): each for each in found["nights"]}
    assert [("lsst", "unknown"), ("ztf", "2023-10-12"), ("ztf", "2023-10-13")] == list(nights)
    first = nights["ztf", "2023-10-12"]
    assert (8, 0.25) == (first["alerts"], first["dropped_share"])
    assert {"clean": 6, "contaminated": 2} == first["counts"]["verdict"]
    assert {"CR": 1, "TRL": 1} == first["counts"]["contaminant"]
    assert {"cosmic-ray": 1, "trail": 1} == first["counts"]["rule"]
    assert {"avro_malformed": 1} == found["rejected"]
    assert "13 alerts, 2 dropped (15 %)" in done.output
    assert "flags: 11 agree, 1 streamfilter only, 1 survey only" in done.output
    assert "rejected: 1 avro_malformed" in done.output


def test_a_further_column_divides_the_nights(annotations: Path) -> None:
    """Such as the filter; a column that was not kept is named with those that were."""
    done = report(annotations, "--by", "fid")
    rows = [line.split() for line in done.output.splitlines() if "2023-10-12" in line]
    assert [["1", "4"], ["2", "4"]] == [each[5:8:2] for each in rows], done.output
    missing = report(annotations, "--by", "rcid")
    assert "no column rcid; there are survey" in str(missing.exception)
    empty = report(annotations / "rejects")
    assert "no column" in str(empty.exception)


def test_agreement_is_told_by_the_version_of_the_score(annotations: Path, tmp_path: Path) -> None:
    """All nights together, where the column was kept: with another version a score changes."""
    path = tmp_path / "report.json"
    done = report(annotations, "--score", "rb", "--json", path)
    assert "rbversion" in done.output
    found = {
        (each["survey"], each["value"]): each
        for each in json.loads(path.read_text())["by_version"]["rbversion"]
    }
    assert {("lsst", "t17_f5"): 1, ("ztf", "t17_f5"): 11, ("ztf", "t18"): 1} == {
        key: each["alerts"] for key, each in found.items()
    }
    first = found["ztf", "t17_f5"]
    assert {"agree": 10, "streamfilter_only": 1} == first["counts"]["agreement"]
    assert (11, 1) == (first["scored"], first["scored_and_dropped"])
    rows = [line.replace("│", " ").split() for line in done.output.splitlines() if "t17_f5" in line]
    assert ["ztf", "t17_f5", "11", "10", "0", "0", "1", "0", "11", "1"] in rows
    other = report(annotations, "--score", "fid")
    assert "rbversion" not in other.output


def test_disagreements_are_listed_with_their_keys(annotations: Path, tmp_path: Path) -> None:
    """With the survey's flags, and with its score where one is named."""
    path = tmp_path / "differ.csv"
    done = report(annotations, "--disagreements", path, "--score", "rb")
    assert "rb: 11 alerts are real by it, 1 of them are dropped" in done.output
    with path.open(newline="") as file:
        found = {each["alert_id"]: each for each in csv.DictReader(file)}
    assert {"6", "12"} == set(found)
    assert ("survey_only", "CR SAT") == (found["12"]["agreement"], found["12"]["flagged"])


def test_a_page_of_figures_can_be_mailed(annotations: Path, tmp_path: Path) -> None:
    """One file, with every night."""
    page = tmp_path / "nights.png"
    assert 0 == report(annotations, "--figure", page).exit_code
    assert page.read_bytes().startswith(b"\x89PNG")


def test_annotations_are_needed(tmp_path: Path) -> None:
    """A folder without any says so."""
    assert "no column survey" in str(report(tmp_path).exception)
    (tmp_path / "rejects").mkdir()
    (tmp_path / "ledger.jsonl").touch()
    assert "no alert was annotated: rejects/ says why" in str(report(tmp_path).exception)
