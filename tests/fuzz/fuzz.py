"""Coverage-guided fuzzing of everything that takes bytes from a stream (atheris, libFuzzer).

    python tests/fuzz/fuzz.py                        all targets, 60 s each
    python tests/fuzz/fuzz.py stamp --seconds 600
    python tests/fuzz/fuzz.py --runs 2000            bounded by inputs: the same on any machine

An input that breaks a target (an exception that is not ours, over 10 s, over 2 GiB) is written to
``tests/fuzz/regressions/<target>-<sha1>``; ``tests/fuzz/test_fuzz.py`` replays what stands there.
What is found on the way to it stays in ``.cache/fuzz/<target>`` for the next run.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
with atheris.instrument_imports(include=["streamfilter"]):
    import targets

FOUND = HERE.parent.parent / ".cache" / "fuzz"
# A message takes milliseconds; the machine may be busy.
_HANG_S = 10
_MEMORY_MB = 2048
# Each FITS block is 2,880 bytes, and a frame of two HDUs with pixels has six.
_LONGEST_BYTES = 32_768


def arguments(name: str, found: Path, options: argparse.Namespace) -> list[str]:
    """libFuzzer's own; it adds to the first folder what brings it further."""
    keep = found / name
    keep.mkdir(parents=True, exist_ok=True)
    bound = f"-runs={options.runs}" if options.runs else f"-max_total_time={options.seconds}"
    return [
        name, bound, f"-seed={options.seed}", f"-timeout={_HANG_S}",
        f"-rss_limit_mb={_MEMORY_MB}", f"-max_len={_LONGEST_BYTES}", "-print_final_stats=1",
        f"-artifact_prefix={targets.REGRESSIONS}/{name}-", "-verbosity=0",
        str(keep), str(targets.CORPUS / name),
    ]  # fmt: skip


def fuzz(name: str, found: Path, options: argparse.Namespace) -> int:
    """Fuzz one target in a process of its own; its exit status."""
    child = os.fork()
    if child == 0:
        atheris.Setup(arguments(name, found, options), targets.TARGETS[name])
        atheris.Fuzz()  # ends the process
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """All chosen targets, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target, not seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="neither use nor keep .cache/fuzz")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(targets.TARGETS):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(targets.TARGETS)}")
    targets.REGRESSIONS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(scratch) if options.fresh else FOUND
        names = options.targets or targets.TARGETS
        failed = [name for name in names if fuzz(name, found, options)]
    print(f"broken: {', '.join(failed)}" if failed else "nothing broke", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
