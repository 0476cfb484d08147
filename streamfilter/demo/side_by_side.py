"""Both networks for stamps, side by side on the same simulated alerts."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streamfilter.alerts.verdict import in_doubt
from streamfilter.config import Settings
from streamfilter.contaminants import BY_CODE
from streamfilter.files import bundled_folder
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest
from streamfilter.records import (
    ClassPrior,
    Doubt,
    Message,
    Origin,
    Plane,
    Rejected,
    StampEvidence,
)
from streamfilter.service.assembly.alerts import open_parts
from streamfilter.service.assembly.clients import Say
from streamfilter.simulate.visits import SimulatedAlert

REAL = "real event"
FIRST, FURTHER = "stampmask", "maximask"
DOUBT = Doubt(classes=("CR", "TRL", "HCL", "DCL", "HP", "DP"), above=0.02)
"""Where the second is worth asking (deploy/RULES.md, two engines)."""


@dataclass(slots=True)
class Network:
    """What one network found, and what it cost."""

    name: str
    found: Counter[str] = field(default_factory=Counter)
    """By injected class or REAL, alerts with a contaminant above its threshold at their place."""
    ms: float = 0.0
    """Of one core, for one alert."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two networks on the same alerts."""

    alerts: Counter[str]
    """By injected class, or REAL."""
    networks: tuple[Network, Network]
    doubted: int
    """Alerts in which the first is in doubt (``DOUBT``)."""

    @property
    def doubted_ms(self) -> float:
        """Milliseconds for an alert, where the second is asked about the doubted ones alone."""
        first, further = self.networks
        return first.ms + further.ms * self.doubted / max(self.alerts.total(), 1)


class _Timed:
    """An engine of one thread that adds up how long it computes, whatever else runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds, self.stamps = 0.0, 0

    @property
    def manifest(self) -> Manifest:
        return self._engine.manifest

    @property
    def runtime(self) -> str:
        return self._engine.runtime

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        self._engine.warm_up(shapes)

    def infer(self, batch: Tensor) -> Tensor:
        started = time.thread_time()
        found = self._engine.infer(batch)
        self.seconds += time.thread_time() - started
        self.stamps += len(batch)
        return found

    def close(self) -> None:
        self._engine.close()


def settings(home: Path | None) -> Settings:
    """Returns settings by which both networks judge every alert."""
    return Settings.model_validate(
        {
            "schemas": {"folders": [str(bundled_folder("schemas") / "simulated")]},
            "engine": {
                "name": FIRST,
                "home": str(home) if home else None,
                "also": [{"name": FURTHER}],
            },
        }
    )


def compare(alerts: Sequence[SimulatedAlert], *, home: Path | None, say: Say) -> SideBySide:
    """Judge alerts by both networks, on one core."""
    parts = open_parts(settings(home), threads=1, say=say)
    timed = _Timed(parts.engine), _Timed(parts.also[0])
    for each in timed:
        size, planes = each.manifest.sides_px[0], len(each.manifest.planes)
        each.warm_up(((1, planes, size, size),))
    networks, doubted = (Network(FIRST), Network(FURTHER)), 0
    messages = (Message(Origin("demo", 0, n), each.value) for n, each in enumerate(alerts))
    judged = parts.pipeline.judge(timed[0], messages, also=timed[1:])
    counted: Counter[str] = Counter()
    for alert, outcome in zip(alerts, judged, strict=True):
        if isinstance(outcome, Rejected):
            continue
        annotation = outcome[1]
        truth = alert.truth.code if alert.truth else REAL
        counted[truth] += 1
        (opinion,) = annotation.also
        voices = (annotation.stamps, annotation.priors), (opinion.stamps, opinion.priors)
        for network, (stamps, priors) in zip(networks, voices, strict=True):
            network.found[truth] += _found(stamps, priors)
        doubted += in_doubt(DOUBT, annotation.stamps[0].classes)
    for network, each in zip(networks, timed, strict=True):
        network.ms = 1e3 * each.seconds / max(each.stamps, 1)
    return SideBySide(counted, networks, doubted)


def _found(stamps: Sequence[StampEvidence], priors: Sequence[ClassPrior]) -> bool:
    """Returns whether a contaminant is above its threshold at the alert's place."""
    (science,) = (each for each in stamps if each.plane is Plane.SCIENCE)
    return any(
        science.classes[row.code].core > row.threshold
        for row in priors
        if row.code in science.classes and not BY_CODE[row.code].normal
    )
