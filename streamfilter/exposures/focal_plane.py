"""Collects detectors into exposures: a state machine, to which the caller passes the time.

An exposure closes when all its detectors came or its time is over. Its messages' offsets are not
committed before, so a restart in the middle reads the messages again and loses none.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from fractions import Fraction

from streamfilter.exposures.records import (
    Closing,
    DetectorArrived,
    DetectorEvidence,
    EarlierVerdict,
    ExposureVerdict,
    Irregularity,
    Judgement,
)
from streamfilter.records import Origin

Recall = Callable[[str, str], EarlierVerdict | None]
"""Returns what an earlier worker published of an instrument's exposure."""
Judge = Callable[[tuple[DetectorEvidence, ...]], Judgement]
"""Judges an exposure from the evidence of its detectors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FocalPlaneRules:
    """How long exposures wait for detectors, and how many exposures are remembered."""

    wait_s: float = 60.0
    """Since the last detector that came, so that a slow worker still closes an exposure once."""
    most_open: int = 64
    most_closed: int = 64
    """Closed exposures that are remembered, for detectors that come late."""
    most_detectors: int = 1000
    """In one exposure; LSST has 205."""

    def __post_init__(self) -> None:
        """Refuse bounds under which no exposure closes.

        Raises
        ------
        ValueError
            A bound is not positive.
        """
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True, slots=True)
class Closed:
    """A verdict, and the messages whose offsets may be committed once it is delivered."""

    verdict: ExposureVerdict
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """The result of an event: exposures that closed, and messages that change nothing."""

    closed: tuple[Closed, ...] = ()
    ignored: tuple[Origin, ...] = ()
    """Their offsets may be committed at once: nothing is published for them."""


@dataclass(slots=True)
class _Exposure:
    exposure_id: str
    instrument: str
    latest_s: float
    expected: int | None = None
    revision: int = 0
    detectors: dict[str, DetectorEvidence] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    """By detector, for those that are in no verdict yet."""
    irregular: set[Irregularity] = field(default_factory=set)

    @property
    def arrived(self) -> Fraction:
        """How many of the expected detectors came: a plane of a cube is its share of one."""
        return sum((Fraction(1, each.planes) for each in self.detectors.values()), Fraction(0))


class FocalPlanes:
    """Holds the open exposures and those that closed lately; for one thread alone."""

    def __init__(
        self, judge: Judge, rules: FocalPlaneRules | None = None, recall: Recall | None = None
    ) -> None:
        """Start with no open exposure.

        Parameters
        ----------
        judge
            Called with an exposure's detectors, without their tiles, in order of arrival.
        recall
            Asked for exposures of which not all detectors came: they may have come to an earlier
            worker, which published a verdict. None: nobody remembers.
        """
        self._judge = judge
        self._recall = recall
        self._rules = rules or FocalPlaneRules()
        # Both in order of age: the first is the oldest.
        self._open: dict[tuple[str, str], _Exposure] = {}
        self._closed: dict[tuple[str, str], _Exposure] = {}

    @property
    def open_exposures(self) -> int:
        """How many exposures wait for detectors."""
        return len(self._open)

    def wait(self, wait_s: float) -> None:
        """Change how long exposures wait for detectors, those already open included."""
        self._rules = replace(self._rules, wait_s=wait_s)

    def add(self, arrived: DetectorArrived, now_s: float) -> Step:
        """Add a detector; returns the exposures that this closes.

        Parameters
        ----------
        now_s
            Time of a clock that does not go backwards.
        """
        key = (arrived.instrument, arrived.exposure_id)
        late = key in self._closed
        exposure = self._closed.get(key) or self._open.get(key)
        if exposure is None:
            exposure = _Exposure(arrived.exposure_id, arrived.instrument, now_s)
            self._open[key] = exposure
        if not self._add_to(exposure, arrived):
            again = arrived.origin is None or arrived.origin in exposure.origins.values()
            return Step(ignored=() if again or arrived.origin is None else (arrived.origin,))
        exposure.latest_s = now_s
        if late:
            return Step((self._verdict(exposure, Closing.LATE_DETECTOR),))
        if exposure.expected is not None and exposure.arrived >= exposure.expected:
            return Step((self._close(key, Closing.COMPLETE),))
        closed = []
        while len(self._open) > self._rules.most_open:
            closed.append(self._close(next(iter(self._open)), Closing.CROWDED_OUT))
        return Step(tuple(closed))

    def tick(self, now_s: float) -> Step:
        """Close the exposures that have waited long enough."""
        over = [k for k, e in self._open.items() if now_s - e.latest_s >= self._rules.wait_s]
        return Step(tuple(self._close(key, Closing.TIMED_OUT) for key in over))

    def forget(self, partitions: Collection[tuple[str, int]]) -> None:
        """Drop detectors read from these partitions: another worker now reads and judges them."""
        for key, exposure in list(self._open.items()):
            gone = [d for d, o in exposure.origins.items() if (o.topic, o.partition) in partitions]
            for detector in gone:
                del exposure.detectors[detector], exposure.origins[detector]
            if gone and not exposure.detectors:
                del self._open[key]

    def _add_to(self, exposure: _Exposure, arrived: DetectorArrived) -> bool:
        """Add a detector to an exposure; returns False where it is a duplicate or one too many."""
        announced = arrived.detectors_expected
        if announced is not None and announced > 0:
            if exposure.expected not in (None, announced):
                exposure.irregular.add(Irregularity.EXPECTED_NUMBER_DIFFERS)
            exposure.expected = max(announced, exposure.expected or 0)
        evidence = arrived.evidence
        if evidence.detector in exposure.detectors:
            if arrived.origin is None or arrived.origin not in exposure.origins.values():
                exposure.irregular.add(Irregularity.DUPLICATE_DETECTOR)
            return False
        if exposure.expected is not None and exposure.arrived >= exposure.expected:
            exposure.irregular.add(Irregularity.MORE_DETECTORS_THAN_EXPECTED)
        if len(exposure.detectors) >= self._rules.most_detectors:
            exposure.irregular.add(Irregularity.MORE_DETECTORS_THAN_EXPECTED)
            return False
        # Tiles were published with their detector; for thousands of them they would fill memory.
        exposure.detectors[evidence.detector] = replace(evidence, tiles=())
        if arrived.origin is not None:
            exposure.origins[evidence.detector] = arrived.origin
        return True

    def _close(self, key: tuple[str, str], closing: Closing) -> Closed:
        exposure = self._open.pop(key)
        if closing is not Closing.COMPLETE and self._revised(exposure):
            closing = Closing.LATE_DETECTOR
        closed = self._verdict(exposure, closing)
        self._closed[key] = exposure
        while len(self._closed) > self._rules.most_closed:
            del self._closed[next(iter(self._closed))]
        return closed

    def _revised(self, exposure: _Exposure) -> bool:
        """Add what an earlier worker published; returns whether a detector is new to that."""
        found = self._recall and self._recall(exposure.instrument, exposure.exposure_id)
        if not found:
            return False
        earlier = {each.detector: each for each in found.detectors}
        if exposure.detectors.keys() <= earlier.keys():
            # Messages of that verdict, read again: it is published once more as it was.
            exposure.revision = found.revision - 1
            exposure.detectors = {**earlier, **exposure.detectors}
            return False
        exposure.revision = found.revision
        exposure.detectors = {**earlier, **exposure.detectors}
        return True

    def _verdict(self, exposure: _Exposure, closing: Closing) -> Closed:
        exposure.revision += 1
        detectors = tuple(exposure.detectors.values())
        irregular = set(exposure.irregular)
        if exposure.expected is not None and exposure.arrived < exposure.expected:
            irregular.add(Irregularity.DETECTORS_MISSING)
        verdict = ExposureVerdict(
            exposure_id=exposure.exposure_id,
            instrument=exposure.instrument,
            revision=exposure.revision,
            closing=closing,
            judgement=self._judge(detectors),
            detectors=detectors,
            detectors_expected=exposure.expected,
            irregularities=tuple(sorted(irregular)),
        )
        origins = tuple(exposure.origins.values())
        exposure.origins = {}
        return Closed(verdict, origins)
