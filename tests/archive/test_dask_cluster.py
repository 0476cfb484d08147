"""``annotate --engine dask`` on a real cluster of processes: as on one machine, whoever dies."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archive_desk import Driver, annotate, packed, rows, whole
from dask_desk import Cluster

from streamfilter.archive.annotator import DriverGone, Judging, annotate_task
from streamfilter.archive.driver import Order
from streamfilter.archive.driver import annotate as annotate_order
from streamfilter.archive.input_files import input_files
from streamfilter.archive.tasks import tasks_of
from streamfilter.errors import StreamfilterError
from streamfilter.library.filter import Filter

QUICK = ("--set", "engine.name=stampmask")
COPIES = 5
"""Of each real packet in an archive: a task takes seconds."""


@pytest.fixture(autouse=True)
def cached(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))


@pytest.fixture(scope="module")
def cluster(engine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers of one thread; the tests of this cluster leave it as it was."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STREAMFILTER_HOME", str(engine_home))
        with Cluster(tmp_path_factory.mktemp("cluster"), 2) as made:
            yield made


@pytest.fixture
def own(cached: None, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test alone, which may kill its processes."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with Cluster(folder, 2) as made:
        yield made


@pytest.fixture
def tars(samples: Path, tmp_path: Path) -> Path:
    """A folder of four tar archives, each of which is a task of some seconds."""
    folder, copies = tmp_path / "tars", tmp_path / "copies"
    for each in (folder, copies):
        each.mkdir()
    for file in sorted((samples / "ztf").iterdir())[:10]:
        for number in range(COPIES):  # each member has a name of its own
            (copies / f"{number}-{file.name}").symlink_to(file)
    for name in ("a.tar", "b.tar", "c.tar", "d.tar"):
        packed([*copies.iterdir()], folder / name)
    assert 4 == len(tasks_of(input_files([str(folder)])))
    return folder


PACKETS = 10 * COPIES


def on(cluster: Cluster) -> Sequence[str]:
    return "--engine", "dask", "--scheduler", cluster.address


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row, with what batches of other sizes may change in the last digit as it is compared."""
    flat = {key: value for key, value in row.items() if key != "science"}
    return {
        k: pytest.approx(v, rel=1e-4, abs=1e-6) if isinstance(v, float) else v
        for k, v in flat.items()
    }


@pytest.mark.night
@pytest.mark.process
def test_a_cluster_writes_the_rows_that_this_machine_writes(
    cluster: Cluster, samples: Path, tmp_path: Path
) -> None:
    """Packets of two surveys and damaged ones, each once; and nothing more with ``--resume``."""
    given: list[str | Path] = [samples / "ztf", samples / "lsst", samples / "broken", *QUICK]
    assert 0 == annotate(*given, "--out", tmp_path / "local", "--workers", "1").exit_code
    code, said = Driver(tmp_path / "dask", *given, *on(cluster)).finish()
    assert (0, True) == (code, "audit: all there, once each" in said), said
    for table, count in (("annotations", 33 + 25), ("rejects", 5 + 1)):
        here, there = (
            sorted(rows(tmp_path / name, table), key=lambda row: (row["source"], row["index"] or 0))
            for name in ("local", "dask")
        )
        assert count == len(here)
        assert [told(row) for row in here] == [
            {name: value for name, value in row.items() if name != "science"} for row in there
        ]


@pytest.mark.night
@pytest.mark.process
def test_killed_workers_lose_and_double_nothing(own: Cluster, tars: Path, tmp_path: Path) -> None:
    """SIGKILL of all workers while they have tasks, before the first is done and after it."""
    out = tmp_path / "out"
    driver = Driver(out, tars, *on(own))
    assert own.kill_workers_at_work(driver.process)
    driver.wait_for(lambda: driver.tasks_done() >= 1)
    assert own.kill_workers_at_work(driver.process)
    code, said = driver.finish()
    assert (0, True) == (code, "audit: all there, once each" in said), said
    assert f"{4 * PACKETS} packets" in said
    assert whole(out, 4 * PACKETS)


@pytest.mark.night
@pytest.mark.process
def test_a_killed_driver_is_gone_on_with(own: Cluster, tars: Path, tmp_path: Path) -> None:
    """What the cluster was still doing for it is not finished, and done by the next."""
    out = tmp_path / "out"
    driver = Driver(out, tars, *on(own))
    driver.wait_for(lambda: driver.tasks_done() >= 1)
    driver.process.kill()
    driver.finish()
    kept = driver.tasks_done()
    assert 1 <= kept < 4
    code, said = Driver(out, tars, "--resume", *on(own)).finish()
    assert (0, True) == (code, "audit: all there, once each" in said), said
    assert f"{(4 - kept) * PACKETS} packets" in said
    assert whole(out, 4 * PACKETS)


@pytest.mark.night
@pytest.mark.process
def test_a_killed_scheduler_ends_the_run_which_can_be_gone_on_with(
    own: Cluster, tars: Path, tmp_path: Path
) -> None:
    """In words, and on whatever does it next: here on this machine."""
    out = tmp_path / "out"
    driver = Driver(out, tars, *on(own))
    driver.wait_for(lambda: driver.tasks_done() >= 1)
    own.scheduler.kill()
    code, said = driver.finish()
    assert 1 == code, said
    assert f"the Dask scheduler at {own.address} is gone" in said
    assert "go on with --resume" in said
    done = annotate(tars, "--out", out, "--resume")
    assert (0, True) == (done.exit_code, "audit: all there, once each" in done.output), done.output
    assert whole(out, 4 * PACKETS)


@pytest.mark.night
@pytest.mark.process
def test_a_task_that_kills_its_workers_is_given_up(
    own: Cluster, tars: Path, tmp_path: Path
) -> None:
    """It is named, and the run ends with 3; ``--resume`` tries it again."""
    out, one = tmp_path / "out", tars / "a.tar"
    driver = Driver(out, one, *on(own))
    kills = 0
    while own.kill_workers_at_work(driver.process):
        kills += 1
    code, said = driver.finish()
    assert 3 == code, said
    assert kills >= 3
    assert f"given up: {one}: several workers of the cluster ended" in said
    code, said = Driver(out, one, "--resume", *on(own)).finish()
    assert 0 == code, said
    assert whole(out, PACKETS)


@pytest.mark.night
@pytest.mark.process
def test_a_worker_that_would_write_something_else_is_refused(
    cluster: Cluster, samples: Path, tmp_path: Path
) -> None:
    """Another version or setting there, another folder of that name, a run that has ended."""
    from streamfilter.archive import dask_cluster

    quick = Judging(overrides=("engine.name=stampmask",))
    (task, *_) = tasks_of(input_files([str(samples / "ztf")]))
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".driver").write_text("process 1 on here\nnow\n")
    job = dask_cluster.Job(judging=quick, folder=folder, run="now", digest="0123456789ab")
    cases = {
        "would write another output": job,
        "does not have": replace(job, folder=tmp_path / "elsewhere"),
        "has ended": replace(job, run="before"),
    }
    with cluster.client() as client:
        for words, each in cases.items():
            found = client.submit(dask_cluster.work, each, task, None, pure=False).result()
            assert isinstance(found, StreamfilterError)
            assert words in str(found)
    assert [] == list(folder.rglob("*part*"))


@pytest.mark.night
@pytest.mark.process
def test_a_limit_is_kept_to_by_a_cluster(cluster: Cluster, samples: Path, tmp_path: Path) -> None:
    """And what it cut is done anew, by whatever goes on."""
    out = tmp_path / "out"
    code, said = Driver(out, samples / "ztf", "--limit", "5", *QUICK, *on(cluster)).finish()
    assert (0, 5) == (code, len(rows(out))), said
    code, said = Driver(out, samples / "ztf", "--resume", *QUICK, *on(cluster)).finish()
    assert 0 == code, said
    assert whole(out, 33)


@pytest.mark.night
@pytest.mark.process
def test_a_scheduler_that_is_not_there_is_told(samples: Path, tmp_path: Path) -> None:
    """Before the output is begun."""
    out = tmp_path / "out"
    nowhere = ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")
    code, said = Driver(out, samples / "ztf", *QUICK, *nowhere).finish()
    assert 2 == code, said
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in said
    assert not out.exists()


def test_without_its_driver_nothing_is_finished(samples: Path, tmp_path: Path) -> None:
    """A worker that was taken for dead, and still is at work, leaves no file."""
    (task, *_) = tasks_of(input_files([str(samples / "ztf")]))
    with Filter(engine="stampmask") as filter_, pytest.raises(DriverGone):
        annotate_task(filter_, task, tmp_path, driver_there=lambda: False)
    assert [] == [file for file in tmp_path.rglob("*part*") if file.is_file()]


def test_a_cluster_and_its_address_go_together(tmp_path: Path) -> None:
    """Neither is taken without the other, and a cluster has workers of its own."""
    here = (tmp_path, "--out", tmp_path / "out")
    for wrong in (
        ("--engine", "dask"),
        ("--scheduler", "tcp://127.0.0.1:9"),
        ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9", "--workers", "2"),
    ):
        assert 2 == annotate(*here, *wrong).exit_code


def test_a_missing_extra_is_named(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the commands that install it."""
    monkeypatch.delitem(sys.modules, "streamfilter.archive.dask_cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    order = Order(
        paths=(str(samples / "ztf"),),
        out=tmp_path / "out",
        judging=Judging(overrides=("engine.name=stampmask",)),
        workers=1,
        scheduler="tcp://127.0.0.1:9",
    )
    with pytest.raises(StreamfilterError, match=r"\[dask\]"):
        annotate_order(order, lambda event, size: None)
