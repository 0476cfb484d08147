"""Hostile bytes: what the fuzzer found once, what it starts from, and a bounded run of it."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import targets

from streamfilter.errors import MessageRejected
from streamfilter.exposures.records import FrameRefused
from streamfilter.records import Rejected


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("seed", files(targets.CORPUS), ids=name_of)
def test_every_seed_is_read_to_its_end(seed: Path) -> None:
    """A fuzzer that starts from rejections does not get far."""
    found = targets.TARGETS[seed.parent.name](seed.read_bytes())
    assert not isinstance(found, MessageRejected | Rejected | FrameRefused | None), found


def test_every_target_has_seeds() -> None:
    """And every folder of seeds has a target."""
    assert set(targets.TARGETS) == {path.name for path in targets.CORPUS.iterdir()}


@pytest.mark.parametrize("found", files(targets.REGRESSIONS), ids=lambda path: path.name)
def test_what_broke_once_does_not_again(found: Path) -> None:
    """An input that the fuzzer wrote: `<target>-...`; a name that says what it does is better."""
    targets.TARGETS[found.name.partition("-")[0]](found.read_bytes())


@pytest.mark.process
def test_a_bounded_run_breaks_nothing() -> None:
    """The same inputs on every machine, for each target; `make fuzz` goes on from there."""
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed (the extra fuzz, Linux on x86-64 alone)")
    command = [sys.executable, str(targets.HERE / "fuzz.py"), "--runs", "3000", "--fresh"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert 0 == done.returncode, done.stderr[-4000:]
    assert len(targets.TARGETS) == done.stderr.count("stat::number_of_executed_units: 3000")
