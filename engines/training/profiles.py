"""The point-spread function of a stamp, from its own stars or those of its exposure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from training.canvas import Canvas, prepare, smoothed
from training.data import Planes, Reals

STAR_SIGMAS = 15.0
"""Faintest star whose profile is taken."""
ROUND = 0.3
"""A star whose light differs by less than this share from a round one's is round enough."""
REACH_PX = 6
"""Half side of a star's cutout."""


def star_places(canvas: Canvas, above: float = STAR_SIGMAS) -> list[tuple[int, int]]:
    """Returns the peaks of the smoothed science image that are far enough from the edges."""
    image = smoothed(np.nan_to_num(canvas.science))
    inner = image[2:-2, 2:-2]
    windows = np.lib.stride_tricks.sliding_window_view(image, (5, 5))
    peaks = (inner == windows.max(axis=(2, 3))) & (inner > above * canvas.sigma)
    where = np.argwhere(peaks) + 2
    inside = (where.min(axis=1) >= 3) & (where[:, 0] < image.shape[0] - 3)
    inside &= where[:, 1] < image.shape[1] - 3
    return [(int(y), int(x)) for y, x in where[inside]]


def own_profile(canvas: Canvas) -> Reals | None:
    """Returns the point-spread function, of sum 1: the stamp's, without a star the exposure's."""
    best = roundest(canvas)
    return canvas.profile if best is None else best[1]


def with_profiles(alerts: Sequence[Planes]) -> list[Planes]:
    """Returns alerts with the point-spread function of their exposure, from its roundest star."""
    best: dict[str, tuple[float, Reals]] = {}
    for each in alerts:
        before = best[each.exposure][0] if each.exposure in best else np.inf
        canvas = prepare(each, 0, False, (0, 0)) if before > ROUND else None
        star = None if canvas is None else roundest(canvas)
        if star is not None and star[0] < before:
            best[each.exposure] = star
    return [
        replace(each, profile=best[each.exposure][1]) if each.exposure in best else each
        for each in alerts
    ]


def roundest(canvas: Canvas) -> tuple[float, Reals] | None:
    """Returns the profile of the roundest bright star, of sum 1, and how far it is from round.

    It is the mean over all angles, so that a neighbour or a hit counts little. None without a star.
    """
    reach = REACH_PX
    offsets = np.arange(-reach, reach + 1)
    away = np.hypot(*np.meshgrid(offsets, offsets, indexing="ij"))
    best, least = None, np.inf
    padded = np.pad(np.nan_to_num(canvas.science), reach)
    for y, x in star_places(canvas):
        patch = padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]
        radial = np.array([np.median(patch[np.round(away) == r]) for r in range(reach + 1)])
        radial = np.minimum.accumulate(np.maximum(radial - max(radial[-1], 0), 0))
        if radial[1] <= 0.15 * radial[0]:  # a hit, not a star
            continue
        model = np.interp(away, np.arange(reach + 1), radial)
        rest = float(np.abs(patch - model).sum() / max(model.sum(), 1e-30))
        if model.sum() > 0 and rest < least:
            best, least = model / model.sum(), rest
    return (least, best) if best is not None and least < 0.8 else None


def drawn(places: Reals, profile: Reals) -> Reals:
    """Returns point sources (an image of fluxes) as the point-spread function shows them."""
    shape = [a + b - 1 for a, b in zip(places.shape, profile.shape, strict=True)]
    product = np.fft.rfft2(places, shape) * np.fft.rfft2(profile, shape)
    whole = np.fft.irfft2(product, shape)
    top, left = profile.shape[0] // 2, profile.shape[1] // 2
    cut: Reals = whole[top : top + places.shape[0], left : left + places.shape[1]]
    return np.maximum(cut, 0)


def points(shape: tuple[int, int], at: Reals, flux: Reals) -> Reals:
    """Returns an image of fluxes at fractional places (N, 2), shared among four pixels each."""
    out = np.zeros(shape)
    low = np.floor(at).astype(int)
    part = at - low
    for dy in (0, 1):
        for dx in (0, 1):
            share = flux * np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            y, x = low[:, 0] + dy, low[:, 1] + dx
            inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
            np.add.at(out, (y[inside], x[inside]), share[inside])
    return out
