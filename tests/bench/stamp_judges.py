"""Judges of stamps for the benches, and the alerts with a painted contaminant that they judge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scrappy import highest_contrast

from streamfilter.alerts.normalise import background, has_data, normalise, reflect, side_of
from streamfilter.alerts.placement import core
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.records import NotEvaluated, Stamp
from training import painting
from training.canvas import CLASSES, Canvas, grown, prepare
from training.data import Planes
from training.examples import doubt
from training.planes import stack

BATCH = 16
CONTRASTS = (1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50, 100)
"""Values of Astro-SCRAPPY's sigclip."""
SCRAPPY_SIDES_PX = (64, 96, 128)
BRIGHT_SIGMAS = 3.0
DROPPED = ("CR", "TRL", "HCL", "DCL", "HP", "DP")
"""What the default rules drop for."""

Maps = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An alert as shown to the judges, and the pixels of one painted class."""

    science: Tensor
    template: Tensor | None
    difference: Tensor | None
    variance: Tensor | None
    hit: Masks | None = None
    """Pixels of the class that count as found or missed."""
    clean: Masks | None = None
    """Pixels that count as false when they are found."""
    peak: float = 0.0
    """Brightest pixel of the contaminant, in sigma of the sky."""
    electrons_per_unit: float = 1.0


Judge = Callable[[Sequence[Case]], list[dict[str, Maps]]]
"""Returns log-odds by class code, (height, width) of each case's stamp."""


def log_odds(probabilities: Tensor) -> Maps:
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-7)
    odds: Maps = np.log(p / (1 - p))
    return odds


def one_plane(engine: Engine) -> Judge:
    """A network of one plane on the science stamp, as the pipeline shows it."""

    def judge(cases: Sequence[Case]) -> list[dict[str, Maps]]:
        stamps = [normalise(Stamp(case.science, case.variance)) for case in cases]
        inputs = []
        for stamp in stamps:
            assert not isinstance(stamp, NotEvaluated)
            side = side_of(stamp.image.shape, engine.manifest.sides_px)
            out = np.empty((1, side, side), np.float32)
            inputs.append((out, reflect(stamp, out[0])))
        return inferred(engine, inputs)

    return judge


def contrast() -> Judge:
    """Astro-SCRAPPY on the science stamp, reflected to 64 px; its scores are no log-odds.

    The stamp's sky is as many electrons as its noise tells, as far as the sky is all of it.
    """

    def judge(cases: Sequence[Case]) -> list[dict[str, Maps]]:
        found: list[dict[str, Maps]] = []
        for case in cases:
            stamp = normalise(Stamp(case.science))
            valid = background(case.science[has_data(case.science)])
            assert not isinstance(stamp, NotEvaluated)
            assert valid is not None
            sky = valid.sigma * case.electrons_per_unit
            side = side_of(stamp.image.shape, SCRAPPY_SIDES_PX)
            image = np.empty((side, side), np.float32)
            p = reflect(stamp, image)
            score = highest_contrast(image * sky + sky**2, 0.0, CONTRASTS)
            window = score[p.top : p.top + p.height, p.left : p.left + p.width]
            found.append({"CR": window.astype(np.float64)})
        return found

    return judge


def stampmask(engine: Engine, planes: str) -> Judge:
    """Our network on ``s``, ``st``, ``sd``, ``std`` or ``stdv``."""

    def judge(cases: Sequence[Case]) -> list[dict[str, Maps]]:
        inputs = []
        for case in cases:
            found = stack(
                case.science,
                case.template if "t" in planes else None,
                case.difference if "d" in planes else None,
                case.variance,
            )
            assert not isinstance(found, NotEvaluated)
            if "v" not in planes:
                found.tensor[3] = 0
            inputs.append((found.tensor, found.placement))
        return inferred(engine, inputs)

    return judge


def inferred(engine: Engine, inputs: Sequence[tuple[Tensor, object]]) -> list[dict[str, Maps]]:
    """Log-odds cut back to the stamps, in order."""
    found: list[dict[str, Maps]] = [{} for _ in inputs]
    for side in sorted({tensor.shape[-1] for tensor, _ in inputs}):
        fitting = [i for i, (tensor, _) in enumerate(inputs) if tensor.shape[-1] == side]
        for start in range(0, len(fitting), BATCH):
            chunk = fitting[start : start + BATCH]
            raw = engine.infer(np.stack([inputs[i][0] for i in chunk]))
            for i, each in zip(chunk, raw, strict=True):
                p = inputs[i][1]
                window = each[:, p.top : p.top + p.height, p.left : p.left + p.width]  # type: ignore[attr-defined]
                found[i] = dict(zip(engine.manifest.codes, log_odds(window), strict=True))
    return found


# ---- painted --------------------------------------------------------------------------------


def case_of(canvas: Canvas, code: str, bright: Masks) -> Case:
    """The painted alert; bright pixels of the class count, and those far from any of it."""
    index = CLASSES.index(code)
    claimed = canvas.target[index]
    unclaimed = ~claimed & (canvas.weight[index] == 0)
    return Case(
        canvas.science.astype(np.float32),
        as_float32(canvas.template),
        as_float32(canvas.difference),
        as_float32(canvas.variance),
        bright,
        ~grown(claimed, 2) & ~unclaimed,
        float(canvas.science[bright].max() / canvas.sigma),
        canvas.gain,
    )


def as_float32(plane: Maps | None) -> Tensor | None:
    return None if plane is None else plane.astype(np.float32)


def painted(
    alerts: Sequence[Planes], brush: painting.Brush, code: str, count: int, seed: int
) -> list[Case]:
    """Real alerts with one contaminant each."""
    random, made = np.random.default_rng(seed), []
    for _ in range(40 * count):
        planes = alerts[int(random.integers(len(alerts)))]
        shift = random.integers(-6, 7, 2)
        canvas = prepare(planes, int(random.integers(4)), False, (int(shift[0]), int(shift[1])))
        if canvas is None or not np.isfinite(canvas.science).all():
            continue
        doubt(canvas, (canvas.middle[0] + shift[0], canvas.middle[1] + shift[1]))
        if not brush(canvas, random):
            continue
        claim = canvas.target[CLASSES.index(code)]
        seen = claim.copy()
        if code in ("CR", "TRL", "HCL", "HP"):  # as far as it is well above the noise
            seen &= canvas.science > BRIGHT_SIGMAS * canvas.sigma
        if seen.any():
            made.append(case_of(canvas, code, seen))
        if len(made) == count:
            return made
    raise SystemExit(f"only {len(made)} of {count} alerts took a {code}; give more alerts")


def at_core(brush: painting.Brush) -> painting.Brush:
    """The brush, accepted only where it changed the alert's place."""

    def paint(canvas: Canvas, random: np.random.Generator) -> bool:
        done = brush(canvas, random)
        near = core(*canvas.shape)
        return done and bool(
            canvas.target[[CLASSES.index(c) for c in (*DROPPED, "RES")]][:, near].any()
        )

    return paint


def on_sky(brush: painting.Brush) -> painting.Brush:
    """The brush at the alert's place after sky was brought there; its brightest pixel 10 sigma."""

    def paint(canvas: Canvas, random: np.random.Generator) -> bool:
        if not bring_sky(canvas, random):
            return False
        before = canvas.science.copy()
        if not at_core(brush)(canvas, random):
            return False
        near = core(*canvas.shape)
        return bool((canvas.science - before)[near].max() > 10 * canvas.sigma)

    return paint


def on_empty_sky(canvas: Canvas, random: np.random.Generator) -> bool:
    """A new source at the alert's place after sky was brought there."""
    return (
        bring_sky(canvas, random)
        and painting.transient(canvas, random)
        and bool(canvas.target[CLASSES.index("BBG")].any())
    )


def bring_sky(canvas: Canvas, random: np.random.Generator) -> bool:
    """Shift all planes so that empty sky comes to the alert's place; False without any."""
    sky = ~grown(canvas.science > 3.5 * canvas.sigma, 4)
    sky[:4], sky[-4:], sky[:, :4], sky[:, -4:] = False, False, False, False
    places = np.argwhere(sky)
    if not len(places):
        return False
    y, x = places[int(random.integers(len(places)))]
    painting.bring(canvas, int(y), int(x))
    canvas.target[:] = False
    return True


# ---- real alerts ----------------------------------------------------------------------------


def case_of_alert(planes: Planes) -> Case:
    return Case(
        planes.science, planes.template, planes.difference, planes.variance,
        electrons_per_unit=planes.gain,
    )  # fmt: skip


def core_scores(cases: Sequence[Case], run: Judge, codes: Sequence[str]) -> Maps:
    """Log-odds that any of the classes is at the core, at its worst pixel."""
    scores = []
    for case, maps in zip(cases, run(cases), strict=True):
        near = core(*case.science.shape)
        none = sum(np.logaddexp(0, maps[c][near]) for c in codes if c in maps)
        absent = float(np.max(none))
        scores.append(float(np.log(np.expm1(max(absent, 1e-9)))))
    return np.array(scores)


def highest(cases: Sequence[Case], run: Judge, codes: Sequence[str]) -> Maps:
    """The highest log-odds of any one class at the core."""
    return np.array(
        [
            max(float(maps[c][core(*case.science.shape)].max()) for c in codes if c in maps)
            for case, maps in zip(cases, run(cases), strict=True)
        ]
    )


def summed(cases: Sequence[Case], both: tuple[Callable[[Sequence[Case]], Maps], ...]) -> Maps:
    """The sum of two scores."""
    total: Maps = np.sum([score(cases) for score in both], axis=0)
    return total


def sharpness(cases: Sequence[Case]) -> Maps:
    """The brightest pixel of the core over the sum of its 5x5, of the science stamp."""
    found = []
    for case in cases:
        stamp = normalise(Stamp(case.science, case.variance))
        assert not isinstance(stamp, NotEvaluated)
        image = np.where(core(*stamp.image.shape), stamp.image, -np.inf)
        y, x = np.unravel_index(int(np.argmax(image)), image.shape)
        around = stamp.image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        peak = float(stamp.image[y, x])
        found.append(peak / max(float(around.sum()), peak, 1.0))  # at most 1: all in one pixel
    return np.array(found)
