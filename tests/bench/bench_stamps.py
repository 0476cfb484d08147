"""What networks for stamps find and lose: stampmask with one, two and all planes, and MaxiMask.

    python tests/bench/bench_stamps.py [--json FILE] [--painted N]

Everything is judged on exposures, visits and cosmic-ray hits that stampmask was neither trained
nor tuned on (``engines/training/data.py`` has the rule). Painted: contaminants of each class on
real alerts; pixels that a contaminant brings less than 3 sigma, and 2 px around it, count for
nothing. Real: alerts whose history is the truth. Intervals are Wilson's, 95 %; those of pixels
count every painted contaminant once, because its pixels are found together.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bench_rules import wilson
from machine import facts

from streamfilter.alerts.normalise import normalise, reflect
from streamfilter.alerts.placement import core
from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.runtimes import open_engine
from streamfilter.records import NotEvaluated, Stamp

sys.path.insert(0, str(Path(__file__).parents[2] / "engines"))
from training import data, painting
from training.canvas import CLASSES, Canvas, grown, prepare
from training.data import Core, Part, Planes, Reals
from training.planes import stack

BATCH = 16
SEED = 20_261_130
LOSSES = (0.001, 0.01, 0.05)
FALSE_POSITIVES = (1e-3, 1e-4, 1e-5)
BRIGHT_SIGMAS = 3.0
SHARPEST = "brightest pixel over its 5x5 sum"
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


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    measure: str
    stamps: str
    judge: str
    count: int
    share: float
    low: float
    high: float


Judge = Callable[[Sequence[Case]], list[dict[str, Maps]]]
"""Returns log-odds by class code, (height, width) of each case's stamp."""


def log_odds(probabilities: Tensor) -> Maps:
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-7)
    odds: Maps = np.log(p / (1 - p))
    return odds


def maximask(engine: Engine) -> Judge:
    """MaxiMask on the science stamp, as the pipeline shows it."""

    def judge(cases: Sequence[Case]) -> list[dict[str, Maps]]:
        stamps = [normalise(Stamp(case.science, case.variance)) for case in cases]
        inputs = []
        for stamp in stamps:
            assert not isinstance(stamp, NotEvaluated)
            out = np.empty((1, 64, 64) if max(stamp.image.shape) <= 64 else (1, 96, 96), np.float32)
            inputs.append((out, reflect(stamp, out[0])))
        return inferred(engine, inputs)

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


def found_pixels(
    name: str, stamps: str, code: str, cases: Sequence[Case], judges: dict[str, Judge]
) -> list[Row]:
    """The share of a class's pixels at each share of false ones, by judge."""
    rows = []
    for judge, run in judges.items():
        maps = run(cases)
        if code not in maps[0]:
            continue
        hit = np.concatenate([m[code][c.hit] for m, c in zip(maps, cases, strict=True)])
        clean = np.concatenate([m[code][c.clean] for m, c in zip(maps, cases, strict=True)])
        for false in FALSE_POSITIVES if code == "CR" else (1e-3, 1e-4):
            share = float((hit > np.quantile(clean, 1 - false)).mean())
            rows.append(
                Row(f"{name}, pixels at {false:g}", stamps, judge, len(cases), share,
                    *wilson_of(share, len(cases)))
            )  # fmt: skip
    return rows


def wilson_of(share: float, count: int) -> tuple[float, float]:
    """The interval of a share of so many."""
    return wilson(round(share * count), count)


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
        sky = ~grown(canvas.science > 3.5 * canvas.sigma, 4)
        sky[:4], sky[-4:], sky[:, :4], sky[:, -4:] = False, False, False, False
        places = np.argwhere(sky)
        if not len(places):
            return False
        y, x = places[int(random.integers(len(places)))]
        painting.bring(canvas, int(y), int(x))
        canvas.target[:] = False
        before = canvas.science.copy()
        if not at_core(brush)(canvas, random):
            return False
        near = core(*canvas.shape)
        return bool((canvas.science - before)[near].max() > 10 * canvas.sigma)

    return paint


# ---- real alerts ----------------------------------------------------------------------------


def case_of_alert(planes: Planes) -> Case:
    return Case(planes.science, planes.template, planes.difference, planes.variance)


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


def at_losses(
    measure: str, stamps: str, judge: str, bad: Maps, real: Maps, losses: Sequence[float] = LOSSES
) -> list[Row]:
    """The share of bad alerts above the score that so many real ones pass."""
    rows = []
    for loss in losses:
        lost = int(loss * len(real))  # so few: below a loss of 1/n none may be lost
        over = np.sort(real)[::-1][lost]
        share = float((bad > over).mean())
        rows.append(
            Row(f"{measure} at {loss:.1%} loss of {len(real)} real", stamps, judge, len(bad), share,
                *wilson_of(share, len(bad)))
        )  # fmt: skip
    return rows


def real_rows(alerts: Sequence[Planes], judges: dict[str, Judge], hits: Sequence[Reals],
              count: int) -> list[Row]:  # fmt: skip
    """ZTF alerts by their history, and hits painted at the place of real ones."""
    ztf = [
        each for each in alerts if each.survey == "ztf" and np.isfinite(each.science).sum() > 900
    ]
    ztf = [each for each in ztf if not isinstance(normalise(Stamp(each.science)), NotEvaluated)]
    real = [case_of_alert(each) for each in ztf if each.core is Core.REAL]
    sets = {
        "once only, drb <= .2": [e for e in ztf if e.once and e.score <= 0.2],
        "once only, drb <= .5": [e for e in ztf if e.once],
        "all scored bogus": [e for e in ztf if e.core is Core.BOGUS],
    }
    bogus = {name: [case_of_alert(each) for each in members] for name, members in sets.items()}
    bright = [each for each in ztf if each.core is not Core.BOGUS]
    bogus["hits above 10 sigma, painted on sky"] = painted(
        bright, on_sky(painting.cosmic_ray(hits)), "CR", count, SEED + 9
    )
    rows: list[Row] = []
    scores: dict[str, Callable[[Sequence[Case]], Maps]] = {SHARPEST: sharpness}
    for name, run in judges.items():
        if name == "MaxiMask":
            scores[f"{name}, highest of six"] = partial(highest, run=run, codes=DROPPED)
        else:
            scores[f"{name}, any"] = partial(core_scores, run=run, codes=(*DROPPED, "RES"))
    scores["both networks, sum of log-odds"] = partial(
        summed, both=(scores["MaxiMask, highest of six"], scores["all planes, any"])
    )
    for name, score in scores.items():
        held = score(real)
        for stamps, cases in bogus.items():
            rows += at_losses("real ZTF, found", stamps, name, score(cases), held)
    return rows


def residual_rows(alerts: Sequence[Planes], judges: dict[str, Judge], count: int) -> list[Row]:
    """Residuals against real variables and transients."""
    fit = [e for e in alerts if not isinstance(normalise(Stamp(e.science)), NotEvaluated)]
    real = {
        "ztf": [case_of_alert(e) for e in fit if e.core is Core.REAL and e.survey == "ztf"],
        "lsst": [case_of_alert(e) for e in fit if e.core is Core.REAL and e.survey != "ztf"],
    }
    dipoles = [case_of_alert(e) for e in fit if e.core is Core.DIPOLE]
    rows = []
    for name, run in judges.items():
        if "difference" not in name and "all" not in name:
            continue
        held = {survey: highest(cases, run, ("RES",)) for survey, cases in real.items()}
        together = np.concatenate(list(held.values()))
        rows += at_losses("residuals", "isDipole", name, highest(dipoles, run, ("RES",)),
                          together, (0.01, 0.05))  # fmt: skip
        for survey in ("ztf", "lsst"):
            bases = [e for e in fit if (e.survey == "ztf") == (survey == "ztf")]
            cases = painted(bases, at_core(painting.residual), "RES", count, SEED + 3)
            scores = highest(cases, run, ("RES",))
            rows += at_losses("residuals", f"{survey}, shift and blur", name, scores, together,
                              (0.01, 0.05))  # fmt: skip
    return rows


# ---- cost and calibration -------------------------------------------------------------------


def cost_rows(engines: dict[str, Engine], seconds: float) -> list[Row]:
    """CPU milliseconds a stamp, beside MaxiMask's in the same turns."""
    shapes = {"MaxiMask, 64 px": ("maximask", 1, 64), "stampmask, 64 px": ("stampmask", 5, 64),
              "stampmask, 32 px": ("stampmask", 5, 32)}  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in shapes}
    images = {
        name: np.random.default_rng(0).standard_normal((BATCH, planes, side, side), np.float32)
        for name, (_, planes, side) in shapes.items()
    }
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, (engine, _, _) in shapes.items():
            before = time.process_time()
            engines[engine].infer(images[name])
            taken[name].append(1e3 * (time.process_time() - before) / BATCH)
    found = {name: np.median(each) for name, each in taken.items()}
    base = found["MaxiMask, 64 px"]
    return [
        Row("CPU ms a stamp", f"1/{base / ms:.1f} of MaxiMask", name, len(taken[name]), float(ms),
            float(np.percentile(taken[name], 10)), float(np.percentile(taken[name], 90)))
        for name, ms in found.items()
    ]  # fmt: skip


def calibration(engine: Engine, alerts: Sequence[Planes], hits: Sequence[Reals],
                count: int) -> list[Row]:  # fmt: skip
    """Expected calibration error of each class's probabilities at the painted set's own prior."""
    from training.examples import brushes, examples

    chances = np.full(len(alerts), 1 / len(alerts))
    made = examples(alerts, chances, brushes(hits), count, 64, SEED)
    found = np.concatenate(
        [
            engine.infer(made.images[i : i + BATCH].astype(np.float32).transpose(0, 3, 1, 2))
            for i in range(0, len(made), BATCH)
        ]
    ).transpose(0, 2, 3, 1)
    rows = []
    for k, row in enumerate(engine.manifest.classes):
        known = made.weight[..., k] > 0
        truth, p = made.target[..., k][known].astype(float), found[..., k][known].astype(float)
        share = max(truth.mean(), 1e-6)
        change = np.log(share / (1 - share)) - np.log(row.training_prior / (1 - row.training_prior))
        p = 1 / (1 + np.exp(-(log_odds(p) + change)))
        for floor in (0.0, 0.01):
            inside = p >= floor
            bins = np.minimum((p[inside] * 15).astype(int), 14)
            errors = [
                abs(truth[inside][bins == b].sum() - p[inside][bins == b].sum()) for b in range(15)
            ]
            error = float(np.sum(errors) / max(inside.sum(), 1))
            rows.append(Row(f"calibration error, p >= {floor:g}", "ztf, painted", row.code,
                            int(inside.sum()), error, error, error))  # fmt: skip
    return rows


# ---- report ---------------------------------------------------------------------------------


def painted_rows(
    alerts: Sequence[Planes], hits: Sequence[Reals], judges: dict[str, Judge], count: int
) -> list[Row]:
    brushes: dict[str, tuple[str, painting.Brush]] = {
        "cosmic rays": ("CR", painting.cosmic_ray(hits)),
        "trails": ("TRL", painting.streak),
        "rows of glints": ("TRL", painting.glints),
        "hot columns": ("HCL", painting.column("HCL")),
        "dead columns": ("DCL", painting.column("DCL")),
        "hot pixels": ("HP", painting.hot_pixel),
        "dead pixels": ("DP", painting.dead_pixel),
        "saturated stars": ("SAT", painting.bright_star),
        "spikes": ("SP", painting.bright_star),
    }
    rows = []
    for survey in ("ztf", "lsst"):
        bases = [
            each
            for each in alerts
            if (each.survey == "ztf") == (survey == "ztf")
            and each.core not in (Core.BOGUS, Core.DIPOLE)
            and max(each.science.shape) <= 64
        ]
        for name, (code, brush) in brushes.items():
            n = count if code == "CR" else max(count // 4, 40)
            rows += found_pixels(name, survey, code, painted(bases, brush, code, n, SEED), judges)
    return rows


def measure(home: Path, samples: Path, count: int, seconds: float) -> list[Row]:
    engines = {
        name: open_engine(name, "onnxruntime", home, 1) for name in ("maximask", "stampmask")
    }
    own = engines["stampmask"]
    judges = {
        "MaxiMask": maximask(engines["maximask"]),
        "science": stampmask(own, "s"),
        "science, template": stampmask(own, "st"),
        "science, difference": stampmask(own, "sd"),
        "all planes": stampmask(own, "stdv"),
    }
    alerts = [each for each in data.samples(samples) if each.part is Part.TEST]
    hits = data.hits(samples, Part.TEST)
    ztf = [each for each in alerts if each.survey == "ztf"]
    return [
        *cost_rows(engines, seconds),
        *real_rows(alerts, judges, hits, count),
        *residual_rows(alerts, judges, max(count // 4, 40)),
        *painted_rows(alerts, hits, judges, count),
        *calibration(own, ztf, hits, count),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--painted", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the timing")
    chosen = parser.parse_args()
    home = default_home(os.environ)
    rows = measure(home, data.samples_folder(), chosen.painted, chosen.seconds)
    for row in rows:
        print(
            f"{row.measure:46} {row.stamps:28} {row.judge:34} {row.count:7d} "
            f"{row.share:7.3f}  {row.low:6.3f} to {row.high:6.3f}"
        )
    if chosen.json:
        report = {"machine": facts("numpy", "onnxruntime"), "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
