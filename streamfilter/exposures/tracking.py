"""Pools the evidence of tiles into decisions on detectors, and these into one on the exposure.

The reference program averages the tiles' posteriors and cannot answer "cannot tell". Here tiles are
witnesses of one common cause. Their log-odds are averaged with weights and count as those of a few
independent witnesses, because tiles of one exposure have common errors.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from streamfilter import posterior
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    Judgement,
    Shapes,
    TileEvidence,
    Voice,
)


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
    decided_at: float = 0.5
    """Posterior from which the decision is a tracking error."""
    smallest_weight: float = 1.0
    """With a smaller sum of tiles' weights, the network cannot decide "ok"."""
    shape_stars: int = 8
    """With fewer stars, shapes do not count."""
    elongated: float = 1.5
    """Median elongation that means a tracking error: a trail of 1.6 times the FWHM."""
    round: float = 1.35
    """Median elongation below which shapes mean "ok"."""
    perfect: float = 1.2
    """Median elongation below which stars do not trail, whatever the network's output."""
    coherent: float = 0.8
    """Smallest coherence of position angles in a tracking error."""
    incoherent: float = 0.5
    """Coherence below which elongated sources are galaxies or noise, not trails."""

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
        if not 0 <= self.correlation <= 1:
            raise ValueError(f"correlation is {self.correlation}; it must be in [0, 1]")
        if not 1 <= self.perfect <= self.round <= self.elongated:
            raise ValueError("perfect, round and elongated must be at least 1, in rising order")


@dataclass(frozen=True, slots=True)
class ShapeOpinion:
    """The decision that the stars' shapes give, and those that they forbid the network."""

    vote: Decision | None = None
    vetoes: frozenset[Decision] = frozenset()


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
    speaking = [tile for tile in tiles if not tile.abstains and tile.probability is not None]
    weight = sum(tile.weight for tile in speaking)
    mean = None
    if speaking:
        mean = sum(t.weight * log_odds(t.probability or 0.0, rules) for t in speaking) / weight
    raw = [tile.probability for tile in tiles if tile.probability is not None]
    reference = float(posterior.update_tracking(raw, rules.prior).mean()) if raw else None
    vote, veto = shape_vote(shapes, rules), shape_veto(shapes, rules)
    vetoes = set() if veto is None else {veto}
    if doubtful and vote is not Decision.TRACKING_ERROR:
        vetoes.add(Decision.TRACKING_ERROR)
    opinion = ShapeOpinion(vote, frozenset(vetoes))
    if doubled:
        opinion = ShapeOpinion(Decision.TRACKING_ERROR)
    return _judged(
        mean, weight, reference, (len(speaking), len(tiles) - len(speaking)), shapes, opinion, rules
    )


def judge_exposure(
    detectors: Sequence[DetectorEvidence], shapes: Shapes, rules: TrackingRules
) -> Judgement:
    """Judges an exposure from all its detectors.

    Parameters
    ----------
    shapes
        Shapes pooled over the detectors.
    """
    judgements = [d.judgement for d in detectors if d.not_evaluated is None]
    weight = sum(j.weight for j in judgements)
    mean = None
    if weight > 0:
        mean = sum(j.weight * (j.mean_log_odds or 0.0) for j in judgements) / weight
    means = [j.reference_mean for j in judgements if j.reference_mean is not None]
    counts = sum(j.tiles_used for j in judgements), sum(j.tiles_abstained for j in judgements)
    reference = float(np.mean(means)) if means else None
    votes = [_vote_of(judgement, rules) for judgement in judgements]
    vote = _majority(votes) or shape_vote(shapes, rules)
    # Vetoes are counted by detector: after a small field rotation each detector is coherent, and
    # all together are not.
    vetoes = Counter(_veto_of(judgement, rules) for judgement in judgements)
    most = frozenset(
        v for v, count in vetoes.items() if v is not None and 2 * count > len(judgements)
    )
    opinion = ShapeOpinion(vote) if vote is Decision.TRACKING_ERROR else ShapeOpinion(vote, most)
    return _judged(mean, weight, reference, counts, shapes, opinion, rules)


def without_evidence(rules: TrackingRules, shapes: Shapes | None = None) -> Judgement:
    """Returns the judgement of a detector that could not be evaluated: "cannot tell"."""
    return _judged(None, 0.0, None, (0, 0), shapes or Shapes(0), ShapeOpinion(), rules)


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


def shape_vote(shapes: Shapes, rules: TrackingRules) -> Decision | None:
    """Returns the decision of the stars' shapes; None where stars are few or shapes unclear."""
    if shapes.stars < rules.shape_stars or shapes.elongation is None or shapes.coherence is None:
        return None
    if shapes.elongation >= rules.elongated and shapes.coherence >= rules.coherent:
        return Decision.TRACKING_ERROR
    return Decision.OK if shapes.elongation < rules.round else None


def shape_veto(shapes: Shapes, rules: TrackingRules) -> Decision | None:
    """Returns the decision that the network may not take alone; None where it may take any.

    The network misses trails under two FWHM: it may not decide "ok" where all stars are elongated
    in one direction. It takes galaxies, defocus and large stars for trails: it may not decide on a
    tracking error where sources are round, or elongated in different directions.
    """
    if shapes.stars < rules.shape_stars or shapes.elongation is None or shapes.coherence is None:
        return None
    if shapes.elongation < rules.perfect:
        return Decision.TRACKING_ERROR
    if shapes.elongation < rules.round:
        return None
    if shapes.coherence >= rules.coherent:
        return Decision.OK
    return Decision.TRACKING_ERROR if shapes.coherence < rules.incoherent else None


def why_undecided(judgement: Judgement, rules: TrackingRules) -> str:
    """What kept network and stars from deciding, in words; empty where one did.

    Doubtful detectors, whose trails may be no star's, are told like others that have a veto.
    """
    if judgement.decision is not Decision.CANNOT_TELL:
        return ""
    return f"{_network_silent(judgement, rules)}; {_stars_silent(judgement.shapes, rules)}"


def _network_silent(judgement: Judgement, rules: TrackingRules) -> str:
    if judgement.probability is None:
        return f"no tile has {rules.fewest_stars} stars for the network"
    if judgement.probability >= rules.decided_at:
        return "the network sees trails, which the stars do not bear out"
    if judgement.weight < rules.smallest_weight:
        return (
            f"too little for the network: {judgement.tiles_used} tiles weigh "
            f"{judgement.weight:.2f} of {rules.smallest_weight}"
        )
    return "the network sees no trails, but stars are elongated alike"


def _stars_silent(shapes: Shapes, rules: TrackingRules) -> str:
    if shapes.stars < rules.shape_stars or shapes.elongation is None or shapes.coherence is None:
        return f"{shapes.stars} stars have a shape, {rules.shape_stars} are needed"
    if shapes.elongation < rules.round:
        return f"round stars (elongation {shapes.elongation:.2f}) were outvoted"
    if shapes.elongation >= rules.elongated:
        return (
            f"stars are elongated ({shapes.elongation:.2f}), but each its own way (coherence "
            f"{shapes.coherence:.2f})"
        )
    return (
        f"elongation {shapes.elongation:.2f} lies between round ({rules.round}) and elongated "
        f"({rules.elongated})"
    )


def _vote_of(judgement: Judgement, rules: TrackingRules) -> Decision | None:
    """Returns a detector's vote in its exposure: that of its stars, or "ok" from the network.

    A detector of few stars would otherwise have no vote against one whose stars trail or are
    doubled.
    """
    if judgement.decision is Decision.OK:
        return Decision.OK
    failed = judgement.decision is Decision.TRACKING_ERROR
    if failed and judgement.voice in (Voice.SHAPES, Voice.BOTH):
        return Decision.TRACKING_ERROR
    return shape_vote(judgement.shapes, rules)


def _veto_of(judgement: Judgement, rules: TrackingRules) -> Decision | None:
    """Returns the decision that the network may not take; also where it was vetoed before."""
    undecided = judgement.decision is Decision.CANNOT_TELL
    if undecided and (judgement.probability or 0.0) >= rules.decided_at:
        return Decision.TRACKING_ERROR
    return shape_veto(judgement.shapes, rules)


def _majority(votes: Iterable[Decision | None]) -> Decision | None:
    """Returns a tracking error where most votes are for one, as also after field rotation."""
    cast = [vote for vote in votes if vote is not None]
    failed = sum(vote is Decision.TRACKING_ERROR for vote in cast)
    return Decision.TRACKING_ERROR if 2 * failed > len(cast) else None


def _judged(
    mean: float | None,
    weight: float,
    reference: float | None,
    counts: tuple[int, int],
    shapes: Shapes,
    opinion: ShapeOpinion,
    rules: TrackingRules,
) -> Judgement:
    pooled = probability = None
    network: Decision | None = None
    if mean is not None:
        pooled = witnesses(weight, rules) * mean
        logit = pooled + float(np.log(rules.prior / (1 - rules.prior)))
        probability = float(1 / (1 + np.exp(-logit)))
        if probability >= rules.decided_at:
            network = Decision.TRACKING_ERROR
        elif weight >= rules.smallest_weight:
            network = Decision.OK
    vote = opinion.vote
    if network in opinion.vetoes:
        # Round shapes may be doubled stars that were not noticed: then the network is right, so
        # the shapes' "ok" does not count either.
        vote = None if network is Decision.TRACKING_ERROR else vote
        network = None
    decision, voice = _combined(network, vote)
    return Judgement(
        decision, voice, probability, pooled, weight, mean, reference, rules.prior, *counts, shapes
    )


def _combined(network: Decision | None, shapes: Decision | None) -> tuple[Decision, Voice]:
    """Returns a tracking error where either has one, else "ok" where either has that."""
    for decision in (Decision.TRACKING_ERROR, Decision.OK):
        if network == shapes == decision:
            return decision, Voice.BOTH
        if network == decision:
            return decision, Voice.NETWORK
        if shapes == decision:
            return decision, Voice.SHAPES
    return Decision.CANNOT_TELL, Voice.NONE
