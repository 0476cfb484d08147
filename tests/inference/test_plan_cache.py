"""Kept plans: read again where all that they depend on is the same, and built by one process."""

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import cache, plan_cache
from streamfilter.inference.engine import Plans, Running
from streamfilter.inference.gpus import Gpu
from streamfilter.inference.manifest import Precision, load
from streamfilter.inference.plans import Built

KEY = plan_cache.Key(
    network="00",
    precision="float32",
    converter="",
    builder="tensorrt 10.9.0",
    gpu="NVIDIA L4",
    capability="8.9",
    options="as ever",
)

# A process that wants a plan; its build tells what it was given and waits for a line.
WANTING = """
import sys
from pathlib import Path
from streamfilter.inference import plan_cache
from streamfilter.inference.engine import Running
from streamfilter.inference.plans import Built

def say(line):
    print(line, flush=True)

def make(timings):
    say(f"making, timings {timings!r}")
    return Built(sys.stdin.readline().encode(), b"timed")

key = plan_cache.Key(**{field: "" for field in plan_cache.Key.__dataclass_fields__})
plan = plan_cache.kept_or_made("a plan", Path(sys.argv[1]), key, Running(progress=say), make)
say(f"plan {plan!r}")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "plans" / "float32-tensorrt-nvidia-l4.plan"


def made(place: Path, key: plan_cache.Key = KEY, plan: bytes = b"first") -> bytes:
    """The plan, built as ``plan`` where it must be."""
    return plan_cache.kept_or_made("it", place, key, Running(), lambda timings: Built(plan, b""))


def refused(place: Path, key: plan_cache.Key = KEY) -> str:
    """What is said where nothing may be built."""
    with pytest.raises(EngineUnavailable) as error:
        plan_cache.kept_or_made("it", place, key, Running(plans=Plans.REFUSE), never)
    return str(error.value)


def never(timings: bytes) -> Built:
    raise AssertionError("nothing is to be built")


def test_a_plan_is_built_once_and_read_again(place: Path) -> None:
    """The second time nothing is built."""
    assert b"first" == made(place)
    assert b"first" == plan_cache.kept_or_made("it", place, KEY, Running(), never)


@pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(KEY)])
def test_a_plan_for_something_else_is_named_by_what_differs(place: Path, part: str) -> None:
    """It is refused, or built anew, as the configuration says."""
    made(place)
    other = dataclasses.replace(KEY, **{part: "new"})
    assert f"does not match: its {part} is {getattr(KEY, part)!r}, here 'new'" in refused(
        place, other
    )
    assert b"second" == made(place, other, b"second")
    assert b"second" == plan_cache.kept_or_made("it", place, other, Running(), never)


def test_where_no_plan_may_be_built_the_mend_is_said(place: Path) -> None:
    """The command that builds it, and the setting."""
    assert f"there is no plan {place}, and engine.plans is 'refuse'" in refused(place)
    assert "`streamfilter engines build`" in refused(place)
    assert not place.parent.exists()


@pytest.mark.parametrize("damage", ["plan", "json"])
def test_a_damaged_plan_is_not_used(place: Path, damage: str) -> None:
    """It is held against its sha256, and built anew."""
    made(place)
    path = place.with_suffix(f".{damage}")
    path.write_bytes(path.read_bytes()[:-2])
    refused(place)
    assert b"second" == made(place, plan=b"second")


@pytest.mark.parametrize("what", ["folder", "plan"])
def test_a_plan_that_others_could_have_written_is_not_run(place: Path, what: str) -> None:
    """Nor built over: a plan is code."""
    made(place)
    (place.parent if what == "folder" else place).chmod(0o777)
    with pytest.raises(EngineUnavailable, match=r"changed by others \(owner \d+, mode .rwxrwxrwx"):
        made(place)


def test_timings_go_from_build_to_build(place: Path) -> None:
    """Those of the build before, also of another network."""
    given: list[bytes] = []

    def make(timings: bytes) -> Built:
        given.append(timings)
        return Built(b"plan", timings + b"+")

    for network in ("one", "two", "three"):
        key = dataclasses.replace(KEY, network=network)
        plan_cache.kept_or_made("it", place, key, Running(), make)
    assert [b"", b"+", b"++"] == given


def test_a_build_that_fails_leaves_what_was_there(place: Path) -> None:
    """And gives the lock back."""
    made(place)

    def fails(timings: bytes) -> Built:
        raise EngineUnavailable("no memory")

    other = dataclasses.replace(KEY, network="new")
    with pytest.raises(EngineUnavailable, match="no memory"):
        plan_cache.kept_or_made("it", place, other, Running(), fails)
    assert b"first" == plan_cache.kept_or_made("it", place, KEY, Running(), never)


@pytest.fixture
def wanting(place: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a process that wants the plan; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", WANTING, str(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines_until(process: "subprocess.Popen[str]", word: str) -> list[str]:
    """What a process says, up to the line that holds a word."""
    said: list[str] = []
    assert process.stdout is not None
    while not said or word not in said[-1]:
        line = process.stdout.readline()
        assert line, f"it ended after {said}"
        said.append(line)
    return said


@pytest.mark.process
def test_of_several_processes_one_builds(wanting: Callable[[], "subprocess.Popen[str]"]) -> None:
    """The others say that they wait, and have its plan."""
    first = wanting()
    lines_until(first, "making, timings b''")
    others = [wanting(), wanting()]
    for process in others:
        assert 1 == len(lines_until(process, "waiting for another process"))
    first.communicate("built\n", timeout=30)
    for process in others:
        assert "plan b'built\\n'\n" == process.communicate(timeout=30)[0]


@pytest.mark.process
def test_a_process_that_is_killed_while_it_builds_is_followed(
    wanting: Callable[[], "subprocess.Popen[str]"],
) -> None:
    """The next that waits builds, and nothing half-made is read."""
    first = wanting()
    lines_until(first, "making")
    second = wanting()
    lines_until(second, "waiting for another process")
    first.kill()
    lines_until(second, "making")
    assert "plan b'built\\n'\n" in second.communicate("built\n", timeout=30)[0]


@pytest.mark.engine
def test_a_real_plan_is_kept_beside_the_network(engine_home: Path, tmp_path: Path) -> None:
    """At both precisions; by a builder that needs no GPU."""
    rtx: ModuleType = pytest.importorskip(
        "tensorrt_rtx", reason="no builder of plans: pip install -e '.[rtx]'"
    )
    manifest, gpu = load("maxitrack"), Gpu(name="NVIDIA RTX A6000", capability="8.6")
    path = tmp_path / "maxitrack.onnx"
    shutil.copy(cache.onnx_path(manifest, engine_home), path)
    for precision in plan_cache.PRECISIONS:
        running = Running(precision=precision)
        plan = plan_cache.plan_for(rtx, manifest, path, gpu, running, elsewhere="SM86")
        again = plan_cache.plan_for(
            rtx, manifest, path, gpu, Running(precision=precision, plans=Plans.REFUSE)
        )
        assert hashlib.sha256(plan).digest() == hashlib.sha256(again).digest()
    kept = plan_cache.kept(path)
    assert ["float32", "fp16"] == [each.key.precision for each in kept]
    assert {(manifest.onnx_sha256, "8.6")} == {(k.key.network, k.key.capability) for k in kept}


def test_a_precision_that_plans_have_not_is_refused(tmp_path: Path) -> None:
    """Before anything is read."""
    gpu, running = Gpu(name="", capability=""), Running(precision=Precision.BF16)
    with pytest.raises(EngineUnavailable, match="no precision 'bf16'; choose 'float32' or 'fp16'"):
        plan_cache.plan_for(sys, load("maxitrack"), tmp_path / "none", gpu, running)
