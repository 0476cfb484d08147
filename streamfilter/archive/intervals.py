"""Intervals and bounds of a share that was counted: Wilson's, and the exact one."""

import math

CONFIDENCE = 0.95
_Z = 1.959964  # of a two-sided interval
_HALVINGS = 60  # of a bisection: more than a float's digits
_MOST = 10**8  # labels; who needs more has another problem
_GROWTH = 1.02


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share, by Wilson; (0, 1) of nothing.

    Source: Wilson 1927, JASA 22, 209.
    """
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    half = _Z * spread / (1 + square / count)
    low = middle - half if hits else 0.0  # which rounding would miss by 1e-19
    return low, middle + half if hits < count else 1.0


def upper_bound(hits: int, count: int) -> float:
    """Returns what a share is at most, with 95 % confidence: about 3 / count where none was hit.

    It is the share at which so few hits have a probability of 5 % (Clopper & Pearson 1934,
    Biometrika 26, 404), and 1 of nothing.
    """
    if hits >= count:
        return 1.0
    low, high = hits / count, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(hits, count, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def enough(share: float, hits: int = 0, count: int = 0) -> int | None:
    """Returns how many labels bear out that a share is at most this; None: no number would.

    Parameters
    ----------
    share
        In (0, 1).
    hits, count
        The rate at which hits are to be expected; without them none is.
    """
    if not hits:
        return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-share))
    number = float(count)
    while hits / count < share and number < _MOST:
        if upper_bound(math.ceil(hits / count * number), math.ceil(number)) <= share:
            return math.ceil(number)
        number *= _GROWTH
    return None


def _at_most(hits: int, count: int, share: float) -> float:
    """Returns the probability of at most so many hits of a count."""
    if not 0.0 < share < 1.0:
        return 1.0 if share <= 0.0 else float(hits >= count)
    each, total = count * math.log1p(-share), 0.0
    odds = math.log(share) - math.log1p(-share)
    for number in range(hits + 1):
        total += math.exp(each)
        each += math.log(count - number) - math.log(number + 1) + odds
    return total
