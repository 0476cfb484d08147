"""Measures an engine on this machine: latency and rate per batch size and side."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streamfilter.inference.engine import Engine

# Shortest measurement of a cell; slow shapes still get enough runs for a 99th percentile.
_CELL_S = 1.0
_LEAST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed at one batch size and side."""

    side_px: int
    batch: int
    runs: int
    images_per_s: float
    p50_s: float
    """Latency of one batch."""
    p99_s: float


def measure(engines: Sequence[Engine], *, cell_s: float = _CELL_S) -> Iterator[tuple[Speed, ...]]:
    """Yields the speeds of all engines, in order, at each batch size and side in use.

    The engines are of one network. It is measured with 1, 4 and 16 stamps of each side in use, or
    with 1 and 4 tiles where it takes only one side.
    """
    facts = engines[0].manifest
    for side_px in facts.sides_px:
        for batch in (1, 4) if facts.shape.side_px else (1, 4, 16):
            yield cell(engines, batch, side_px, cell_s=cell_s)


def cell(
    engines: Sequence[Engine], batch: int, side_px: int, *, cell_s: float = _CELL_S
) -> tuple[Speed, ...]:
    """Returns the speeds at one batch size and side, after a warm-up.

    The engines take turns, batch by batch, so that other load on the machine affects all alike.
    """
    shape = (batch, len(engines[0].manifest.planes), side_px, side_px)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    for engine in engines:
        engine.warm_up((shape,))
    taken_s: list[list[float]] = [[] for _ in engines]
    while len(taken_s[0]) < _LEAST_RUNS or min(map(sum, taken_s)) < cell_s:
        for engine, times_s in zip(engines, taken_s, strict=True):
            start = time.perf_counter()
            engine.infer(images)
            times_s.append(time.perf_counter() - start)
    return tuple(_speed(side_px, batch, times_s) for times_s in taken_s)


def _speed(side_px: int, batch: int, times_s: Sequence[float]) -> Speed:
    p50_s, p99_s = np.percentile(times_s, (50, 99))
    rate = batch * len(times_s) / sum(times_s)
    return Speed(side_px, batch, len(times_s), rate, float(p50_s), float(p99_s))
