"""``streamfilter plan`` says what a survey needs, and from which rates."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from foreign_words import foreign_words

from streamfilter.cli.engines import engines
from streamfilter.cli.plan import plan

LSST = ("--alerts-per-visit", "10000", "--cadence", "37")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(plan, [*LSST, *arguments], catch_exceptions=False)


def document(*arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return made


def test_workers_and_partitions_are_told() -> None:
    """80 stamps/s of a core: three workers of two cores."""
    text = run("--rate", "80").stdout
    assert "workers of 2 cores" in text
    assert "80.0 stamps/s of a core, as given" in text
    found = document("--rate", "80")["cpu"]
    assert (3, 6) == (found["fleet"]["workers"], found["partitions"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--side", "32"), "--side 32: the sides of maximask are 64, 96, 128"),
        (("--engine", "maxitrack"), "--engine maxitrack judges exposures"),
    ],
)
def test_what_the_engine_does_not_have_is_refused(arguments: tuple[str, ...], words: str) -> None:
    """With what it has."""
    found = run("--rate", "80", *arguments)
    assert 2 == found.exit_code
    assert words in found.stderr


def test_a_further_engine_takes_its_share() -> None:
    """A core that does 800 of one and 80 of the other does 267 with a fifth of both."""
    both = ("--engine", "stampmask", "--rate", "800", "--also", "maximask", "--also-rate", "80")
    found = document(*both, "--also-share", "0.2")
    assert 1 / (1 / 800 + 0.2 / 80) == pytest.approx(found["rate"]["stamps_per_s_of_a_core"])
    assert (
        "800.0 of the first network, as given, and 80.0 of maximask for 20%"
        in (found["rate"]["source"])
    )
    alone, always = document(*both[:4]), document(*both)
    out = [each["cpu"]["streams"]["output_kept"] for each in (alone, found, always)]
    assert sorted(out) == out
    assert out[0] < out[2]
    assert alone["cpu"]["fleet"]["workers"] < always["cpu"]["fleet"]["workers"]
    assert "sides of stampmask" not in run(*both, "--side", "32").stdout


def test_no_rate_of_a_gpu_is_made_up() -> None:
    """It is unknown, and the plan says how to measure it."""
    assert "unknown: no rate of a GPU was given" in run("--rate", "80").stdout
    assert document("--rate", "80")["gpu"] is None
    assert 1 == document("--rate", "80", "--gpu-rate", "5000")["gpu"]["workers"]


@pytest.mark.engine
def test_the_output_of_bench_is_a_rate(tmp_path: Path, engine_home: Path) -> None:
    """It is the best rate of one core at that side in the benchmark's document."""
    (path := tmp_path / "bench.json").write_text(
        CliRunner().invoke(
            engines, ["bench", "maximask", "--runtime", "onnxruntime", "--json", "--seconds", "0"]
        ).stdout
    )  # fmt: skip
    speeds = json.loads(path.read_text())["engines"][0]["speeds"]
    best = max(each["images_per_s"] for each in speeds if each["side_px"] == 64)
    assert best == document("--bench", str(path))["rate"]["stamps_per_s_of_a_core"]


@pytest.mark.engine
def test_a_rate_that_is_not_given_is_measured_here(engine_home: Path) -> None:
    """The plan says that the rate was measured here."""
    assert "measured here on onnxruntime" in run().stdout


def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path) -> None:
    """The error says which command writes one."""
    (path := tmp_path / "x.json").write_text("{}")
    result = run("--bench", str(path))
    assert 1 == result.exit_code
    assert "is not the output of `streamfilter engines bench maximask --json" in result.stderr
    assert [] == foreign_words(result.stderr.removeprefix("Error: "))


def test_too_few_partitions_are_told() -> None:
    """The plan says what helps when the survey has fixed their number."""
    assert "2 partitions feed at most 2 workers" in run("--rate", "20", "--partitions", "2").stdout


def test_exposures_need_both_numbers() -> None:
    """They are the number of detectors and the speed of one worker."""
    assert 2 == run("--rate", "80", "--detectors", "189").exit_code
    text = run("--rate", "80", "--detectors", "189", "--frame-rate", "10").stdout
    assert "by the one worker that has it" in text


@pytest.mark.engine
def test_a_whole_focal_plane_is_computed_from_a_measured_core(engine_home: Path) -> None:
    """Cores add up, what no GPU has done is not made up, and masks cost more than tracking."""
    command = ["--camera", "decam", "--json"]
    found = json.loads(CliRunner().invoke(plan, command, catch_exceptions=False).stdout)
    rows = found["focal_plane"]["exposure"]
    for row in rows:
        assert 8 * row["s_on_16_cores"] == pytest.approx(row["s_on_2_cores"], abs=1)
        assert row["s_on_a_gpu"] is None
    spent = [row["s_on_2_cores"] for row in rows]
    assert sorted(spent) == spent
    assert 62 == found["focal_plane"]["camera"]["detectors"]


def test_a_camera_or_alerts_are_needed() -> None:
    """The error says which options go together."""
    for arguments in ([], ["--cadence", "37"], ["--alerts-per-visit", "10"]):
        found = CliRunner().invoke(plan, arguments)
        assert (2, True) == (found.exit_code, "go together" in found.stderr)
