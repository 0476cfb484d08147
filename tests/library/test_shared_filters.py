"""One filter for a process, however many call for it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

import streamfilter
from streamfilter.errors import EngineUnavailable
from streamfilter.library import shared_filters
from streamfilter.library.filter import Filter
from streamfilter.library.shared_filters import shared_filter

SETTINGS = ("engine.name=stampmask",)


@pytest.fixture(autouse=True)
def closed(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No filter of one test stays for the next."""
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))
    yield
    for shared in shared_filters._opened.values():
        assert 0 == shared.users
        shared.filter.close()
    shared_filters._opened.clear()


def test_calls_with_the_same_settings_share_a_filter() -> None:
    """One after the other, and at the same time."""
    with shared_filter(overrides=SETTINGS) as first, shared_filter(overrides=SETTINGS) as second:
        assert first is second
    with shared_filter(overrides=SETTINGS) as third:
        assert first is third


def test_a_filter_that_nobody_uses_gives_way_to_another() -> None:
    """One that is used stays open; a process of a cluster outlives its jobs."""
    with shared_filter(overrides=SETTINGS) as first:
        with shared_filter(overrides=SETTINGS, columns=["drb"]) as other:
            assert first is not other
        assert first.layout.digest
    with shared_filter(overrides=SETTINGS, columns=["rb"]):
        for gone in (first, other):
            with pytest.raises(EngineUnavailable):
                gone.__enter__()


def test_a_file_of_settings_that_has_changed_is_read_again(tmp_path: Path) -> None:
    """Though its name is the same."""
    site = tmp_path / "site.toml"
    site.write_text('[engine]\nname = "stampmask"\n')
    with shared_filter(site) as first:
        pass
    site.write_text('[engine]\nname = "stampmask"\n[surveys.ztf.priors]\nCR = 0.02\n')
    os.utime(site, ns=(1, 1))
    with shared_filter(site) as second:
        assert first is not second


def test_batches_are_annotated_by_threads_at_once(samples: Path) -> None:
    """Each with its own packets, as ``Filter.annotate`` would."""
    files = sorted((samples / "ztf").iterdir())[:4]
    batches = [pa.record_batch({"packet": [file.read_bytes()]}) for file in files]

    def annotated(batch: pa.RecordBatch) -> list[str]:
        found = streamfilter.annotate_batches(iter([batch]), overrides=SETTINGS)
        return [row["alert_id"] for each in found for row in each.to_pylist()]

    with ThreadPoolExecutor(4) as pool:
        found = [each for some in pool.map(annotated, batches) for each in some]
    with Filter(overrides=SETTINGS) as one:
        expected = [row["alert_id"] for row in one.table(files).to_pylist()]
    assert expected == found
    assert 1 == len(shared_filters._opened)
