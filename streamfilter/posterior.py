"""Prior change: what the network says, had it been trained where it is used.

Each class is a binary question of its own (fourteen sigmoids, not a softmax). With training prior
a and deployment prior b, P' = P / (P + F (1 - P)), F = [a/(1-a)] [(1-b)/b]: the odds are divided by
F. It is monotonic, so it moves thresholds but no ROC curve.
Source: Paillassa, Bertin & Bouy 2020, A&A 634, A48, section 4.4.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Probability = TypeVar("Probability", float, Floats)


def factor(training: Probability, deployment: Probability) -> Probability:
    """F, by which odds are divided when the prior changes; priors lie strictly in (0, 1)."""
    return training / (1.0 - training) * ((1.0 - deployment) / deployment)


def update(raw: npt.ArrayLike, training: npt.ArrayLike, deployment: npt.ArrayLike) -> Floats:
    """Posterior under the deployment prior.

    Parameters
    ----------
    raw
        Network output in [0, 1]; 0 and 1 stay what they are. NaN stays NaN.
    training, deployment
        Priors in (0, 1) that broadcast with ``raw``; where they agree, nothing changes.
    """
    p = np.asarray(raw, np.float64)
    f = factor(np.asarray(training, np.float64), np.asarray(deployment, np.float64))
    return p / (p + f * (1.0 - p))


def raw_threshold(
    posterior: npt.ArrayLike, training: npt.ArrayLike, deployment: npt.ArrayLike
) -> Floats:
    """The network output whose posterior is ``posterior``: the inverse of ``update``.

    Comparing raw outputs with it spares updating every pixel.
    """
    return update(posterior, deployment, training)


def update_tracking(raw: npt.ArrayLike, prior: npt.ArrayLike = 0.05) -> Floats:
    """Posterior of a tracking error: MaxiTrack was trained on as many good as bad tiles."""
    return update(raw, 0.5, prior)
