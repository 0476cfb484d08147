"""The recipes of deploy/ARCHIVE.md for other engines run as they stand, on real ones."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import documents
import pyarrow.dataset as dataset
import pytest
from archive_desk import PATIENCE_S, annotate
from arrow_factories import fink_like

from streamfilter.library.filter import Filter

PAGE = documents.ROOT / "deploy" / "ARCHIVE.md"

pytestmark = [pytest.mark.night, pytest.mark.process]


@pytest.fixture
def place(samples: Path, tmp_path: Path) -> Path:
    """A folder in which ``fink`` holds Parquet of 33 alerts, in two files of two row groups."""
    (tmp_path / "fink").mkdir()
    ztf = sorted((samples / "ztf").iterdir())
    for number, some in enumerate((ztf[:16], ztf[16:])):
        fink_like(some, tmp_path / "fink" / f"{number}.parquet", row_group=9)
    return tmp_path


def run(heading: str, place: Path, home: Path) -> None:
    """Run a section's code in a process of its own, as a user would."""
    (code,) = [each for each in documents.blocks(PAGE, "python") if heading in each]
    (place / "recipe.py").write_text(code)
    local = {
        "STREAMFILTER_HOME": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell",
    }
    done = subprocess.run(
        [sys.executable, "recipe.py"], cwd=place, env=os.environ | local, text=True,
        capture_output=True, timeout=PATIENCE_S * 2, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr[-3000:]


def need(*modules: str) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"no {name}: it is no part of the project, install it to try this recipe")


def compare(place: Path, samples: Path, home: Path) -> None:
    """Hold what a recipe wrote against the library, alert by alert."""
    found = dataset.dataset(place / "annotations", partitioning="hive").to_table().to_pylist()
    with Filter(columns=["rb"], overrides=[f"engine.home={home}"]) as one:
        expected = {row["alert_id"]: row for row in one.table(samples / "ztf").to_pylist()}
    assert 33 == len(found) == len({row["alert_id"] for row in found})
    for row in found:
        same = expected[row["alert_id"]]
        for name in ("survey", "verdict", "rule", "time", "rejected", "flaggable"):
            assert same[name] == row[name], name
        assert row["rb"] == pytest.approx(same["rb"])
        assert row["cr_core"] == pytest.approx(same["cr_core"], rel=1e-3, abs=1e-6)
        assert same["science"]["class"] == row["science"]["class"]


def test_spark_calls_the_filter(place: Path, samples: Path, engine_home: Path) -> None:
    """``mapInArrow``, on Spark in local mode: executors with Python processes of their own."""
    need("pyspark", "pandas")
    run("mapInArrow", place, engine_home)
    compare(place, samples, engine_home)


def test_dask_dataframes_call_the_filter(place: Path, samples: Path, engine_home: Path) -> None:
    """``map_partitions``, which LSDB has too."""
    need("dask", "pandas")
    run("map_partitions", place, engine_home)
    compare(place, samples, engine_home)


def test_ray_calls_the_filter(place: Path, samples: Path, engine_home: Path) -> None:
    """``map_batches``, on Ray as it starts by itself."""
    need("ray", "pandas")
    run("map_batches", place, engine_home)
    compare(place, samples, engine_home)


def test_annotations_become_a_hats_catalogue(place: Path, samples: Path, engine_home: Path) -> None:
    """A row for each annotation, and the struct of a plane as it was."""
    need("hats_import")
    settings = ("--set", "engine.name=stampmask", "--set", f"engine.home={engine_home}")
    assert 0 == annotate(place / "fink", "--out", place / "annotations", *settings).exit_code
    run("hats_import", place, engine_home)
    catalogue = place / "hats" / "contaminants" / "dataset"
    rows = dataset.dataset(catalogue, format="parquet", exclude_invalid_files=True).to_table()
    assert 33 == rows.num_rows
    assert {"alert_id", "ra", "dec", "science"} <= set(rows.column_names)
