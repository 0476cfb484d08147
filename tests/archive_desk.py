"""What the tests of archives share: the command, and what it wrote."""

import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from click.testing import CliRunner, Result

from streamfilter.cli import root

PATIENCE_S = 240.0


def packed(files: Sequence[Path], path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for file in files:
            archive.add(file.resolve(), file.name)
    return path


def annotate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, ["annotate", *map(str, arguments)])


def rows(out: Path, table: str = "annotations") -> list[dict[str, Any]]:
    """All rows, with the night of the folder."""
    found: list[dict[str, Any]] = []
    for file in sorted((out / table).rglob("*.parquet")):
        night = file.parent.name.removeprefix("night=")
        found += [row | {"night": night} for row in pq.ParquetFile(file).read().to_pylist()]
    return found


def places(out: Path) -> Counter[tuple[str, int]]:
    """How often each packet stands in the annotations."""
    return Counter((row["source"], row["index"]) for row in rows(out))


def whole(out: Path, count: int) -> bool:
    """Whether so many packets stand there, once each, and nothing unfinished."""
    found = places(out)
    hidden = [file for file in out.rglob(".*part*") if file.is_file()]
    return (count, [], {1}) == (len(found), hidden, set(found.values()))


class Driver:
    """``streamfilter annotate`` in a process of its own."""

    def __init__(self, out: Path, *arguments: str | Path, before: Callable[[], None] | None = None):
        self.out = out
        command = [sys.executable, "-m", "streamfilter", "annotate", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*command, "--out", str(out)], preexec_fn=before, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait_for(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not ready():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.02)

    def tasks_done(self) -> int:
        ledger = self.out / "ledger.jsonl"
        return ledger.read_text().count("\n") - 1 if ledger.exists() else 0

    def finish(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said
