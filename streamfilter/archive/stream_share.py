"""How many alerts of a stream are like labelled artefacts, and how many like labelled real ones.

The distribution over all alerts is a mixture of the two distributions that labels measure; its
weight is found by expectation maximisation. Densities are measured and not taken from posteriors:
those are not calibrated where real sources are, and weights found with them are wrong tenfold.

Source: Saerens, Latinne & Decaestecker 2002, Neural Computation 14, 21 (section 2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.archive.rule_limits import SILENT, Reals
from streamfilter.records import Rule, Statistic

Counts = npt.NDArray[np.int64]

EDGES = np.array([-7.0, -5.0, -3.5, -2.0, -1.0, 0.0, 1.0, 2.0, 3.5])
"""Between the classes of nearness, in log-odds (of pixels in the logarithm) above a limit."""
CLASSES = EDGES.size + 1
_UNSEEN = 1.0
"""Labels that are added, spread over all classes: what was not labelled is rare, not impossible."""
_CLIP = 1e-9
_ROUNDS, _CHANGE, _PLACES, _TINY = 2_000, 1e-7, 6, 1e-300
_DRAWS, _SEED = 400, 20_261_130
_QUANTILES = (0.025, 0.5, 0.975)


@dataclass(frozen=True, slots=True)
class StreamShare:
    """The share of alerts that are like the labelled artefacts, with its 95 % interval."""

    alerts: int
    share: float
    low: float
    high: float


def nearness(rules: Sequence[Rule], values: Reals) -> Counts:
    """Returns how many alerts are in each class of nearness to a drop, (CLASSES,).

    Of all dropping rules the one counts that is nearest to speaking, or furthest above its limit.

    Parameters
    ----------
    values
        (R, N), as ``Sample.values``.
    """
    nearest = np.full(values.shape[1], -np.inf)
    for rule, mine in zip(rules, values, strict=True):
        above = _scale(rule, mine) - _scale(rule, np.array([rule.above]))
        nearest = np.maximum(nearest, np.where(mine == SILENT, -np.inf, above))
    places = np.searchsorted(EDGES, nearest, side="right")
    return np.bincount(places, minlength=CLASSES)


def stream_share(real: Counts, artefacts: Counts, stream: Counts) -> StreamShare:
    """Returns the share of artefacts in a stream, by counts of each class of nearness.

    It is the median of 400 draws of the two densities, by what labels leave open of them (their
    posterior, Dirichlet's), and of the stream anew (bootstrap). The interval has 95 % of the draws:
    a share below one over the number of real labels cannot be told from none.
    """
    random = np.random.default_rng(_SEED)
    one, other = (random.dirichlet(each + _UNSEEN / CLASSES, _DRAWS) for each in (real, artefacts))
    drawn = random.multinomial(stream.sum(), stream / stream.sum(), _DRAWS)
    weights = np.quantile(_weights(one, other, drawn.astype(np.float64)), _QUANTILES)
    low, share, high = np.round(weights, _PLACES).tolist()
    return StreamShare(int(stream.sum()), share, low, high)


def _weights(one: Reals, other: Reals, stream: Reals) -> Reals:
    """Returns the weight of the other density in each stream, (D,), by densities and counts (D, K).

    Each round of expectation maximisation raises the likelihood, which has one maximum.
    """
    weight, total = np.full((len(stream), 1), 0.5), stream.sum(axis=1, keepdims=True)
    for _ in range(_ROUNDS):
        mine = weight * other
        both = np.maximum(mine + (1 - weight) * one, _TINY)
        changed = (stream * mine / both).sum(axis=1, keepdims=True) / total
        if np.abs(changed - weight).max() < _CHANGE:
            break
        weight = changed
    return weight[:, 0]


def _scale(rule: Rule, values: Reals) -> Reals:
    if rule.statistic is Statistic.PIXELS:
        return np.log(np.maximum(values, 0.5))
    clipped = np.clip(values, _CLIP, 1 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)
