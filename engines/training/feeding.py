"""Feeds the training: a process of its own paints the next examples while these are learned."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from training import data
from training.data import Core, Part, Planes
from training.examples import Batch, brushes, examples
from training.fields import fields
from training.profiles import with_profiles
from training.samples import samples_folder

SMALL = ("lsst", "hsc")
"""Surveys whose stamps have 30 px and a little more. Those of others are learned whole, at 64 px,
and mostly as their middle 32 px: that costs a quarter, and shows as many contaminants."""
MADE = ("field",)
SHARES = {SMALL: 0.5, MADE: 0.15}
"""Of the examples of a side at which they are learned; the rest is all others'."""
HARD = 6.0
"""An alert that is missed by one in natural logarithm is drawn this much more often, up to 9."""
CHANCES = {
    Core.REAL: 1.5, Core.LIKELY: 1.0, Core.UNKNOWN: 0.7, Core.BOGUS: 4.0, Core.DIPOLE: 4.0,
    Core.FLAGGED: 0.5, Core.NONE: 1.0,
}  # fmt: skip
"""How often an alert is drawn, by what is known of its core."""

Chances = dict[int, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the alerts are read from."""

    samples: Path | None
    packets: tuple[Path, ...] = ()
    labels: Path | None = None

    @cache  # noqa: B019 - one or two in a run, and they live as long
    def alerts(self) -> list[Planes]:
        """Returns all alerts, and the made pieces of frames to learn from."""
        known = data.labels(self.labels) if self.labels else {}
        read = list(data.packets(self.packets, known)) if self.packets else []
        made = [*fields(Part.TRAIN), *fields(Part.VALIDATION)]
        return [*(data.samples(self.samples) if self.samples else ()), *read, *made]


def by_side(alerts: Sequence[Planes], part: Part) -> dict[int, list[Planes]]:
    """Returns the alerts of a part by the side at which they are learned."""
    members = [each for each in alerts if each.part is part]
    return {64: [each for each in members if each.survey not in SMALL], 32: members}


def chances_of(
    alerts: dict[int, list[Planes]], wrong: Mapping[str, float] = MappingProxyType({})
) -> Chances:
    """Returns the chance of each alert to be drawn.

    ``wrong`` has, by alert, how wrong the network is about its core; empty before it learned.
    """
    made: Chances = {}
    for side, each in alerts.items():
        first = np.array([CHANCES[alert.core] for alert in each])
        hard = np.array([min(HARD * wrong.get(alert.alert_id, 0.0), 8.0) for alert in each])
        chances = first * (1 + hard)
        surveys = np.array([alert.survey for alert in each])
        rest = np.ones(len(each), bool)
        for group, share in SHARES.items():
            members = np.isin(surveys, group)
            if members.any():
                chances[members] *= share / chances[members].sum()
                rest &= ~members
        left = 1 - sum(s for group, s in SHARES.items() if np.isin(surveys, group).any())
        if rest.any():
            chances[rest] *= left / chances[rest].sum()
        made[side] = scaled(chances)
    return made


def scaled(chances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns chances of sum 1."""
    return chances / chances.sum() if chances.size else chances


class Painter:
    """Paints examples of one part in another process."""

    def __init__(self, sources: Sources, part: Part, counts: dict[int, int]) -> None:
        self._counts = counts
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_open, initargs=(sources, part)
        )

    def ask(self, chances: Chances, seed: int) -> "Future[dict[int, Batch]]":
        """Begin to paint; every seed gives examples of its own."""
        return self._pool.submit(_paint, self._counts, chances, seed)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(cancel_futures=True)


_alerts: dict[int, list[Planes]] = {}
_kit = brushes(())


def _open(sources: Sources, part: Part) -> None:
    hits = data.hits(sources.samples or samples_folder(), part)
    _alerts.update(by_side(with_profiles(sources.alerts()), part))
    _kit[:] = brushes(hits)


def _paint(counts: dict[int, int], chances: Chances, seed: int) -> dict[int, Batch]:
    return {
        side: examples(_alerts[side], chances[side], _kit, count, side, seed * 1000 + side)
        for side, count in counts.items()
        if _alerts[side]
    }


def batches(
    pool: dict[int, Batch], sizes: dict[int, int], passes: int, random: np.random.Generator
) -> Iterator[dict[int, Batch]]:
    """Yields batches of every side, each example ``passes`` times, turned anew each time."""
    steps = min(len(pool[side]) // sizes[side] for side in pool)
    for _ in range(passes):
        orders = {side: random.permutation(len(pool[side])) for side in pool}
        for step in range(steps):
            yield {
                side: turned(
                    pool[side].take(orders[side][step * sizes[side] : (step + 1) * sizes[side]]),
                    int(random.integers(8)),
                )
                for side in pool
            }


def turned(batch: Batch, way: int) -> Batch:
    """Returns a batch turned and flipped in one of eight ways."""

    def turn(each: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        if each.ndim < 3:
            return each
        each = np.rot90(each, way % 4, (1, 2))
        return np.ascontiguousarray(each[:, :, ::-1] if way >= 4 else each)

    return Batch(*(turn(getattr(batch, name)) for name in Batch.__slots__))  # type: ignore[arg-type]
