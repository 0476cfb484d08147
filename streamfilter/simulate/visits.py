"""Simulates a night's stream: alerts in bursts, one burst per visit, each with its truth."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from streamfilter.simulate.contaminants import Truth
from streamfilter.simulate.packets import Scene, alert_id, packet, render

MIX: Mapping[str, float] = {"CR": 0.10, "TRL": 0.05, "HCL": 0.04, "DCL": 0.04, "HP": 0.03}
"""Shares of injected classes; the rest are real events. More than on a real sky, for statistics."""
CADENCE_S = 39.0
"""From one LSST visit to the next."""
# 2026-09-01 00:00 UTC: fixed, so that a seed gives the same bytes on every day.
_START_UNIX_S = 1_788_220_800.0


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedAlert:
    """One alert of the simulated survey, and the contaminant in it."""

    survey: str
    alert_id: str
    value: bytes
    key: bytes | None
    """Always None: neither survey has keys."""
    visit: int
    light_end_unix_s: float
    truth: Truth | None
    """None for a real event without contaminant."""


def alerts(
    seed: int,
    count: int,
    *,
    surveys: tuple[str, ...] = ("ztf", "lsst"),
    mix: Mapping[str, float] = MIX,
    per_visit: int = 100,
    scenes: int = 200,
    start_unix_s: float = _START_UNIX_S,
) -> Iterator[SimulatedAlert]:
    """Yields ``count`` alerts, visit by visit, with rising ids; equal arguments give equal alerts.

    Parameters
    ----------
    surveys
        The surveys take turns.
    mix
        Share of each class of contaminant; the rest are real events.
    per_visit
        Number of alerts of one visit, which share their exposure's end; a visit lasts 39 s.
    scenes
        Number of distinct skies. Each is rendered once (10 to 30 ms), and then repeated with new
        ids and times.
    start_unix_s
        When the first visit's exposure ends.

    Raises
    ------
    ValueError
        The shares of the mix exceed 1, or a number is not positive.
    """
    if sum(mix.values()) > 1 or min(mix.values(), default=0) < 0:
        raise ValueError(f"the shares of the mix are {dict(mix)}: they must sum up to at most 1")
    if min(per_visit, scenes, len(surveys)) < 1:
        raise ValueError("per_visit, scenes and the number of surveys must be at least 1")
    pool: list[Scene] = []
    for number in range(count):
        at = number % scenes
        if at == len(pool):
            pool.append(_scene(seed, at, surveys[at % len(surveys)], mix, start_unix_s))
        scene, visit = pool[at], number // per_visit
        light_end = start_unix_s + visit * CADENCE_S
        yield SimulatedAlert(
            scene.survey,
            str(alert_id(number)),
            packet(scene, number, light_end),
            None,
            visit,
            light_end,
            scene.truth,
        )


def _scene(seed: int, at: int, survey: str, mix: Mapping[str, float], start_unix_s: float) -> Scene:
    rng = np.random.default_rng([seed, at])
    codes: list[str | None] = [*mix, None]
    shares = [*mix.values(), 1 - sum(mix.values())]
    code = codes[rng.choice(len(codes), p=shares)]
    return render(rng, survey, code, object_number=at, before_unix_s=start_unix_s)
