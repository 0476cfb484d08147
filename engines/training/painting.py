"""Contaminants and sources painted on real alerts: each claims the pixels that it changes.

Every brush takes a canvas and a generator and returns whether it painted. Nothing is painted with
a point-spread function that the stamp does not have: stars are the stamp's own, and so are the
profiles of trails.
"""

from collections.abc import Callable, Sequence

import numpy as np

from training.canvas import CLAIM_SIGMAS, INDEX, Canvas, Masks, grown, moved, smoothed
from training.data import Reals
from training.profiles import REACH_PX, drawn, own_profile, points, star_places

Brush = Callable[[Canvas, np.random.Generator], bool]

SCALE_PX = 12
"""Bright pixels that tell the template's units; fewer are a transient's, or noise."""
SHORT_SHARE = 0.25
"""Of the recorded hits that are cut to their one to three brightest pixels: they were recorded in
sensors 100 microns thick, where hardly any is as short as most are in thin ones."""


def strength(random: np.random.Generator, low: float, high: float) -> float:
    """Returns a number between two bounds, all decades alike."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def spot(canvas: Canvas, random: np.random.Generator) -> tuple[int, int]:
    """Returns a pixel: in two cases of five within 2 px of the alert, else anywhere."""
    if random.random() < 0.4:
        y, x = (round(middle + random.uniform(-1.9, 1.9)) for middle in canvas.middle)
        return y, x
    return int(random.integers(canvas.shape[0])), int(random.integers(canvas.shape[1]))


def placed(
    patch: Reals, shape: tuple[int, int], at: tuple[int, int], anchor: tuple[int, int]
) -> Reals:
    """Returns an empty image with a patch whose ``anchor`` lies at ``at``; cut at the edges."""
    out = np.zeros(shape)
    top, left = at[0] - anchor[0], at[1] - anchor[1]
    rows = slice(max(top, 0), min(top + patch.shape[0], shape[0]))
    columns = slice(max(left, 0), min(left + patch.shape[1], shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        out[rows, columns] = patch[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return out


# ---- hits and defects -----------------------------------------------------------------------


def cosmic_ray(hits: Sequence[Reals]) -> Brush:
    """Returns a brush of recorded hits, turned, flipped and of any charge around their own."""

    def paint(canvas: Canvas, random: np.random.Generator) -> bool:
        hit = np.rot90(hits[int(random.integers(len(hits)))], int(random.integers(4)))
        hit = hit[:, ::-1] if random.random() < 0.5 else hit
        if random.random() < SHORT_SHARE:  # a thin sensor's, or one that came from straight above
            hit = np.where(hit >= np.sort(hit, axis=None)[-int(random.integers(1, 4)) :][0], hit, 0)
        charge = hit * strength(random, 0.3, 3.0) / canvas.gain
        lit = np.argwhere(hit > 0.1 * hit.max())
        anchor = lit[int(random.integers(len(lit)))]
        layer = placed(charge, canvas.shape, spot(canvas, random), (int(anchor[0]), int(anchor[1])))
        pixels: Masks = layer > CLAIM_SIGMAS * canvas.sigma
        if not (layer > 3 * canvas.sigma).any():
            return False
        if canvas.variance is not None and random.random() < 0.2:
            _repair(canvas, layer, random)
        else:
            canvas.light(layer, random, noisy=False)
        canvas.claim("CR", pixels)
        # A single pixel may be either, and what is faint is not worth an error.
        canvas.silence("CR", (layer > 0.2 * canvas.sigma) & ~pixels)
        for code in ("HP", "HCL"):
            canvas.silence(code, grown(pixels, 1))
        return True

    return paint


def _repair(canvas: Canvas, layer: Reals, random: np.random.Generator) -> None:
    """Leave a part of a hit's light and all of its variance, as a survey's repair does."""
    assert canvas.variance is not None
    left = random.uniform(0.0, 0.5)
    canvas.science += left * layer
    if canvas.difference is not None:
        canvas.difference += left * layer
    canvas.variance += layer / canvas.gain


def column(code: str) -> Brush:
    """Returns a brush of hot (``HCL``) or dead (``DCL``) columns and lines, or parts of them."""

    def paint(canvas: Canvas, random: np.random.Generator) -> bool:
        along = int(random.integers(2))
        y, x = spot(canvas, random)
        start, stop = 0, canvas.shape[along]
        if random.random() < 0.4:
            at = (y, x)[along]
            start, stop = (0, at + 1) if random.random() < 0.5 else (at, stop)
        wide = int(random.choice([1, 1, 1, 2, 3]))
        pixels = np.zeros(canvas.shape, bool)
        across = slice((x, y)[along], (x, y)[along] + wide)
        pixels[(slice(start, stop), across) if along == 0 else (across, slice(start, stop))] = True
        if pixels.sum() < 5:
            return False
        level = strength(random, 3, 200) * canvas.sigma
        if code == "HCL":
            rough = random.normal(1.0, random.uniform(0, 0.2), canvas.shape)
            canvas.light(np.where(pixels, level * rough, 0.0), random, noisy=True)
        else:
            _darken(canvas, pixels, level, random)
        canvas.claim(code, pixels)
        return True

    return paint


def _darken(canvas: Canvas, pixels: Masks, level: float, random: np.random.Generator) -> None:
    """Take light away: to a fixed low level, or by a share of what is there."""
    noise = random.normal(0, random.uniform(0.1, 1.0) * canvas.sigma, canvas.shape)
    change = np.where(pixels, -level + noise - np.maximum(np.nan_to_num(canvas.science), 0), 0.0)
    canvas.science += change
    if canvas.difference is not None:
        canvas.difference += change


def dead_cluster(canvas: Canvas, random: np.random.Generator) -> bool:
    """Paint a small dead block."""
    y, x = spot(canvas, random)
    tall, wide = random.integers(2, 7, 2)
    pixels = placed(np.ones((tall, wide)), canvas.shape, (y, x), (tall // 2, wide // 2)) > 0
    _darken(canvas, pixels, strength(random, 4, 60) * canvas.sigma, random)
    canvas.claim("DCL", pixels)
    canvas.silence("DP", grown(pixels, 1))
    return True


def hot_pixel(canvas: Canvas, random: np.random.Generator) -> bool:
    """Paint one hot pixel, seldom two."""
    pixels = _dot(canvas, random)
    light = np.where(pixels, strength(random, 5, 300) * canvas.sigma, 0.0)
    canvas.light(light, random, noisy=True)
    canvas.claim("HP", pixels)
    canvas.silence("CR", grown(pixels, 1))  # a one-pixel hit is the same thing
    return True


def dead_pixel(canvas: Canvas, random: np.random.Generator) -> bool:
    """Paint one dark pixel, seldom two."""
    pixels = _dot(canvas, random)
    _darken(canvas, pixels, strength(random, 5, 100) * canvas.sigma, random)
    canvas.claim("DP", pixels)
    canvas.silence("DCL", grown(pixels, 1))
    return True


def _dot(canvas: Canvas, random: np.random.Generator) -> Masks:
    patch = np.ones((1, 1))
    if random.random() < 0.15:
        patch = np.ones((2, 1)) if random.random() < 0.5 else np.ones((1, 2))
    dot: Masks = placed(patch, canvas.shape, spot(canvas, random), (0, 0)) > 0
    return dot


# ---- the stamp's own stars ------------------------------------------------------------------


def streak(canvas: Canvas, random: np.random.Generator) -> bool:
    """Paint a trail across the stamp, or one that ends in it."""
    reach = 1.5 * max(canvas.shape)
    along = np.arange(-reach, reach, 0.25)
    if random.random() < 0.3:
        along = along[along > 0]
    return _row(canvas, random, along, np.ones(len(along)))


def glints(canvas: Canvas, random: np.random.Generator) -> bool:
    """Paint a row of glints of a tumbling satellite: points at equal steps, all alike or nearly."""
    reach, step = 1.5 * max(canvas.shape), random.uniform(3.0, 16.0)
    along = np.arange(-reach, reach, step) + random.uniform(0, step)
    if random.random() < 0.3:
        along = along[np.abs(along) < random.uniform(1.5, 4) * step]
    return _row(canvas, random, along, random.uniform(random.uniform(0.4, 1), 1, len(along)))


def _row(canvas: Canvas, random: np.random.Generator, along: Reals, flux: Reals) -> bool:
    """Paint points of the stamp's own profile along a line, and claim what they lighten."""
    profile = own_profile(canvas)
    if profile is None:
        return False
    angle, (y, x) = random.uniform(0, np.pi), spot(canvas, random)
    at = np.stack([y + along * np.sin(angle), x + along * np.cos(angle)], axis=1)
    layer = drawn(points(canvas.shape, at, flux), profile)
    if layer.max() <= 0:
        return False
    layer *= strength(random, 3, 100) * canvas.sigma / layer.max()
    pixels: Masks = layer > max(CLAIM_SIGMAS * canvas.sigma, 0.05 * float(layer.max()))
    if pixels.sum() < 5:
        return False
    canvas.light(layer, random, noisy=True)
    canvas.claim("TRL", pixels)
    canvas.silence("TRL", (layer > 0.3 * canvas.sigma) & ~pixels)
    canvas.silence("BBG", pixels)
    return True


def transient(canvas: Canvas, random: np.random.Generator) -> bool:
    """Put a new source of the stamp's own profile at the alert's place; short-trailed at times."""
    profile = own_profile(canvas)
    if profile is None:
        return False
    flux = strength(random, 3, 300) * canvas.sigma / float(profile.max())
    along = np.zeros(1)
    if random.random() < 0.4:  # an asteroid
        along = np.arange(0, random.uniform(0.5, 4), 0.25)
    angle = random.uniform(0, np.pi)
    y, x = (middle + random.uniform(-1, 1) for middle in canvas.middle)
    at = np.stack([y + along * np.sin(angle), x + along * np.cos(angle)], axis=1)
    layer = drawn(points(canvas.shape, at, np.full(len(along), flux / len(along))), profile)
    kind = random.random()
    if kind < 0.12 and _gone(canvas, layer):
        return True
    if kind < 0.3:  # a source that faded
        layer = -np.minimum(layer, np.maximum(np.nan_to_num(canvas.science), 0))
    _no_residual(canvas, layer)
    canvas.light(layer, random, noisy=True)
    canvas.claim("BBG", layer > CLAIM_SIGMAS * canvas.sigma)
    return True


def _gone(canvas: Canvas, layer: Reals) -> bool:
    """Put a source into the template alone: science has sky there, and that is no hole."""
    if canvas.template is None or canvas.difference is None:
        return False
    scale = template_scale(canvas)
    if not 0.2 < scale < 5:  # nothing in the stamp tells it
        return False
    _no_residual(canvas, layer)
    canvas.template += layer / scale
    canvas.difference -= layer
    return True


def _no_residual(canvas: Canvas, layer: Reals) -> None:
    """Teach that a layer, which is not painted yet, is no residual, unless one may lie there."""
    pixels = np.abs(layer) > CLAIM_SIGMAS * canvas.sigma
    if canvas.difference is not None:
        there = np.abs(np.nan_to_num(canvas.difference[pixels]))
        if (there > 4 * canvas.difference_sigma).any():
            return
    canvas.weight[INDEX["RES"]][pixels] = 1.0


def template_scale(canvas: Canvas) -> float:
    """Returns the science image's units over the template's, from the bright pixels."""
    assert canvas.template is not None
    template, science = np.nan_to_num(canvas.template), np.nan_to_num(canvas.science)
    bright = np.abs(science) > 3 * canvas.sigma
    if bright.sum() < SCALE_PX:
        return 1.0
    return float((template * science)[bright].sum() / max((template**2)[bright].sum(), 1e-30))


def variable(canvas: Canvas, random: np.random.Generator) -> bool:
    """Brighten or dim a star of the stamp, and bring it to the alert's place: no residual."""
    places = star_places(canvas, 8.0)
    if not places or not np.isfinite(canvas.science).all():
        return False
    y, x = places[int(random.integers(len(places)))]
    bring(canvas, y, x)
    offsets = [
        np.arange(side) - middle for side, middle in zip(canvas.shape, canvas.middle, strict=True)
    ]
    away = np.hypot(offsets[0][:, None], offsets[1])
    window = np.clip(1.5 - away / REACH_PX, 0, 1)  # the star alone, with a soft edge
    layer = np.maximum(canvas.science, 0) * window
    change = random.choice([-1, 1]) * strength(random, 0.05, 0.9) * layer
    _no_residual(canvas, change)
    canvas.light(change, random, noisy=True)
    return True


def bring(canvas: Canvas, y: int, x: int) -> None:
    """Shift every plane so that a pixel comes to the middle."""
    shift = (canvas.shape[0] // 2 - y, canvas.shape[1] // 2 - x)
    canvas.science = moved(canvas.science, shift)
    for name in ("template", "difference", "variance"):
        plane = getattr(canvas, name)
        if plane is not None:
            setattr(canvas, name, moved(plane, shift))
    canvas.target = moved(canvas.target, shift)
    canvas.weight = moved(canvas.weight, shift)


# ---- residuals, saturation, spikes, holes ---------------------------------------------------


def residual(canvas: Canvas, random: np.random.Generator) -> bool:
    """Shift and blur the template by parts of a pixel: what is left has no net flux."""
    if canvas.template is None or canvas.difference is None:
        return False
    if not np.isfinite(canvas.template).all():
        return False
    places = star_places(canvas, 10.0)
    if not places:
        return False
    if random.random() < 0.8 and np.isfinite(canvas.science).all():
        y, x = places[int(random.integers(len(places)))]
        bring(canvas, y + int(random.integers(-1, 2)), x + int(random.integers(-1, 2)))
    template, scale = canvas.template, template_scale(canvas)
    wrong = shifted(template, random.normal(0, 0.35, 2))
    if random.random() < 0.5:
        wide = random.uniform(-0.4, 0.7)  # below 0: sharper than the science image
        wrong = wrong + wide * (smoothed(wrong) - wrong)
    layer = scale * (template - wrong)
    pixels: Masks = np.abs(layer) > 1.5 * canvas.difference_sigma
    if (np.abs(layer) > 4 * canvas.difference_sigma).sum() < 3:
        return False
    canvas.difference = canvas.difference + layer
    canvas.template = wrong
    canvas.claim("RES", pixels)
    return True


def shifted(image: Reals, by: Reals) -> Reals:
    """Returns an image shifted by parts of a pixel, cubically, and wrapped at the edges."""
    for axis, amount in enumerate(by):
        whole = int(np.floor(amount))
        t = float(amount) - whole
        taps = (
            -t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6,
        )  # fmt: skip
        image = sum(
            (
                tap * np.roll(image, whole + k, axis)
                for tap, k in zip(taps, (-1, 0, 1, 2), strict=True)
            ),
            np.zeros_like(image),
        )
    return image


def bright_star(canvas: Canvas, random: np.random.Generator) -> bool:
    """Paint a saturated star of the stamp's own width with bleeding columns and spikes.

    Science and template hold it alike; the difference holds what two such stars leave.
    """
    profile = own_profile(canvas)
    if profile is None:
        return False
    inside = random.random() < 0.6
    y, x = spot(canvas, random)
    if not inside:  # only the spikes come into the stamp
        y += int(random.choice([-1, 1])) * canvas.shape[0] // 2
    limit = strength(random, 300, 5000) * canvas.sigma
    peak = limit * strength(random, 0.5, 30)
    rows, columns = (
        np.arange(side, dtype=float) - at for side, at in zip(canvas.shape, (y, x), strict=True)
    )
    away = np.hypot(rows[:, None], columns)
    width = np.sqrt(1 / (np.pi * float(profile.max())))  # of a disc with the profile's peak
    star = peak * (1 + (away / (1.5 * width)) ** 2) ** -random.uniform(2.0, 3.0)
    spikes = np.zeros(canvas.shape)
    if random.random() < 0.8:
        spikes = _spikes(rows, columns, width, random) * peak * strength(random, 0.003, 0.03)
    whole = star + spikes
    full = whole > limit
    _bleed(full, y, x, whole, limit, random)
    layer = np.minimum(whole, limit)
    layer[full] = limit * random.normal(1, 0.01, int(full.sum()))
    return _leave(canvas, layer, spikes, full, random)


def _spikes(rows: Reals, columns: Reals, width: float, random: np.random.Generator) -> Reals:
    """Returns four arms that fall off with the distance, 1 near the star."""
    angle = float(random.choice([0.0, np.pi / 4, random.uniform(0, np.pi / 2)]))
    arms = np.zeros((rows.size, columns.size))
    thick, fall = width * random.uniform(0.3, 0.7), random.uniform(0.8, 1.6)
    for turn in (angle, angle + np.pi / 2):
        across = rows[:, None] * np.cos(turn) - columns * np.sin(turn)
        along = np.abs(rows[:, None] * np.sin(turn) + columns * np.cos(turn))
        arms += np.exp(-(across**2) / (2 * thick**2)) / (1 + along / (3 * width)) ** fall
    return arms


def _bleed(
    full: Masks, y: int, x: int, star: Reals, limit: float, random: np.random.Generator
) -> None:
    """Let the charge of a saturated core run along its columns."""
    over = float((star[full] - limit).sum() / limit) if full.any() else 0.0
    wide = int(np.clip(over / 60, 0, 3))
    if over < 15 or random.random() < 0.4 or not 0 <= x < full.shape[1]:
        return
    long = int(np.clip(over / (2 * wide + 1) / random.uniform(2, 6), 2, full.shape[0]))
    full[max(y - long, 0) : max(y + long + 1, 0), max(x - wide // 2, 0) : x + wide // 2 + 1] = True


def _leave(
    canvas: Canvas, layer: Reals, spikes: Reals, full: Masks, random: np.random.Generator
) -> bool:
    """Add a bright star to every plane and claim its saturated core and its spikes."""
    arms: Masks = (spikes > 2 * canvas.sigma) & (spikes > 0.15 * (layer - spikes)) & ~full
    if not full.any() and arms.sum() < 5:
        return False
    noise = random.normal(size=layer.shape) * np.sqrt(np.maximum(layer, 0) / canvas.gain)
    canvas.science += layer + np.where(full, 0, noise)
    if canvas.template is not None and canvas.difference is not None:
        before = layer * random.normal(1, 0.01)
        canvas.template += before
        left = layer - before + noise + random.normal(0, 0.02) * np.gradient(layer)[0]
        canvas.difference += np.where(full, random.normal(0, 0.05) * layer, left)
        canvas.silence("RES", grown(layer > 2 * canvas.sigma, 1))
    if canvas.variance is not None:
        canvas.variance += np.maximum(layer, 0) / canvas.gain
    canvas.claim("SAT", full)
    canvas.claim("SP", arms)
    canvas.silence("SP", (spikes > 0.5 * canvas.sigma) & ~arms)
    canvas.silence("BBG", full | (spikes > canvas.sigma))
    canvas.claim("BBG", (layer - spikes > 5 * canvas.sigma) & ~full)
    return True


def hole(canvas: Canvas, random: np.random.Generator) -> bool:
    """Take the data away beside the alert: an edge, a column or a block, in every plane."""
    y, x = (int(side) for side in canvas.middle)
    near = int(random.integers(2, 12)) * int(random.choice([-1, 1]))
    pixels = np.zeros(canvas.shape, bool)
    kind = random.random()
    along = int(random.integers(2))
    at = (y, x)[along] + near
    band = slice(max(at, 0), None) if near > 0 else slice(0, max(at + 1, 0))
    if kind < 0.4:
        band = slice(max(at, 0), max(at, 0) + int(random.integers(1, 4)))
    pixels[(band, slice(None)) if along == 0 else (slice(None), band)] = True
    if kind > 0.8:
        pixels &= np.arange(canvas.shape[1 - along]).reshape((1, -1) if along == 0 else (-1, 1)) > x
    if pixels.mean() > 0.6 or not pixels.any():
        return False
    for name in ("science", "template", "difference"):
        plane = getattr(canvas, name)
        if plane is not None and (name != "template" or random.random() < 0.5):
            plane[pixels] = np.nan
    canvas.target[:, pixels] = False
    canvas.weight[:, pixels] = 0.0
    return True
