"""Outputs of the network on examples, and the scale and shift that make them probabilities."""

from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from training import network
from training.canvas import CLASSES
from training.data import Part
from training.examples import Batch
from training.feeding import Painter, Sources, by_side, chances_of

COUNTS = {64: 600, 32: 1800}
ROUNDS = 60
LEAST_SCALE = 0.25
"""A class that was hardly learned is made doubtful, and never turned round."""

Reals = npt.NDArray[np.float32]
_logits = jax.jit(network.logits)


def outputs(parameters: network.Parameters, batch: Batch) -> Reals:
    """Returns the logits (N, side, side, K) of examples."""
    parts = [
        np.asarray(_logits(parameters, batch.images[i : i + 48].astype(np.float32)))
        for i in range(0, len(batch), 48)
    ]
    return np.concatenate(parts)


def evidence(found: Reals, batch: Batch) -> Reals:
    """Returns -log of the probability that no contaminant is in the core (N,)."""
    none = np.logaddexp(0, found[..., list(network.CONTAMINANTS)]).sum(-1)
    worst: Reals = np.where(batch.core > 0, none, 0).max(axis=(1, 2))
    return worst


def calibrated(
    parameters: network.Parameters, sources: Sources
) -> tuple[dict[str, Reals], dict[str, float]]:
    """Returns weights whose last layer is scaled by class, and the share of pixels of each class.

    Scale and shift are fitted to validation examples; the shares are those of the training
    examples, under which the probabilities hold.
    """
    pools = {}
    for part in (Part.VALIDATION, Part.TRAIN):
        painter = Painter(sources, part, COUNTS)
        chances = chances_of(by_side(sources.alerts(), part))
        pools[part] = painter.ask(chances, 4242).result()
        painter.close()
    weights = network.as_arrays(parameters)
    kernel, bias = weights["classes/kernel"].copy(), weights["classes/bias"].copy()
    priors = {}
    for index, code in enumerate(CLASSES):
        held = [known(outputs_of, batch, index) for outputs_of, batch in _pairs(parameters, pools)]
        scale, shift = fitted(
            np.concatenate([each[0] for each in held]), np.concatenate([each[1] for each in held])
        )
        kernel[..., index] *= scale
        bias[index] = bias[index] * scale + shift
        priors[code] = share(pools[Part.TRAIN], index)
        print(f"{code:4} scale {scale:.3f} shift {shift:+.3f} share {priors[code]:.2e}", flush=True)
    return {**weights, "classes/kernel": kernel, "classes/bias": bias}, priors


def _pairs(parameters: network.Parameters, pools: dict[Part, dict[int, Batch]]) -> Any:
    """Yields the outputs and the examples of every side of the validation pool."""
    for batch in pools[Part.VALIDATION].values():
        yield outputs(parameters, batch), batch


def known(found: Reals, batch: Batch, index: int) -> tuple[Reals, npt.NDArray[np.bool_]]:
    """Returns the logits (M,) of a class at the pixels whose class is known, and whether of it."""
    inside = batch.weight[..., index] > 0
    return found[..., index][inside], batch.target[..., index][inside] > 0


def share(pool: dict[int, Batch], index: int) -> float:
    """Returns the share of known pixels that are of a class, a mean over the sides."""
    shares = [
        float(
            (each.target[..., index] * each.weight[..., index]).sum()
            / each.weight[..., index].sum()
        )
        for each in pool.values()
    ]
    return float(np.mean(shares))


def fitted(found: Reals, target: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Returns scale and shift of least cross entropy; 1 and 0 where too few pixels tell."""
    if target.sum() < 50:
        return 1.0, 0.0
    x, y = found.astype(np.float64), target.astype(np.float64)
    scale, shift = 1.0, 0.0
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(scale * x + shift, -60, 60)))
        slope = np.array([((p - y) * x).sum(), (p - y).sum()])
        w = p * (1 - p)
        curve = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])
        change = np.linalg.solve(curve + 1e-6 * np.eye(2), slope)
        change = np.clip(change, -0.3, 0.3)
        scale, shift = max(scale - change[0], LEAST_SCALE), shift - change[1]
        if np.abs(change).max() < 1e-6:
            break
    return float(scale), float(shift)
