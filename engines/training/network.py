"""The network of ``streamfilter/inference/stampmask.py`` in JAX, and its losses."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from training.canvas import CLASSES, INDEX

LAYERS: dict[str, tuple[int, int, int]] = {
    "first": (3, 5, 16),
    "fine": (3, 16, 16),
    "half_down": (2, 16, 32),
    "half_in": (3, 32, 32),
    "half": (3, 32, 32),
    "quarter_down": (2, 32, 48),
    "quarter": (3, 48, 48),
    "eighth_down": (2, 48, 64),
    "eighth": (3, 64, 64),
    "quarter_up": (1, 64, 48),
    "quarter_out": (3, 48, 48),
    "half_up": (1, 48, 32),
    "half_out": (3, 32, 32),
    "fine_up": (1, 32, 16),
    "fine_out": (3, 16, 16),
    "classes": (1, 16, len(CLASSES)),
}
"""Side of the kernel, channels in, channels out."""
CONTAMINANTS = tuple(INDEX[code] for code in ("CR", "TRL", "HCL", "DCL", "HP", "DP", "RES"))
"""Classes that make an alert no source when they are at its core."""

Parameters = dict[str, Any]
Logits = Any  # of JAX: its arrays and tracers are one to the reader


def initial(seed: int) -> Parameters:
    """Returns weights drawn as He et al. 2015 do; the last layer starts at rare classes."""
    random = np.random.default_rng(seed)
    made: Parameters = {}
    for name, (side, before, after) in LAYERS.items():
        spread = np.sqrt((1.0 if name == "classes" else 2.0) / (side * side * before))
        kernel = random.normal(0, spread, (side, side, before, after))
        made[f"{name}/kernel"] = jnp.asarray(kernel, jnp.float32)
        made[f"{name}/bias"] = jnp.full(after, -4.0 if name == "classes" else 0.0, jnp.float32)
    return made


def count(parameters: Mapping[str, Any]) -> int:
    """Returns the number of parameters."""
    return sum(int(np.prod(each.shape)) for each in parameters.values())


def logits(parameters: Parameters, images: Any) -> Logits:
    """Returns logits (N, H, W, K) of images (N, H, W, 5)."""

    def convolve(x: Any, name: str, *, stride: int = 1) -> Any:
        found = jax.lax.conv_general_dilated(
            x,
            parameters[f"{name}/kernel"],
            (stride, stride),
            "SAME" if stride == 1 else "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return found + parameters[f"{name}/bias"]

    def join(deep: Any, skip: Any, name: str) -> Any:
        doubled = jnp.repeat(jnp.repeat(convolve(deep, name), 2, axis=1), 2, axis=2)
        return jax.nn.relu(doubled + skip)

    relu = jax.nn.relu
    compressed = jnp.sign(images) * jnp.log(jnp.abs(images) + 1)
    fine = relu(convolve(relu(convolve(compressed, "first")), "fine"))
    half = relu(convolve(relu(convolve(fine, "half_down", stride=2)), "half_in"))
    half = relu(convolve(half, "half"))
    quarter = relu(convolve(relu(convolve(half, "quarter_down", stride=2)), "quarter"))
    deepest = relu(convolve(relu(convolve(quarter, "eighth_down", stride=2)), "eighth"))
    quarter = relu(convolve(join(deepest, quarter, "quarter_up"), "quarter_out"))
    half = relu(convolve(join(quarter, half, "half_up"), "half_out"))
    fine = relu(convolve(join(half, fine, "fine_up"), "fine_out"))
    return convolve(fine, "classes")


def pixel_loss(found: Logits, target: Any, weight: Any) -> Any:
    """Returns the cross entropy summed over classes, a mean over all pixels."""
    each = jax.nn.softplus(found) - target * found
    return jnp.sum(each * weight) / (found.shape[0] * found.shape[1] * found.shape[2])


def core_evidence(found: Logits, core: Any) -> Any:
    """Returns -log of the probability that no contaminant is in the core, at its worst pixel (N,).

    Pixels (N, H, W) of the core are 1. A pixel's classes count as independent.
    """
    none = jax.nn.softplus(found[..., jnp.array(CONTAMINANTS)]).sum(-1)
    return jnp.max(jnp.where(core > 0, none, 0.0), axis=(1, 2))


def core_loss(found: Logits, core: Any, real: Any, bogus: Any, dipole: Any) -> Any:
    """Returns the cross entropy of weak labels at the core; each (N,) is a weight of its label."""
    any_of = core_evidence(found, core)
    residual = jnp.max(
        jnp.where(core > 0, jax.nn.softplus(found[..., INDEX["RES"]]), 0.0), axis=(1, 2)
    )
    return jnp.mean(real * any_of + bogus * _presence(any_of) + dipole * _presence(residual))


def _presence(absence: Any) -> Any:
    """Returns -log(1 - exp(-x)), finite at 0."""
    return -jnp.log(-jnp.expm1(-jnp.maximum(absence, 1e-6)))


def as_arrays(parameters: Parameters) -> dict[str, npt.NDArray[np.float32]]:
    """Returns the weights as numpy has them."""
    return {name: np.asarray(each, np.float32) for name, each in parameters.items()}
