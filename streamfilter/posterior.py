"""Prior change: corrects the network's output for how common each class is where it is used.

Each class is a binary question of its own (fourteen sigmoids, not a softmax). With training prior
a and deployment prior b, P' = P / (P + F (1 - P)), F = [a/(1-a)] [(1-b)/b]: the odds are divided by
F. The change is monotonic, so it moves thresholds but no ROC curve.
Source: Paillassa, Bertin & Bouy 2020, A&A 634, A48, section 4.4.
"""

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Probability = TypeVar("Probability", float, Floats)

_CERTAIN = 1e-13  # log-odds of 30; a float32 is within 6e-8 of 1, or is 1


def factor(training: Probability, deployment: Probability) -> Probability:
    """Returns F, by which the odds are divided when the prior changes; priors are in (0, 1)."""
    return training / (1.0 - training) * ((1.0 - deployment) / deployment)


def update(raw: npt.ArrayLike, training: npt.ArrayLike, deployment: npt.ArrayLike) -> Floats:
    """Returns the posterior under the deployment prior.

    Parameters
    ----------
    raw
        Network output in [0, 1]; 0, 1 and NaN stay as they are.
    training, deployment
        Priors in (0, 1) that broadcast with ``raw``; where they are equal, nothing changes.
    """
    p = np.asarray(raw, np.float64)
    f = factor(np.asarray(training, np.float64), np.asarray(deployment, np.float64))
    return p / (p + f * (1.0 - p))


def raw_threshold(
    posterior: npt.ArrayLike, training: npt.ArrayLike, deployment: npt.ArrayLike
) -> Floats:
    """Returns the network output that has this posterior: the inverse of ``update``.

    A threshold on raw outputs makes it unnecessary to update every pixel.
    """
    return update(posterior, deployment, training)


def pooled(one: float, other: float, prior: float) -> float:
    """Returns the posterior from two posteriors under one prior, as if they were independent.

    Their log-odds are added, and the prior's are taken off once. Two networks that see the same
    pixels are not independent: it is surer than it should be, and its order is what counts.

    Parameters
    ----------
    one, other
        In [0, 1]; certainty counts as log-odds of 30, so that no voice silences the other.
    """
    log_odds = sum(_log_odds(p) for p in (one, other)) - _log_odds(prior)
    return 1.0 / (1.0 + math.exp(-log_odds))


def _log_odds(p: float) -> float:
    return math.log(max(p, _CERTAIN) / max(1.0 - p, _CERTAIN))


def update_tracking(raw: npt.ArrayLike, prior: npt.ArrayLike = 0.05) -> Floats:
    """Returns the posterior of a tracking error; half of MaxiTrack's training tiles had one."""
    return update(raw, 0.5, prior)
