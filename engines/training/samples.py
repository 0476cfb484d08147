"""Where real packets and frames lie, for training, tests and benches (tests/SAMPLES.md)."""

import os
from pathlib import Path

BESIDE = Path(__file__).parents[3] / "shared" / "samples"


def samples_folder() -> Path:
    """Returns the folder ``STREAMFILTER_SAMPLES``, or ``shared/samples`` beside the checkout."""
    return Path(os.environ.get("STREAMFILTER_SAMPLES") or BESIDE)


def absent(folder: Path) -> str:
    """Returns what to say where the folder, or what is sought in it, is not there."""
    return f"no real packets or frames at {folder}: set STREAMFILTER_SAMPLES"
