"""Judges frames and exposures: sky, tiles, network, star shapes, evidence; without any I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from streamfilter.exposures import shapes, sky, tile_choice, tiles, tracking
from streamfilter.exposures.records import (
    DetectorEvidence,
    Frame,
    FrameReason,
    FrameRefused,
    Judgement,
    TileEvidence,
)
from streamfilter.exposures.refusal import NO_MEMORY
from streamfilter.exposures.sky import Mesh
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.inference.engine import Engine
from streamfilter.records import Image

TRACKING_ERROR = "TRACKING_ERROR"
"""Code of the network's output for a tracking error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExposureRules:
    """How frames and exposures are judged."""

    mesh: Mesh = field(default_factory=Mesh)
    tracking: TrackingRules = field(default_factory=TrackingRules)
    batch: int = 8
    """Tiles per call of the network: 8 of 400 px take about 0.4 GB."""
    largest_saturated: float = 0.5
    """A frame with a larger share of saturated pixels is not evaluated."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedFrame:
    """A detector's evidence, with its image in units of sigma and the stars in it."""

    evidence: DetectorEvidence
    image: Image | None = None
    """None where the frame was not evaluated; so are ``stars``."""
    stars: shapes.Stars | None = None


class Watcher:
    """Judges detectors and exposures with one network."""

    def __init__(self, engine: Engine, rules: ExposureRules | None = None) -> None:
        """Use an engine; the caller, who opened it, closes it.

        Raises
        ------
        ValueError
            The engine has no output for a tracking error.
        """
        if TRACKING_ERROR not in engine.manifest.codes:
            raise ValueError(
                f"engine {engine.manifest.name} gives {engine.manifest.codes}, no {TRACKING_ERROR}"
            )
        self._engine = engine
        self._rules = rules or ExposureRules()
        self._output = engine.manifest.codes.index(TRACKING_ERROR)
        self._side = engine.manifest.shape.side_px or tiles.SIDE_PX

    @property
    def engine(self) -> Engine:
        """The network that judges tiles."""
        return self._engine

    def assume(self, prior: float) -> None:
        """Change the prior of a tracking error, for later judgements; any thread may call this."""
        tracking_rules = replace(self._rules.tracking, prior=prior)
        self._rules = replace(self._rules, tracking=tracking_rules)

    def judge_frame(self, frame: Frame | FrameRefused) -> JudgedFrame:
        """Judges one detector. No content of a frame raises an exception."""
        if isinstance(frame, FrameRefused):
            return JudgedFrame(self._without(frame, frame.reason, frame.detail))
        if frame.set_aside is not None:
            aside = self._without(frame, None, frame.set_aside.detail)
            return JudgedFrame(replace(aside, not_judged=frame.set_aside.reason))
        try:
            return self._judged(frame)
        except MemoryError:
            return JudgedFrame(self._without(frame, FrameReason.TOO_LARGE, NO_MEMORY))

    def _judged(self, frame: Frame) -> JudgedFrame:
        """Judges one detector whose frame was read."""
        reason, detail = self._unfit(frame)
        if reason is not None:
            return JudgedFrame(self._without(frame, reason, detail))
        masked = sky.unusable(frame.image, frame.masked)
        normalised = sky.normalise(frame.image, masked, self._rules.mesh)
        if isinstance(normalised, FrameReason):
            return JudgedFrame(self._without(frame, normalised, "no sky could be measured"))
        image, background = normalised
        saturation = None
        if frame.saturation is not None:
            saturation = (frame.saturation - background.median_level) / background.median_sigma
        stars = shapes.find(image, masked, saturation, frame.binning)
        found, rules = shapes.measure(stars), self._rules.tracking
        doubled = shapes.doubled(stars)
        doubtful = stars.unmeasured or frame.binning[0] != frame.binning[1]
        squares = tiles.cut((image.shape[0], image.shape[1]), masked, self._side)
        witnesses = tile_choice.asked(
            [self._witness(tile, stars) for tile in squares],
            lambda numbers: self.probabilities(image, [squares[number] for number in numbers]),
            lambda judged: tracking.settled(
                judged, found, rules, doubled=doubled, doubtful=doubtful
            ),
            enough=rules.tiles_enough,
            batch=self._rules.batch,
        )
        judgement = tracking.judge_detector(
            witnesses, found, rules, doubled=doubled, doubtful=doubtful
        )
        evidence = DetectorEvidence(
            frame.source,
            frame.hdu,
            frame.detector,
            judgement,
            tiles=witnesses,
            planes=frame.planes,
        )
        return JudgedFrame(evidence, image, stars)

    def judge(self, detectors: Sequence[DetectorEvidence]) -> Judgement:
        """Judges an exposure from its detectors."""
        known = [d.judgement.shapes for d in detectors if tracking.is_judged(d)]
        return tracking.judge_exposure(detectors, shapes.pool(known), self._rules.tracking)

    def probabilities(self, image: Image, where: Sequence[tiles.Tile]) -> list[float]:
        """Returns the raw network output for a tracking error, by tile."""
        outputs: list[float] = []
        for start in range(0, len(where), self._rules.batch):
            batch = tiles.stacked(image, where[start : start + self._rules.batch])
            outputs.extend(float(p) for p in self._engine.infer(batch)[:, self._output])
        return outputs

    def _witness(self, tile: tiles.Tile, stars: shapes.Stars) -> TileEvidence:
        """Returns a tile's evidence before the network is asked."""
        count = stars.inside(tile.y, tile.x, tile.side)
        weight = tracking.tile_weight(count, tile.unmasked, tile.share, self._rules.tracking)
        if stars.crossed(tile.y, tile.x, tile.side):
            weight = 0.0  # the network takes a satellite's trail for that of the stars
        return TileEvidence(tile.y, tile.x, None, count, tile.unmasked, tile.share, weight)

    def _unfit(self, frame: Frame) -> tuple[FrameReason | None, str]:
        """Returns why a frame cannot be evaluated, as far as known before its sky is measured."""
        height, width = frame.image.shape
        if min(height, width) < self._side:
            detail = f"{width} x {height} px; a tile has {self._side} x {self._side}"
            return FrameReason.TOO_SMALL, detail
        if frame.saturation is None:
            return None, ""
        share = float(np.count_nonzero(frame.image >= frame.saturation)) / frame.image.size
        constant = share == 1.0 and bool((frame.image == frame.image[0, 0]).all())
        if share > self._rules.largest_saturated and not constant:
            return FrameReason.SATURATED, f"{share:.0%} of the pixels"
        return None, ""

    def _without(
        self, frame: Frame | FrameRefused, reason: FrameReason | None, detail: str
    ) -> DetectorEvidence:
        return DetectorEvidence(
            source=frame.source,
            hdu=frame.hdu,
            detector=frame.detector,
            judgement=tracking.without_evidence(self._rules.tracking),
            not_evaluated=reason,
            detail=detail,
            planes=frame.planes,
        )
