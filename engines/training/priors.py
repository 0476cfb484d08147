"""The prior under which logits are probabilities, and its place in a manifest."""

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

ROUNDS = 60


def prior_of(found: npt.NDArray[np.floating], target: npt.NDArray[np.bool_]) -> float:
    """Returns the prior under which logits (N,) are calibrated, from the targets of their pixels.

    Under the pixels' own share the logits are off by a constant: that of least cross entropy.

    Raises
    ------
    ValueError
        No pixel is of the class, or all are.
    """
    share = float(target.mean())
    if not 0 < share < 1:
        raise ValueError(
            f"{share:.0%} of {target.size} pixels are of the class; paint some, not all"
        )
    x, shift = found.astype(np.float64), 0.0
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(x + shift, -60, 60)))
        change = np.clip((p - target).sum() / max((p * (1 - p)).sum(), 1e-9), -0.5, 0.5)
        shift -= float(change)
        if abs(change) < 1e-6:
            break
    return float(1 / (1 + np.exp(shift) * (1 - share) / share))


def with_side_priors(text: str, priors: Mapping[str, Mapping[int, float]]) -> str:
    """Returns a manifest with the priors of each class by side, behind the class's own.

    Raises
    ------
    ValueError
        The manifest has no line of a class, or several.
    """
    for code, by_side in priors.items():
        row = ", ".join(f"{side} = {prior:.1e}" for side, prior in sorted(by_side.items()))
        pattern = rf'(code = "{code}", training_prior = [\d.e-]+)(, training_priors = {{[^}}]*}})?'
        text, count = re.subn(pattern, rf"\g<1>, training_priors = {{ {row} }}", text)
        if count != 1:
            raise ValueError(f"the manifest has {count} lines of class {code}; expected one")
    return text
