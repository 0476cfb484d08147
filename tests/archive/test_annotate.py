"""``streamfilter annotate`` on real packets: nothing lost, nothing twice."""

import json
import os
import resource
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_desk import Driver, annotate, packed, rows, whole
from arrow_factories import fink_like

from streamfilter.archive.annotator import Judging
from streamfilter.archive.events import Advanced, GivenUp
from streamfilter.archive.input_files import input_files
from streamfilter.archive.ledger import Entry
from streamfilter.archive.local import LocalWorkers
from streamfilter.archive.tasks import tasks_of
from streamfilter.library.filter import Filter
from streamfilter.library.tables import METADATA

TWO = 'engine.also=[{name = "stampmask", when = {above = 0.02}}]'
PACKETS = 18
HIT = "170587117053804617"
RULE = (
    "surveys.ztf.rules=[{name = 'other', plane = 'science', contaminant = 'CR', statistic = "
    "'core', above = 0.9, action = 'drop', engine = 'stampmask'}]"
)


@pytest.fixture(autouse=True)
def cached(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))


@pytest.fixture
def tars(samples: Path, tmp_path: Path) -> Path:
    """A folder of four tar archives of 18 packets, each of which is a task."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for name in ("a.tar", "b.tar", "c.tar.gz", "d.tar"):
        packed(sorted((samples / "ztf").iterdir())[:PACKETS], folder / name)
    assert 4 == len(tasks_of(input_files([str(folder)])))
    return folder


def test_an_archive_in_every_form_is_annotated(samples: Path, tmp_path: Path) -> None:
    """Containers, a tar in gzip, Parquet with stamps and damaged packets: a row for each."""
    ztf, lsst = sorted((samples / "ztf").iterdir()), sorted((samples / "lsst").glob("*.bin"))
    out, report = tmp_path / "out", tmp_path / "report.json"
    given = [
        packed(ztf[:16], tmp_path / "night.tar.gz"),
        fink_like(lsst, tmp_path / "lsst.parquet", row_group=9),
        samples / "broken",
        samples / "winter",
    ]
    done = annotate(*given, "--out", out, "--columns", "rb,snr", "--report", report)
    assert done.exit_code == 0, done.output
    found = rows(out)
    assert 16 + 25 + 4 == len(found)
    assert 5 == len(rows(out, "rejects"))
    said = json.loads(report.read_text())
    assert (50, 45, 5, 0) == tuple(
        said["audit"][name] for name in ("rows", "annotated", "rejected", "refused")
    )
    assert {"avro_malformed": 5} == said["rejected"]
    assert [] == said["audit"]["wrong"]
    by_id = {row["alert_id"]: row for row in found}
    with Filter(columns=["rb", "snr"]) as one:
        expected = one.table([*ztf[:16], *lsst]).to_pylist()
    for row in expected:
        here = by_id[row["alert_id"]]
        for name in ("survey", "ra", "dec", "time", "night", "verdict", "rule", "rb", "snr"):
            assert row[name] == here[name], name
        assert row["cr_core"] == pytest.approx(here["cr_core"], rel=1e-3, abs=1e-6)
    assert "contaminated" == by_id[HIT]["verdict"]


def test_the_output_is_parquet_by_night(samples: Path, tmp_path: Path) -> None:
    """zstd, the key first, the night in the folder's name, metadata that name what judged."""
    out = tmp_path / "out"
    assert 0 == annotate(samples / "lsst", "--out", out).exit_code
    table = pq.read_table(out / "annotations")
    assert 25 == table.num_rows
    assert ["survey", "alert_id", "object_id", "ra", "dec"] == table.column_names[:5]
    assert "night" == table.column_names[-1]
    (file, *_) = sorted((out / "annotations").rglob("*.parquet"))
    assert "ZSTD" == pq.read_metadata(file).row_group(0).column(0).compression
    said = json.loads(pq.read_schema(file).metadata[METADATA])
    assert {"version", "engine", "also", "planes", "surveys", "maps", "limits"} == set(said)
    assert not [name for name in table.column_names if "utout" in name]
    (rejected,) = rows(out, "rejects")  # a list of the samples, which is no packet
    assert "skipped" == rejected["rejected"]


@pytest.mark.parametrize(
    "changed",
    [
        (),
        ("engine.also=[{name = 'stampmask', when = {above = 0.03}}]",),
        ("engine.also=[{name = 'stampmask'}]",),
        (TWO, "surveys.ztf.priors.CR=0.02"),
        (TWO, "surveys.ztf.thresholds.CR=0.9"),
        (TWO, RULE),
        ("engine.name=stampmask", "engine.also=[{name = 'maximask', when = {above = 0.02}}]"),
    ],
)
def test_what_further_networks_judged_is_not_mixed(changed: Sequence[str]) -> None:
    """Which, when, and by what numbers and rules: all of it is in what an output is bound to."""
    with Filter(overrides=[TWO]) as begun, Filter(overrides=changed) as other:
        before, after = begun.layout, other.layout
    (further,) = before.judged_by["also"]
    assert ("stampmask", 0.02) == (further["name"], further["when"]["above"])
    assert 64 == len(further["sha256"])
    numbers = before.judged_by["surveys"]["ztf"]["also"]["stampmask"]
    assert {"priors", "thresholds"} == set(numbers)
    assert "CR" in numbers["priors"]
    assert before.digest != after.digest


def test_an_output_of_two_networks_is_resumed_with_both(samples: Path, tmp_path: Path) -> None:
    """Not with one of them; the evidence in its tables is the first one's."""
    out, hit = tmp_path / "out", samples / "lsst" / f"{HIT}.bin"
    done = annotate(hit, "--out", out, "--set", TWO)
    assert (0, True) == (done.exit_code, whole(out, 1)), done.output
    other = annotate(hit, "--out", out, "--resume")
    assert "was begun with other settings" in str(other.exception)
    assert 0 == annotate(hit, "--out", out, "--resume", "--set", TWO).exit_code
    (row,) = rows(out)
    with Filter() as alone:
        (judged,) = alone.judge(hit)
    assert row["cr_core"] == pytest.approx(judged.science["CR"].core, abs=1e-5)


def test_what_is_done_is_not_done_again(tars: Path, tmp_path: Path) -> None:
    """``--resume`` goes on; without it, or with other settings, an output is left alone."""
    out = tmp_path / "out"
    (tars / "d.tar").rename(tmp_path / "d.tar")
    assert 0 == annotate(tars, "--out", out).exit_code
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.parquet")}
    again = annotate(tars, "--out", out)
    assert (1, True) == (again.exit_code, "go on with --resume" in str(again.exception))
    other = annotate(tars, "--out", out, "--resume", "--planes", "science,difference")
    assert "was begun with other settings" in str(other.exception)
    (tmp_path / "d.tar").rename(tars / "d.tar")
    resumed = annotate(tars, "--out", out, "--resume")
    assert resumed.output.startswith(f"{PACKETS} packets"), resumed.output
    assert whole(out, 4 * PACKETS)
    assert before == {file: file.stat().st_mtime_ns for file in before}
    with (tars / "a.tar").open("ab") as file:
        file.write(b"\0")
    changed = annotate(tars, "--out", out, "--resume")
    assert "is not the file that was annotated" in str(changed.exception)


def test_a_killed_worker_s_task_is_done_by_another(tars: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of a task, twice; every packet stands there once."""
    tasks = tasks_of(input_files([str(tars)]))
    workers = LocalWorkers(Judging(), tmp_path / "out", 2)
    killed, done = 0, list[Entry]()
    for event in workers.run(tasks):
        if isinstance(event, Advanced) and killed < 2:
            os.kill(workers.pids[killed % 2], signal.SIGKILL)
            killed += 1
        elif isinstance(event, Entry):
            done.append(event)
    assert (2, 4) == (killed, len(done))
    named = {name for each in done for name in each.files}
    for file in tmp_path.rglob(".part*"):
        file.unlink()
    assert whole(tmp_path / "out", 4 * PACKETS)
    there = {str(f.relative_to(tmp_path / "out")) for f in tmp_path.rglob("part*.parquet")}
    assert named == there


def test_a_task_that_kills_its_workers_is_given_up(tars: Path, tmp_path: Path) -> None:
    """The others are done, and it is told which file it was."""
    tasks = tasks_of(input_files([str(tars / "a.tar"), str(tars / "b.tar")]))
    workers = LocalWorkers(Judging(), tmp_path / "out", 1)
    events = []
    for event in workers.run(tasks):
        events.append(event)
        if isinstance(event, Advanced) and not any(isinstance(e, GivenUp) for e in events):
            os.kill(workers.pids[0], signal.SIGKILL)
    (given_up,) = (event for event in events if isinstance(event, GivenUp))
    assert tasks[0] == given_up.task
    assert "3 workers ended while they did it, the last by SIGKILL" == given_up.why
    assert 1 == len([event for event in events if isinstance(event, Entry)])


@pytest.mark.process
def test_a_killed_driver_is_gone_on_with(tars: Path, tmp_path: Path) -> None:
    """SIGKILL once a task is done: the next run does the rest, and removes what was half done."""
    out = tmp_path / "out"
    driver = Driver(out, tars)
    driver.wait_for(lambda: driver.tasks_done() >= 1)
    driver.process.kill()
    driver.finish()
    kept = driver.tasks_done()
    assert 1 <= kept < 4
    (out / "annotations" / "night=2023-10-12" / "part-0123456789abcdef.parquet").touch()
    done = annotate(tars, "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert f"{(4 - kept) * PACKETS} packets" in done.output
    assert "audit: all there, once each" in done.output
    assert whole(out, 4 * PACKETS)


@pytest.mark.process
def test_two_drivers_do_not_write_into_one_output(tars: Path, tmp_path: Path) -> None:
    """The second is told who is at work, and the first finishes."""
    out = tmp_path / "out"
    first = Driver(out, tars / "a.tar", tars / "b.tar")
    first.wait_for(lambda: (out / "ledger.jsonl").exists())
    second = annotate(tars / "a.tar", "--out", out, "--resume")
    assert "another annotate writes into" in str(second.exception)
    assert f"process {first.process.pid} on" in str(second.exception)
    code, said = first.finish()
    assert code == 0, said
    assert whole(out, 2 * PACKETS)


@pytest.mark.process
def test_a_full_disk_ends_the_run_and_loses_nothing(tars: Path, tmp_path: Path) -> None:
    """No half file stays; with room again the run goes on."""
    out = tmp_path / "out"
    most = 40_000  # bytes of a file: the ledger fits, a night's annotations do not

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    code, said = Driver(out, tars, before=little_room).finish()
    assert 1 == code, said
    assert "streamfilter: " in said
    assert "go on with --resume" in said
    assert "Traceback" not in said
    assert [] == [file for file in out.rglob("*part*") if file.is_file()]
    done = annotate(tars, "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert whole(out, 4 * PACKETS)


def test_a_sick_file_among_many_costs_itself_alone(samples: Path, tmp_path: Path) -> None:
    """Unreadable, damaged and foreign files stand in the rejects, with their reasons."""
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(samples / "ztf", folder)
    (folder / "sick.avro").symlink_to("/proc/self/mem")  # of which no byte can be read
    (folder / "notes.txt").write_text("not a packet")
    (folder / "half.tar.gz").write_bytes(
        packed(sorted((samples / "ztf").iterdir())[:3], tmp_path / "x.tar.gz").read_bytes()[:90_000]
    )
    (folder / "bad.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"x": [1, 2]}), folder / "other.parquet")
    done = annotate(folder, "--out", out)
    assert done.exit_code == 0, done.output
    reasons = {Path(row["source"]).name: row["rejected"] for row in rows(out, "rejects")}
    expected = {
        "mem": "unreadable",
        "notes.txt": "skipped",
        "half.tar.gz": "skipped",
        "bad.parquet": "unreadable",
        "other.parquet": "survey_unknown",
    }
    assert expected == reasons
    assert len(rows(out)) in range(33, 36)  # of the cut archive what is whole
    assert "5 files or members are no packets" in done.output


def test_it_can_be_tried_first(samples: Path, tmp_path: Path) -> None:
    """A dry run writes nothing; a limit ends a run, whose cut task is done anew."""
    out = tmp_path / "out"
    dry = annotate(samples / "ztf", "--out", out, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "33 files" in dry.output
    assert "about 33 packets" in dry.output
    assert not out.exists()
    few = annotate(samples / "ztf", "--out", out, "--limit", "5")
    assert few.output.startswith("5 packets"), few.output
    assert 5 == len(rows(out))
    rest = annotate(samples / "ztf", "--out", out, "--resume")
    assert rest.exit_code == 0, rest.output
    assert whole(out, 33)


def test_an_alert_that_is_given_twice_is_told(samples: Path, tmp_path: Path) -> None:
    """Both rows stand there; the same file, given twice, is read once."""
    path = samples / "lsst" / f"{HIT}.bin"
    copy = tmp_path / "copy.bin"
    shutil.copy(path, copy)
    done = annotate(path, copy, path, "--out", tmp_path / "out")
    assert f"1 alerts are in the input more than once: lsst {HIT}" in done.output
    assert 2 == len(rows(tmp_path / "out"))


def test_a_member_that_stands_twice_in_its_archive_is_annotated_twice(
    samples: Path, tmp_path: Path
) -> None:
    """Nothing is lost, each has a place of its own, and the audit tells of the alert."""
    first, second = sorted((samples / "ztf").iterdir())[:2]
    done = annotate(packed([first, second, first], tmp_path / "a.tar"), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert whole(tmp_path / "out", 3)
    assert "1 alerts are in the input more than once" in done.output


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    """Before anything is opened or written."""
    nothing = annotate(tmp_path / "nothing", "--out", tmp_path / "out")
    assert (1, True) == (nothing.exit_code, "no file or folder" in nothing.output)
    plane = annotate(tmp_path, "--out", tmp_path / "out", "--planes", "sky")
    assert (2, True) == (plane.exit_code, "'sky'; there are science" in plane.output)
    assert not (tmp_path / "out").exists()
