"""How well numbers rank what is true."""

import numpy as np
import numpy.typing as npt


def ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Equal values share the mean of their ranks."""
    every = np.asarray(values, float)
    return np.array([(every < v).sum() + (every == v).sum() / 2 for v in every])


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Correlation of ranks."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def area(values: npt.ArrayLike, failed: npt.NDArray[np.bool_]) -> float:
    """Share of pairs of a failed and another frame in which the failed one is higher."""
    count, place = int(failed.sum()), ranks(values)[failed].sum()
    return float((place - count**2 / 2) / (count * (len(failed) - count)))
