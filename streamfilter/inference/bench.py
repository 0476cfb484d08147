"""How fast an engine is here: latency and rate per batch size and side."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamfilter.inference.engine import Engine

# A cell is measured for at least this long, and long enough for a 99th percentile to mean
# something on slow shapes too.
_CELL_S = 1.0
_LEAST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """What one batch size and side cost."""

    side_px: int
    batch: int
    runs: int
    images_per_s: float
    p50_s: float
    """Latency of one batch."""
    p99_s: float


def measure(engine: Engine, *, cell_s: float = _CELL_S) -> Iterator[Speed]:
    """Speed of every batch size at each side that the engine is used with.

    Stamps of 64, 96 and 128 px, 1, 4 and 16 at a time; or 1 and 4 tiles of the one side that the
    network takes.
    """
    side = engine.manifest.shape.side_px
    for side_px in (side,) if side else (64, 96, 128):
        for batch in (1, 4) if side else (1, 4, 16):
            yield cell(engine, batch, side_px, cell_s=cell_s)


def cell(engine: Engine, batch: int, side_px: int, *, cell_s: float = _CELL_S) -> Speed:
    """Speed of one batch size and side, after a warm-up."""
    shape = (batch, len(engine.manifest.planes), side_px, side_px)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    engine.warm_up((shape,))
    taken_s: list[float] = []
    while len(taken_s) < _LEAST_RUNS or sum(taken_s) < cell_s:
        start = time.perf_counter()
        engine.infer(images)
        taken_s.append(time.perf_counter() - start)
    p50_s, p99_s = np.percentile(taken_s, (50, 99))
    rate = batch * len(taken_s) / sum(taken_s)
    return Speed(side_px, batch, len(taken_s), rate, float(p50_s), float(p99_s))
