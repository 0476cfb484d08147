"""Verdicts as an Arrow table."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from streamfilter.errors import ConfigurationInvalid
from streamfilter.library.filter import Filter
from streamfilter.library.tables import METADATA

HIT = "170587117053804617"


@pytest.fixture(scope="module")
def one(engine_home: Path) -> Iterator[Filter]:
    """A filter of three planes, with columns of the surveys."""
    columns = ["drb", "reliability", "band:text", "isdiffpos:text"]
    home = [f"engine.home={engine_home}"]
    with Filter(
        planes=["science", "template", "difference"], columns=columns, overrides=home
    ) as made:
        yield made


@pytest.fixture(scope="module")
def table(one: Filter, samples: Path) -> pa.Table:
    """Of three folders, damaged packets among them."""
    folders = [samples / name for name in ("ztf", "lsst", "broken")]
    files = [file for each in folders for file in sorted(each.iterdir()) if file.suffix != ".json"]
    with pytest.warns(UserWarning, match="does not fit"):
        return one.table(files)


def test_a_packet_is_a_row(table: pa.Table, samples: Path) -> None:
    """Judged or rejected; none is missing, and each has its place."""
    count = sum(len(list((samples / name).glob("*"))) for name in ("ztf", "lsst", "broken")) - 1
    assert count == table.num_rows == len(set(table["source"].to_pylist()))
    rejected = [each for each in table.to_pylist() if each["rejected"] is not None]
    assert ["avro_malformed"] * 5 == [each["rejected"] for each in rejected]
    assert all("sync marker" in each["detail"] and each["verdict"] is None for each in rejected)


def test_a_row_says_what_is_published(one: Filter, table: pa.Table, samples: Path) -> None:
    """Flat columns and lists have the values of the record, of every packet."""
    rows = {row["source"]: row for row in table.to_pylist() if row["rejected"] is None}
    assert len(rows) > 50
    for judged in one.judge(list(rows)):
        row, record = rows[judged.source], judged.record()
        verdict = record["verdict"]
        assert (verdict["label"], verdict["action"]) == (row["verdict"], row["action"])
        assert (verdict["contaminant"], verdict["rule"]) == (row["contaminant"], row["rule"])
        for name in ("survey", "alert_id", "object_id"):
            assert record[name] == row[name]
        for plane in ("science", "template", "difference"):
            stamp, lists = record[plane], row[plane]
            assert stamp["not_evaluated"] == row[f"{plane}_not_evaluated"]
            if lists is None:
                assert stamp["not_evaluated"] is not None
                continue
            assert {len(lists["class"])} == {len(each) for each in lists.values()}
            for at, code in enumerate(lists["class"]):
                found = {name: lists[name][at] for name in lists if name != "class"}
                assert stamp[code.lower()] == found
        if row["science"] is not None:
            at = row["science"]["class"].index("CR")
            assert row["science"]["core"][at] == row["cr_core"]


def test_a_row_has_position_time_and_night(table: pa.Table) -> None:
    """In degrees and UTC; ZTF's night has the date of its UTC, Rubin's that of its evening."""
    rows = [row for row in table.to_pylist() if row["rejected"] is None]
    assert all(0 <= row["ra"] < 360 and -90 <= row["dec"] <= 90 for row in rows)
    (ztf,) = (row for row in rows if row["alert_id"] == "2475433850015010009")
    assert ("2023-10-12", "2023-10-12T10:25:15") == (
        ztf["night"], ztf["time"].isoformat()[:19],
    )  # fmt: skip
    (lsst,) = (row for row in rows if row["alert_id"] == HIT)
    assert lsst["time"].date().isoformat() > lsst["night"] > "2025"


def test_columns_of_the_survey_stand_behind_ours(table: pa.Table) -> None:
    """Numbers as numbers, texts as texts, null where the survey has none."""
    rows = {row["alert_id"]: row for row in table.to_pylist()}
    assert 1.0 == rows[HIT]["reliability"]
    assert rows[HIT]["band"] in "ugrizy"
    assert rows[HIT]["drb"] is None
    ztf = rows["2475433850015010009"]
    assert 0 <= ztf["drb"] <= 1
    assert ztf["isdiffpos"] in ("t", "f", "0", "1")
    assert (pa.float64(), pa.string()) == (table.schema.field("drb").type, table["band"].type)


def test_metadata_name_what_judged(one: Filter, table: pa.Table) -> None:
    """Network, priors, thresholds, rules and version."""
    said = json.loads(table.schema.metadata[METADATA])
    assert 64 == len(said["engine"]["sha256"])
    assert ["science", "template", "difference"] == said["planes"]
    assert {"cosmic-ray", "trail"} <= {rule["name"] for rule in said["surveys"]["ztf"]["rules"]}
    assert said["surveys"]["lsst"]["priors"]["CR"] > 0


def test_a_column_of_another_form_is_refused() -> None:
    """Before the network is opened."""
    with pytest.raises(ConfigurationInvalid, match="column 'drb:number': expected NAME"):
        Filter(columns=["drb:number"])
