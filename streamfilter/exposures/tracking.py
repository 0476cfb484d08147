"""Tiles to detectors to exposures: pooled evidence, decisions with the voice that spoke.

The reference program averages the tiles' posteriors and cannot say "cannot tell". Here tiles are
witnesses of one common cause: their log-odds are averaged under weights and count as few
independent witnesses, because tiles of one exposure err together.
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
    """Of a tracking error, before looking."""
    fewest_stars: int = 3
    """In a tile; with fewer the network flags 69 to 94 % of good tiles, so they abstain."""
    half_weight_stars: float = 5.0
    """A tile with so many stars counts half as much as one full of stars."""
    smallest_unmasked: float = 0.5
    """Share of a tile with data, below which it abstains."""
    error_rate: float = 0.02
    """Of the network on a tile of clear stars: no tile speaks more surely than that."""
    correlation: float = 0.3
    """Between the errors of tiles: however many there are, they count as 1/0.3 = 3.3."""
    decided_at: float = 0.5
    """Posterior from which on it is a tracking error."""
    smallest_weight: float = 1.0
    """Sum of tiles' weights below which the network cannot say that all is well."""
    shape_stars: int = 8
    """Fewest stars whose shapes may speak."""
    elongated: float = 1.5
    """Median elongation that speaks for a tracking error: a trail of 1.6 times the FWHM."""
    round: float = 1.35
    """Median elongation below which shapes say that all is well."""
    perfect: float = 1.2
    """Median elongation below which stars do not trail; the network then sees something else."""
    coherent: float = 0.8
    """Coherence of position angles that a tracking error has at least."""
    incoherent: float = 0.5
    """Coherence below which sources that are not round are galaxies or noise."""

    def __post_init__(self) -> None:
        """Refuse rules that decide nothing.

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
class Stars:
    """What the stars' shapes say, and what the network may not say against them."""

    vote: Decision | None = None
    vetoes: frozenset[Decision] = frozenset()


def tile_weight(stars: int, unmasked: float, share: float, rules: TrackingRules) -> float:
    """Weight of a tile's log-odds in [0, 1); 0 where it abstains.

    Parameters
    ----------
    stars
        Sources in it.
    unmasked
        Share of pixels with data.
    share
        Share of its area that is its own when overlaps are divided evenly.
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
    """What the tiles and the stars of one detector say.

    Parameters
    ----------
    doubled
        Whether the stars have companions all at one offset.
    doubtful
        Whether the network may not convict alone: what it sees may be no star's trail.
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
    say = Stars(vote, frozenset(vetoes))
    if doubled:
        say = Stars(Decision.TRACKING_ERROR)
    return _judged(
        mean, weight, reference, (len(speaking), len(tiles) - len(speaking)), shapes, say, rules
    )


def judge_exposure(
    detectors: Sequence[DetectorEvidence], shapes: Shapes, rules: TrackingRules
) -> Judgement:
    """What all detectors of an exposure say together.

    Parameters
    ----------
    shapes
        Pooled over the detectors.
    """
    found = [d.judgement for d in detectors if d.not_evaluated is None]
    weight = sum(j.weight for j in found)
    mean = None
    if weight > 0:
        mean = sum(j.weight * (j.mean_log_odds or 0.0) for j in found) / weight
    means = [j.reference_mean for j in found if j.reference_mean is not None]
    counts = sum(j.tiles_used for j in found), sum(j.tiles_abstained for j in found)
    reference = float(np.mean(means)) if means else None
    votes = [_vote_of(judgement, rules) for judgement in found]
    vote = _majority(votes) or shape_vote(shapes, rules)
    # By detector: in a field that turned a little, each is coherent and all together are not.
    vetoes = Counter(_veto_of(judgement, rules) for judgement in found)
    most = frozenset(v for v, count in vetoes.items() if v is not None and 2 * count > len(found))
    stars = Stars(vote) if vote is Decision.TRACKING_ERROR else Stars(vote, most)
    return _judged(mean, weight, reference, counts, shapes, stars, rules)


def nothing(rules: TrackingRules, shapes: Shapes | None = None) -> Judgement:
    """The judgement where nothing could be looked at."""
    return _judged(None, 0.0, None, (0, 0), shapes or Shapes(0), Stars(), rules)


def log_odds(probability: float, rules: TrackingRules) -> float:
    """Of a tile's raw output, no surer than the network is right."""
    p = min(max(probability, rules.error_rate), 1 - rules.error_rate)
    return float(np.log(p / (1 - p)))


def witnesses(weight: float, rules: TrackingRules) -> float:
    """Number of independent tiles that count as much as correlated ones of this total weight."""
    return weight / (1 + max(weight - 1, 0.0) * rules.correlation)


def shape_vote(shapes: Shapes, rules: TrackingRules) -> Decision | None:
    """What the stars' shapes say; None where they are too few or in between."""
    if shapes.stars < rules.shape_stars or shapes.elongation is None or shapes.coherence is None:
        return None
    if shapes.elongation >= rules.elongated and shapes.coherence >= rules.coherent:
        return Decision.TRACKING_ERROR
    return Decision.OK if shapes.elongation < rules.round else None


def shape_veto(shapes: Shapes, rules: TrackingRules) -> Decision | None:
    """The decision that the network may not take alone; None where it may take any.

    It misses trails under two FWHM, so of stars that are elongated alike it does not say that all
    is well. It takes galaxies, defocus and large stars for trails, so of sources that are round, or
    elongated each its own way, it does not say that they trail.
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
    """What a detector's stars said, doubled ones too; that it is well may be the network's word.

    A detector of few stars would else have no vote against one whose stars trail or are doubled.
    """
    if judgement.decision is Decision.OK:
        return Decision.OK
    failed = judgement.decision is Decision.TRACKING_ERROR
    if failed and judgement.voice in (Voice.SHAPES, Voice.BOTH):
        return Decision.TRACKING_ERROR
    return shape_vote(judgement.shapes, rules)


def _veto_of(judgement: Judgement, rules: TrackingRules) -> Decision | None:
    """What the network may not say of a detector; a conviction that came to nothing tells too."""
    undecided = judgement.decision is Decision.CANNOT_TELL
    if undecided and (judgement.probability or 0.0) >= rules.decided_at:
        return Decision.TRACKING_ERROR
    return shape_veto(judgement.shapes, rules)


def _majority(votes: Iterable[Decision | None]) -> Decision | None:
    """A tracking error where most detectors that vote fail, also in a field that turned."""
    cast = [vote for vote in votes if vote is not None]
    failed = sum(vote is Decision.TRACKING_ERROR for vote in cast)
    return Decision.TRACKING_ERROR if 2 * failed > len(cast) else None


def _judged(
    mean: float | None,
    weight: float,
    reference: float | None,
    counts: tuple[int, int],
    shapes: Shapes,
    stars: Stars,
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
    vote = stars.vote
    if network in stars.vetoes:
        # Doubled stars that were not noticed are round: then the network is right.
        vote = None if network is Decision.TRACKING_ERROR else vote
        network = None
    decision, voice = _combined(network, vote)
    return Judgement(
        decision, voice, probability, pooled, weight, mean, reference, rules.prior, *counts, shapes
    )


def _combined(network: Decision | None, shapes: Decision | None) -> tuple[Decision, Voice]:
    """A tracking error where either sees one, else well where either says so."""
    for decision in (Decision.TRACKING_ERROR, Decision.OK):
        if network == shapes == decision:
            return decision, Voice.BOTH
        if network == decision:
            return decision, Voice.NETWORK
        if shapes == decision:
            return decision, Voice.SHAPES
    return Decision.CANNOT_TELL, Voice.NONE
