"""Stamps a second of MaxiMask on ONNX Runtime, by batch size, side and way of using two cores.

    python tests/bench/bench_engine.py [--json] [--seconds S]

Ratios first: every row is also given relative to one 64 px stamp at a time on one thread, in
images (64 px equivalents) per second, and with the CPU seconds it cost, which what else the
machine does changes less than the wall clock.
"""

import argparse
import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.runtimes import open_engine


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of running the engine."""

    ratio: float
    """Pixels per second, relative to the first row."""
    threads: int
    """Within one batch."""
    callers: int
    """Batches in the network at a time."""
    side_px: int
    batch: int
    stamps_per_s: float
    cpu_ms_per_stamp: float
    p50_ms: float
    p99_ms: float


def run(engine: Engine, images: Tensor, callers: int, seconds: float) -> list[float]:
    """Latencies of all batches, from callers that each run for so long."""
    taken: list[float] = []

    def caller() -> None:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            engine.infer(images)
            taken.append(time.perf_counter() - start)

    workers = [threading.Thread(target=caller) for _ in range(callers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return taken


def row(engine: Engine, threads: int, callers: int, shape: tuple[int, int], first: float,
        seconds: float) -> Row:  # fmt: skip
    """Measure one way; ``first`` is the first row's rate in pixels per second, 0 for itself."""
    batch, side_px = shape
    images = np.random.default_rng(0).standard_normal((batch, 1, side_px, side_px), np.float32)
    run(engine, images, callers, 0.2)
    cpu, wall = time.process_time(), time.perf_counter()
    taken = run(engine, images, callers, seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    stamps = batch * len(taken)
    rate = stamps * side_px**2 / wall
    p50, p99 = np.percentile(taken, (50, 99))
    return Row(
        ratio=round(rate / first, 2) if first else 1.0,
        threads=threads,
        callers=callers,
        side_px=side_px,
        batch=batch,
        stamps_per_s=round(stamps / wall, 1),
        cpu_ms_per_stamp=round(1e3 * cpu / stamps, 2),
        p50_ms=round(1e3 * float(p50), 1),
        p99_ms=round(1e3 * float(p99), 1),
    )


def measure(home: Path, seconds: float) -> list[Row]:
    """One thread; both cores in one batch; both cores in two batches at a time."""
    rows: list[Row] = []
    first = 0.0
    cores = os.cpu_count() or 1
    for threads, callers in ((1, 1), (cores, 1), (1, cores)):
        engine = open_engine("maximask", "onnxruntime", home, threads)
        for side_px, batches in ((64, (1, 2, 4, 8, 16)), (96, (1, 16)), (128, (1, 16))):
            for batch in batches:
                rows.append(row(engine, threads, callers, (batch, side_px), first, seconds))
                first = first or rows[0].stamps_per_s * 64**2
        engine.close()
    return rows


def main() -> None:
    """Print the table, or JSON with the machine's facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "load_before": os.getloadavg()[0],
    }
    rows = [asdict(found) for found in measure(default_home(os.environ), chosen.seconds)]
    if chosen.json:
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))
        return
    print(" ".join(f"{key}={value}" for key, value in machine.items()))
    print(" ".join(f"{name:>16}" for name in rows[0]))
    for found in rows:
        print(" ".join(f"{value:>16}" for value in found.values()))


if __name__ == "__main__":
    main()
