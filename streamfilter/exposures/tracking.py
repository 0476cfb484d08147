"""Pools the evidence of tiles into decisions on detectors, and these into one on the exposure.

The reference program averages the tiles' posteriors and cannot answer "cannot tell". Here tiles are
witnesses of one common cause. Their log-odds are averaged with weights and count as those of a few
independent witnesses, because tiles of one exposure have common errors. What they and the stars'
shapes say together is one probability, and the decision follows from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from streamfilter import posterior
from streamfilter.exposures import likelihood
from streamfilter.exposures.likelihood import Likelihood
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    Judgement,
    Shapes,
    TileEvidence,
    Voice,
)

_SURE = 3.0
"""Standard errors within which the mean of all tiles is expected, from those that were judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingRules:
    """How evidence becomes a decision."""

    prior: float = 0.05
    """Probability of a tracking error before any evidence."""
    fewest_stars: int = 3
    """Tiles with fewer stars abstain: the network flags 69 to 94 % of the good ones among them."""
    half_weight_stars: float = 5.0
    """A tile with this many stars counts half as much as one full of stars."""
    smallest_unmasked: float = 0.5
    """A tile with a smaller share of pixels with data abstains."""
    error_rate: float = 0.02
    """Of the network on a tile of clear stars: no tile's output counts as more certain."""
    correlation: float = 0.3
    """Between the errors of tiles: any number of tiles counts as at most 1/0.3 = 3.3."""
    tiles_enough: int = 8
    """Tiles of a detector that the network judges before their evidence is weighed; it goes on
    while those left could change the decision. 0: it judges all, also those that abstain."""
    decided_at: float = 0.5
    """Probability from which the decision is a tracking error."""
    unsure_from: float = 0.45
    """Probability from which, up to ``decided_at``, nobody can tell."""
    smallest_weight: float = 1.0
    """With a smaller sum of tiles' weights, the network cannot decide "ok"."""
    shape_stars: int = 8
    """With fewer stars, shapes do not count."""
    elongated: float = 1.5
    """Median elongation at and above which stars trail, if all in one direction."""
    round: float = 1.35
    """Median elongation below which they do not."""
    likelihood: Likelihood = field(default_factory=Likelihood)
    """What network and shapes are worth."""

    def __post_init__(self) -> None:
        """Refuse rules that cannot give a decision.

        Raises
        ------
        ValueError
            What was found, and what is expected.
        """
        for name in ("prior", "error_rate", "decided_at"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if self.tiles_enough < 0:
            raise ValueError(f"tiles_enough is {self.tiles_enough}; it must be at least 0")
        if not 0 <= self.correlation <= 1:
            raise ValueError(f"correlation is {self.correlation}; it must be in [0, 1]")
        if not 0 < self.unsure_from <= self.decided_at:
            raise ValueError(f"unsure_from is {self.unsure_from}; it must be in (0, decided_at]")
        if not 1 <= self.round <= self.elongated:
            raise ValueError("round and elongated must be at least 1, in rising order")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks of a detector or an exposure."""

    mean: float | None
    """Weighted mean of the tiles' log-odds; None where no tile speaks."""
    weight: float
    """Sum of the tiles' weights."""
    reference: float | None
    """Mean of the posteriors of the tiles that were judged."""
    tiles: tuple[int, int, int]
    """Those that spoke, those that abstained, and those that were not needed."""
    shapes: Shapes
    shape_log_odds: float | None
    doubtful: bool = False
    """Whether the network is not to be believed where it sees trails: they may be no star's."""


def tile_weight(stars: int, unmasked: float, share: float, rules: TrackingRules) -> float:
    """Returns the weight of a tile's log-odds, in [0, 1); 0 where the tile abstains.

    Parameters
    ----------
    stars
        Number of sources in the tile.
    unmasked
        Share of pixels with data.
    share
        Share of its area that counts for it when overlaps are divided evenly.
    """
    if stars < rules.fewest_stars or unmasked < rules.smallest_unmasked:
        return 0.0
    return share * unmasked * stars / (stars + rules.half_weight_stars)


def judge_detector(
    tiles: Sequence[TileEvidence],
    shapes: Shapes,
    rules: TrackingRules,
    *,
    doubled: bool = False,
    doubtful: bool = False,
) -> Judgement:
    """Judges one detector from its tiles and its stars' shapes.

    Parameters
    ----------
    doubled
        Whether the stars have companions, all at one offset.
    doubtful
        Whether the network alone cannot decide on an error, as it may not have seen star trails.
    """
    return _judged(_evidence(tiles, shapes, rules, doubled, doubtful), rules)


def settled(
    tiles: Sequence[TileEvidence],
    shapes: Shapes,
    rules: TrackingRules,
    *,
    doubled: bool = False,
    doubtful: bool = False,
) -> bool:
    """Whether the tiles that were not judged yet would not change the decision.

    They are expected to be like those that were judged: the mean of all lies within three
    standard errors of theirs.

    Parameters
    ----------
    doubled, doubtful
        As in ``judge_detector``.
    """
    evidence = _evidence(tiles, shapes, rules, doubled, doubtful)
    speaking = [tile for tile in tiles if not tile.abstains]
    odds = np.array([log_odds(t.probability, rules) for t in speaking if t.probability is not None])
    if len(odds) == len(speaking):
        return True
    if evidence.mean is None:
        return False
    # One tile shows no scatter: the largest that there can be.
    scatter = float(odds.std(ddof=1)) if len(odds) > 1 else 2 * log_odds(1.0, rules)
    margin = _SURE * scatter * (1 / len(odds) - 1 / len(speaking)) ** 0.5
    weight = sum(tile.weight for tile in speaking)
    decisions = {
        _judged(replace(evidence, mean=mean, weight=weight), rules).decision
        for mean in (evidence.mean - margin, evidence.mean + margin)
    }
    return decisions == {_judged(evidence, rules).decision}


def _evidence(
    tiles: Sequence[TileEvidence],
    shapes: Shapes,
    rules: TrackingRules,
    doubled: bool,
    doubtful: bool,
) -> Evidence:
    """Returns what a detector's tiles and its stars' shapes say."""
    speaking = [tile for tile in tiles if not tile.abstains and not tile.not_needed]
    weight = sum(tile.weight for tile in speaking)
    mean = None
    if speaking:
        mean = sum(t.weight * log_odds(t.probability or 0.0, rules) for t in speaking) / weight
    raw = [tile.probability for tile in tiles if tile.probability is not None]
    reference = float(posterior.update_tracking(raw, rules.prior).mean()) if raw else None
    known = shape_log_odds(shapes, rules)
    if doubled:
        known = max(known or 0.0, rules.likelihood.doubled)
    abstained = sum(tile.abstains for tile in tiles)
    counts = len(speaking), abstained, len(tiles) - len(speaking) - abstained
    return Evidence(mean, weight, reference, counts, shapes, known, doubtful)


def judge_exposure(
    detectors: Sequence[DetectorEvidence], shapes: Shapes, rules: TrackingRules
) -> Judgement:
    """Judges an exposure from all its detectors.

    Parameters
    ----------
    shapes
        Shapes pooled over the detectors.
    """
    judgements = [d.judgement for d in detectors if is_judged(d)]
    weight = sum(j.weight for j in judgements)
    mean = None
    if weight > 0:
        mean = sum(j.weight * (j.mean_log_odds or 0.0) for j in judgements) / weight
    means = [j.reference_mean for j in judgements if j.reference_mean is not None]
    used, abstained = (
        sum(getattr(j, name) for j in judgements) for name in ("tiles_used", "tiles_abstained")
    )
    counts = used, abstained, sum(j.tiles_not_needed for j in judgements)
    reference = float(np.mean(means)) if means else None
    # By detector: after a small field rotation each detector is coherent, and all are not.
    doubtful = 2 * sum(_set_aside(j, rules) for j in judgements) > len(judgements)
    known = _of_detectors(judgements, rules)
    if known is None:
        known = shape_log_odds(shapes, rules)
    return _judged(Evidence(mean, weight, reference, counts, shapes, known, doubtful), rules)


def is_judged(evidence: DetectorEvidence) -> bool:
    """Whether a detector counts for its exposure: it could be evaluated, and was to be judged."""
    return evidence.not_evaluated is None and evidence.not_judged is None


def without_evidence(rules: TrackingRules, shapes: Shapes | None = None) -> Judgement:
    """Returns the judgement of a detector that could not be evaluated: "cannot tell"."""
    return _judged(Evidence(None, 0.0, None, (0, 0, 0), shapes or Shapes(0), None), rules)


def log_odds(probability: float, rules: TrackingRules) -> float:
    """Returns a tile's log-odds from its raw output, limited by the network's error rate."""
    p = min(max(probability, rules.error_rate), 1 - rules.error_rate)
    return float(np.log(p / (1 - p)))


def witnesses(weight: float, rules: TrackingRules) -> float:
    """Returns the number of independent tiles with the evidence of correlated ones.

    Parameters
    ----------
    weight
        Total weight of the correlated tiles.
    """
    return weight / (1 + max(weight - 1, 0.0) * rules.correlation)


def shape_log_odds(shapes: Shapes, rules: TrackingRules) -> float | None:
    """Returns the log-odds of the stars' shapes; None where fewer than ``shape_stars`` have one."""
    if shapes.stars < rules.shape_stars:
        return None
    return likelihood.of_shapes(shapes, (rules.round, rules.elongated), rules.likelihood)


def network_log_odds(evidence: Evidence, rules: TrackingRules) -> float | None:
    """Returns the network's log-odds, no surer than it is right; None where it is not asked.

    That is where the stars have shapes, beside which it adds nothing on painted frames: it misses
    trails under two FWHM, and takes galaxies, defocus and large stars for trails.
    """
    if evidence.mean is None or evidence.shape_log_odds is not None:
        return None
    if evidence.doubtful and evidence.mean > 0:
        return None
    pooled = witnesses(evidence.weight, rules) * evidence.mean
    return likelihood.limited(pooled, rules.likelihood.alone)


def why_undecided(judgement: Judgement, rules: TrackingRules) -> str:
    """What kept network and stars from deciding, in words; empty where one did.

    Doubtful detectors, whose trails may be no star's, are told like others that have a veto.
    """
    if judgement.decision is not Decision.CANNOT_TELL:
        return ""
    return f"{_network_silent(judgement, rules)}; {_stars_silent(judgement, rules)}"


def _network_silent(judgement: Judgement, rules: TrackingRules) -> str:
    if judgement.network_probability is None:
        return f"no tile has {rules.fewest_stars} stars for the network"
    if judgement.network_probability >= rules.decided_at:
        return "the network sees trails, which the stars do not bear out"
    if judgement.weight < rules.smallest_weight:
        return (
            f"too little for the network: {judgement.tiles_used} tiles weigh "
            f"{judgement.weight:.2f} of {rules.smallest_weight}"
        )
    return "the network sees no trails, but it misses short ones"


def _stars_silent(judgement: Judgement, rules: TrackingRules) -> str:
    shapes = judgement.shapes
    if judgement.shape_log_odds is None or shapes.elongation is None:
        return f"{shapes.stars} stars have a shape, {rules.shape_stars} are needed"
    found = f"elongation {shapes.elongation:.2f}, coherence {shapes.coherence or 0.0:.2f}"
    if judgement.probability is None:
        return f"the stars do not trail ({found})"
    return f"the stars may trail or not ({found})"


def _of_detectors(judgements: Sequence[Judgement], rules: TrackingRules) -> float | None:
    """Returns the median of the detectors' log-odds; None where no detector knows its shapes.

    So most detectors decide, also after field rotation. A detector of few stars that the network
    calls well counts with the network's: it would otherwise have no voice against one whose stars
    trail or are doubled.
    """
    known = [j.shape_log_odds for j in judgements if j.shape_log_odds is not None]
    if not known:
        return None
    well = [j for j in judgements if j.shape_log_odds is None and j.decision is Decision.OK]
    alone = [likelihood.limited(j.log_odds or 0.0, rules.likelihood.alone) for j in well]
    return float(np.median([*known, *alone]))


def _set_aside(judgement: Judgement, rules: TrackingRules) -> bool:
    """Whether the network sees trails on a detector, and was not believed."""
    sees = (judgement.network_probability or 0.0) >= rules.decided_at
    return sees and judgement.probability is None


def _judged(evidence: Evidence, rules: TrackingRules) -> Judgement:
    pooled = alone = None
    if evidence.mean is not None:
        pooled = witnesses(evidence.weight, rules) * evidence.mean
        alone = likelihood.probability(pooled, rules.prior)
    known = evidence.shape_log_odds
    spoken = network_log_odds(evidence, rules) if known is None else known
    probability = None if spoken is None else likelihood.probability(spoken, rules.prior)
    sees = alone is not None and alone >= rules.decided_at
    quiet = alone is not None and not sees and evidence.weight >= rules.smallest_weight
    decision = Decision.CANNOT_TELL
    if probability is not None and probability >= rules.decided_at:
        decision = Decision.TRACKING_ERROR
    elif sees:
        if known is not None and known < 0:
            probability = None  # the voices contradict each other
    elif probability is not None and probability < rules.unsure_from:
        decision = Decision.OK if known is not None or quiet else decision
    return Judgement(
        decision=decision,
        voice=_voice(decision, known, sees=sees, quiet=quiet),
        probability=probability,
        log_odds=pooled,
        weight=evidence.weight,
        mean_log_odds=evidence.mean,
        reference_mean=evidence.reference,
        prior=rules.prior,
        tiles_used=evidence.tiles[0],
        tiles_abstained=evidence.tiles[1],
        shapes=evidence.shapes,
        network_probability=alone,
        shape_log_odds=known,
        tiles_not_needed=evidence.tiles[2],
    )


def _voice(decision: Decision, shapes: float | None, *, sees: bool, quiet: bool) -> Voice:
    """Returns which evidence speaks for a decision."""
    if decision is Decision.CANNOT_TELL:
        return Voice.NONE
    failed = decision is Decision.TRACKING_ERROR
    network = sees if failed else quiet
    stars = shapes is not None and (shapes > 0) == failed
    if network and stars:
        return Voice.BOTH
    return Voice.NETWORK if network else Voice.SHAPES
