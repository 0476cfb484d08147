"""Prove TensorRT's runner on this machine's GPU, and write a report of it; run by `make gpu`.

    python tests/inference/prove_on_gpu.py [--report gpu-report.md]

The exit code is 1 where there is no GPU (then no report is written) or where a test fails.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import gpus

ROOT = Path(__file__).parent.parent.parent
# The checks that need a GPU, and the contract that every runtime keeps.
TESTS = ("tests/inference/test_on_gpu.py", "tests/inference/test_conformance.py")
CHOSEN = "on_gpu or tensorrt"
PACKAGES = ("streamfilter", "tensorrt", "pycuda", "onnxruntime", "numpy")


def main() -> int:
    """Run the tests, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--report", type=Path, default=Path("gpu-report.md"))
    parser.add_argument("-k", dest="chosen", default=CHOSEN, help="of pytest; default: %(default)s")
    given = parser.parse_args()
    try:
        gpu = gpus.here()
    except EngineUnavailable as why:
        print(f"nothing was proved and no report written: {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            *TESTS,
            "-k",
            given.chosen,
            f"--junitxml={results}",
            "-o",
            "junit_family=xunit1",
        ]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        suite = ElementTree.parse(results).getroot()
    lines = [f"# TensorRT on {gpu.name}", "", *facts(gpu), "", *summary(suite), "", *rows(suite)]
    given.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"report: {given.report.resolve()}")
    return 1 if code else 0


def facts(gpu: gpus.Gpu) -> list[str]:
    """What it was proved on."""
    cuda = gpus.driver()
    built = ".".join(map(str, cuda.get_version()))
    driver = cuda.get_driver_version()
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": f"`{Path(sys.executable).name} {' '.join(sys.argv)}`",
        "commit": said("git", "rev-parse", "HEAD"),
        "GPU": f"{gpu.name}, compute capability {gpu.capability}",
        "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "CUDA": f"{driver // 1000}.{driver % 1000 // 10} of the driver, pycuda built for {built}",
        "Python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        **{name: installed(name) for name in PACKAGES},
    }
    return [
        "| what | which |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in found.items()),
    ]


def said(*command: str) -> str:
    """The first line that a command prints; `unknown` where it cannot be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"


def installed(name: str) -> str:
    """The version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def summary(suite: ElementTree.Element) -> list[str]:
    """How many of which outcome."""
    outcomes = [outcome(case)[0] for case in suite.iter("testcase")]
    counts = {each: outcomes.count(each) for each in ("passed", "FAILED", "skipped")}
    return [", ".join(f"{each}: {count}" for each, count in counts.items())]


def rows(suite: ElementTree.Element) -> list[str]:
    """A line for each test, with what it measured, or why it did not."""
    lines = ["| test | outcome | measured |", "|---|---|---|"]
    for case in suite.iter("testcase"):
        result, why = outcome(case)
        measured = [f"{each.get('name')} {each.get('value')}" for each in case.iter("property")]
        text = "; ".join([*measured, *([why] if why else [])]).replace("|", "/")
        lines.append(f"| {case.get('name')} | {result} | {text} |")
    return lines


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    """What became of a test, and why."""
    for tag, word in (("failure", "FAILED"), ("error", "FAILED"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return word, " ".join((found.get("message") or "").split())[:300]
    return "passed", ""


if __name__ == "__main__":
    sys.exit(main())
