"""How the network's number and the stars' shapes rank a season's frames, and what is decided.

    python tests/bench/bench_tracking.py [--failed 0.3] [--each 4] [--kept FILE]

The frames are those of ``samples/exposures/tracking``; the truth is the ellipticity that its
table measured by other means. Printed are each frame's decision, Spearman's rank correlation of
every statistic with the ellipticity, and how well it tells the failed frames from the others (area
under the curve: 1 is always, 0.5 by chance).

Then it is tried how many tiles are enough (``few_tiles.py``): on these frames, on other real ones
and on painted ones, how many decisions differ from those with all tiles, and what a frame takes.
``--kept`` keeps what was measured for that.
"""

import argparse
import csv
import os
from dataclasses import dataclass
from pathlib import Path

import few_tiles
import numpy as np
from bench_exposures import SAMPLES
from machine import facts
from ranks import area, spearman

from streamfilter.exposures import frames
from streamfilter.exposures.records import DetectorEvidence
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine

FOLDER = SAMPLES / "exposures" / "tracking"
_NEVER = 1e-7  # of the network's output: a logarithm is taken


@dataclass(frozen=True, slots=True)
class Judged:
    """One frame: the table's ellipticity and our evidence."""

    file: str
    ellipticity: float
    evidence: DetectorEvidence

    def statistics(self) -> dict[str, float]:
        """What the frames are ranked by, each higher for a frame that trails more."""
        judgement, shapes = self.evidence.judgement, self.evidence.judgement.shapes
        raw = np.array([tile.probability or 0.0 for tile in self.evidence.tiles])
        raw = np.clip(raw, _NEVER, 1 - _NEVER)
        return {
            "network: mean log-odds of tiles": float(np.log(raw / (1 - raw)).mean()),
            "probability of both": judgement.probability or 0.0,
            "network: pooled probability": judgement.network_probability or 0.0,
            "network: mean as MaxiTrack has it": judgement.reference_mean or 0.0,
            "shapes: elongation": shapes.elongation or 1.0,
            "shapes: trail in FWHM": shapes.trail_fwhm or 0.0,
            "shapes: coherence": shapes.coherence or 0.0,
        }


def judged() -> list[Judged]:
    """Every frame of the table, the roundest first."""
    with (FOLDER / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    home, threads = default_home(os.environ), os.cpu_count() or 1
    engine = open_engine("maxitrack", "onnxruntime", home, threads)
    watcher = Watcher(engine, ExposureRules(tracking=few_tiles.EVERY))
    found = []
    for row in rows:
        (frame,) = frames.read_frame_file(str(FOLDER / row["file"]))
        evidence = watcher.judge_frame(frame).evidence
        found.append(Judged(row["file"], float(row["ellipticity"]), evidence))
    return sorted(found, key=lambda each: each.ellipticity)


def main() -> None:
    """Print decisions and ranks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--failed", type=float, default=0.3, help="ellipticity of a failure")
    parser.add_argument("--each", type=int, default=4, help="trails painted on each small frame")
    parser.add_argument("--kept", type=Path, help="where what was measured is kept")
    chosen = parser.parse_args()
    limit = chosen.failed
    print(facts("numpy", "onnxruntime", "sep"))
    found = judged()
    for each in found:
        judgement, shapes = each.evidence.judgement, each.evidence.judgement.shapes
        print(
            f"{each.file:24} ellipticity {each.ellipticity:.3f}  {judgement.decision:15}"
            f"{judgement.voice:9}probability {judgement.probability or 0:.3f}  "
            f"elongation {shapes.elongation or 1:.2f}  coherence {shapes.coherence or 0:.2f}"
        )
    truth = np.array([each.ellipticity for each in found])
    failed = truth >= limit
    print(f"\n{len(found)} frames, {failed.sum()} of ellipticity {limit} or more")
    print(f"{'':36}{'rank correlation':>18}{'area':>8}")
    for name in found[0].statistics():
        values = [each.statistics()[name] for each in found]
        print(f"{name:36}{spearman(truth, values):18.3f}{area(values, failed):8.3f}")
    few_tiles.times()
    few_tiles.table(few_tiles.kinds(chosen.kept, chosen.each))


if __name__ == "__main__":
    main()
