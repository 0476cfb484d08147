"""Log-odds of a tracking error, from the stars' shapes and from the network.

Positive numbers speak for a tracking error; the prior is added by the caller. The event is a trail
of 1.25 FWHM or more, or stars doubled by a jump. All numbers were fitted on real frames on which
trails of known length were painted: ``tests/bench/bench_probability.py --fit``.
"""

from dataclasses import dataclass

import numpy as np

from streamfilter.exposures.records import Shapes

_NARROWEST = 0.01
"""Of the distance of the bounds' logarithms: where they are equal, shapes have a step."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How often a witness is wrong altogether, so that no output of it counts as more certain."""

    misses: float
    """Share of trailed frames that it takes for good ones."""
    false_alarms: float
    """Share of good frames that it takes for trailed ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """The fitted numbers."""

    steepness: float = 7.9
    """Log-odds that the shapes gain from ``round`` to ``elongated``."""
    even: float = -0.54
    """Where they are even, from the middle of ``round`` and ``elongated``, as a share of both's
    distance."""
    bend: float = 1.26
    """Log-odds from which they rise no longer in proportion, but with the logarithm."""
    coarse: float = 0.75
    """Steepness where stars are narrower than ``sampled_px``, as a share: elongations scatter more
    there, about those of the painted trails."""
    sampled_px: float = 2.2
    """FWHM from which on pixels sample a star well."""
    doubled: float = 4.9
    """Log-odds of companions at one offset."""
    alone: Errors = Errors(0.46, 0.0096)
    """Of the network. It speaks where no star's shape is known: beside shapes it adds nothing."""


def of_shapes(shapes: Shapes, bounds: tuple[float, float], numbers: Likelihood) -> float | None:
    """Returns the log-odds of the stars' shapes; None where they have none.

    Elongations count as far as they have one direction: those of galaxies have none.

    Parameters
    ----------
    bounds
        Elongations below which stars are round, and from which on they trail.
    """
    if shapes.elongation is None or shapes.coherence is None:
        return None
    low, high = np.log(bounds[0]), np.log(bounds[1])
    width = max(high - low, _NARROWEST)
    trailing = shapes.coherence * np.log(shapes.elongation)
    rise = (trailing - (low + high) / 2) / width - numbers.even
    sampled = (shapes.fwhm_px or 0.0) >= numbers.sampled_px
    steepness = numbers.steepness * (1.0 if sampled else numbers.coarse)
    # Far from the even point other causes than drift become likelier, hence the bend.
    return numbers.bend * float(np.arcsinh(steepness * rise / numbers.bend))


def limited(log_odds: float, errors: Errors) -> float:
    """Returns the log-odds of a witness that is sometimes wrong altogether.

    It rises with ``log_odds`` from ln(misses / (1 - false alarms)) to ln((1 - misses) / false
    alarms), and is 0 where that is 0.
    """
    misses, alarms = np.log(errors.misses), np.log(errors.false_alarms)
    hits, quiet = np.log1p(-errors.misses), np.log1p(-errors.false_alarms)
    return float(np.logaddexp(hits + log_odds, misses) - np.logaddexp(quiet, alarms + log_odds))


def probability(log_odds: float, prior: float) -> float:
    """Returns the posterior of log-odds under a prior, in (0, 1)."""
    logit = log_odds + float(np.log(prior / (1 - prior)))
    return float(np.exp(-np.logaddexp(0.0, -logit)))
