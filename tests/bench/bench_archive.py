"""Archives: alerts/s of ``annotate`` beside the engine's own stamps/s, and its memory.

    python tests/bench/bench_archive.py [--json] [--alerts N] [--workers N]

A tar archive and a Fink-like Parquet file are made of real ZTF packets. The engine's own rate is
measured before and after each, with as many threads as there are workers.
"""

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import checkout  # noqa: F401 - finds what is imported below
import pyarrow as pa
import pyarrow.parquet as pq
from arrow_factories import records
from bench_stream import engine_rate
from machine import facts

from streamfilter.inference.cache import default_home
from training.samples import absent, samples_folder

ENGINE, STAMP_PX = "maximask", 63  # the default engine, and the side of ZTF's stamps


@dataclass(frozen=True, kw_only=True)
class Run:
    """One archive."""

    form: str
    alerts: int
    engine_stamps_per_s: float
    alerts_per_s: float
    """While the workers had their tasks: without opening the network."""
    share_of_engine: float
    whole_s: float
    peak_mb: float
    """Memory of driver and workers together; shared pages count for each."""


def make_tar(files: list[Path], alerts: int, path: Path) -> None:
    """An archive of so many packets, as ZTF's nightly one: each a container."""
    contents = [file.read_bytes() for file in files]
    with tarfile.open(path, "w") as archive:
        for number, content in zip(range(alerts), itertools.cycle(contents), strict=False):
            member = tarfile.TarInfo(f"{number}.avro")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def make_parquet(files: list[Path], alerts: int, path: Path) -> None:
    """A file of so many rows with all stamps, in row groups of 250."""
    table = pa.Table.from_pylist(records(files))
    whole = pa.concat_tables([table] * -(-alerts // table.num_rows)).slice(0, alerts)
    pq.write_table(whole, path, row_group_size=250)


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    pids = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                pids.append(int(stat.parent.name))
        except OSError:  # it ended
            continue
    return sum(_of_one(each) for each in pids)


def _of_one(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def annotate(path: Path, out: Path, workers: int) -> tuple[float, float]:
    """Run the command; returns its seconds and its peak memory in MB."""
    command = [sys.executable, "-m", "streamfilter", "annotate", str(path), "--out", str(out)]
    started, peak = time.monotonic(), 0.0
    with subprocess.Popen([*command, "--workers", str(workers)]) as process:
        while process.poll() is None:
            peak = max(peak, resident_mb(process.pid))
            time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"annotate ended with {process.returncode}")
    return time.monotonic() - started, peak


def measured(form: str, path: Path, folder: Path, workers: int, alerts: int) -> Run:
    """One archive, between two measurements of the engine."""
    home = default_home(os.environ)
    before = engine_rate(ENGINE, home, workers, STAMP_PX)
    out = folder / form
    whole_s, peak_mb = annotate(path, out, workers)
    engine = (before + engine_rate(ENGINE, home, workers, STAMP_PX)) / 2
    lines = (out / "ledger.jsonl").read_text().splitlines()[1:]
    busy_s = sum(json.loads(line)["seconds"] for line in lines)
    rate = alerts * workers / busy_s
    return Run(
        form=form,
        alerts=alerts,
        engine_stamps_per_s=round(engine, 1),
        alerts_per_s=round(rate, 1),
        share_of_engine=round(rate / engine, 2),
        whole_s=round(whole_s, 1),
        peak_mb=round(peak_mb),
    )


def main() -> None:
    """Measure both forms and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alerts", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    samples = samples_folder()
    files = sorted((samples / "ztf").glob("24*.avro"))
    if not files:
        raise SystemExit(absent(samples))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tar(files, options.alerts, folder / "night.tar")
        make_parquet(files, options.alerts, folder / "night.parquet")
        runs = [
            measured(form, folder / f"night.{form}", folder, options.workers, options.alerts)
            for form in ("tar", "parquet")
        ]
    if options.json:
        print(json.dumps({"machine": facts("onnxruntime"), "runs": [asdict(r) for r in runs]}))
        return
    for run in runs:
        print(
            f"{run.form}: {run.alerts_per_s}/s of the engine's {run.engine_stamps_per_s}/s: "
            f"{run.share_of_engine}; {run.alerts} alerts in {run.whole_s} s, "
            f"at most {run.peak_mb} MB"
        )


if __name__ == "__main__":
    main()
