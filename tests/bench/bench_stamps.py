"""What finds contaminants in stamps, and what it loses: stampmask by its planes, and others.

    python tests/bench/bench_stamps.py [--json FILE] [--markdown FILE] [--painted N]

Everything is judged on exposures, visits and cosmic-ray hits that stampmask was neither trained
nor tuned on (``engines/training/data.py`` has the rule). Painted: contaminants of each class on
real alerts; pixels that a contaminant brings less than 3 sigma, and 2 px around it, count for
nothing. Real: alerts whose history is the truth. Intervals are Wilson's, 95 %; those of pixels
count every painted contaminant once, because its pixels are found together.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import checkout  # noqa: F401 - finds what is imported below
import numpy as np
from machine import facts
from reliability import reliability_rows
from scrappy import MISSING, detector
from stamp_judges import (
    BATCH,
    DROPPED,
    Case,
    Judge,
    Maps,
    at_core,
    case_of_alert,
    contrast,
    core_scores,
    highest,
    on_empty_sky,
    on_sky,
    one_plane,
    painted,
    sharpness,
    stampmask,
    summed,
)
from stamp_tables import Row, markdown

from streamfilter.alerts.normalise import normalise, side_of
from streamfilter.alerts.placement import core
from streamfilter.alerts.rules import policy
from streamfilter.alerts.verdict import Policy
from streamfilter.archive.intervals import wilson
from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine
from streamfilter.inference.runtimes import open_engine
from streamfilter.posterior import pooled, update
from streamfilter.records import Action, NotEvaluated, Stamp
from training import data, painting
from training.data import Core, Part, Planes, Reals
from training.fields import field
from training.profiles import with_profiles
from training.samples import samples_folder

SEED = 20_261_130
LOSSES = (0.001, 0.01, 0.05)
FALSE_POSITIVES = (1e-3, 1e-4, 1e-5)
ASKED_ABOVE = (0.02, 0.05, 0.1)
"""Where a second engine is asked: above these posteriors of the first."""
FOR_HITS = ("deepCR ACS-WFC", "Astro-SCRAPPY")
"""Judges that know cosmic rays alone."""
OF_SCIENCE = ("MaxiMask", *FOR_HITS)
TOGETHER_ABOVE = 0.99
"""No real alert is above .97 (deploy/RULES.md, two engines)."""
SHARPEST = "brightest pixel over its 5x5 sum"
HITS_BESIDE = ("2481246960915015005", "697252384615015004", "2481123151115015000")
"""Alerts with a real hit elsewhere in the stamp, which is in no list: it is no false one."""

RELIABILITY = 8
"""Examples of the reliability of probabilities, for each painted case of another table."""
STRENGTHS = ((3, 10), (10, 30), (30, np.inf))
"""Brightest pixel of a hit in sigma of the sky."""
WIDTHS_PX = (1.3, 2.0, 2.5, 4.0, 6.0)
"""Full widths at half maximum of the made fields' stars."""


def found_pixels(
    name: str, stamps: str, code: str, cases: Sequence[Case], judges: dict[str, Judge]
) -> list[Row]:
    """The share of a class's pixels at each share of false ones, by judge."""
    rows = []
    for judge, run in judges.items():
        maps = run(cases)
        if code not in maps[0]:
            continue
        hits = [m[code][c.hit] for m, c in zip(maps, cases, strict=True)]
        clean = np.concatenate([m[code][c.clean] for m, c in zip(maps, cases, strict=True)])
        for false in FALSE_POSITIVES if code == "CR" else (1e-3, 1e-4):
            over = float(np.quantile(clean, 1 - false))
            rows.append(over_threshold(f"{name}, pixels at {false:g}", stamps, judge, hits, over))
        over = float(np.quantile(clean, 1 - 1e-4))
        for low, high in STRENGTHS if code == "CR" else ():
            some = [h for h, c in zip(hits, cases, strict=True) if low <= c.peak < high]
            if some:
                span = f"{low} to {high}" if np.isfinite(high) else f"above {low}"
                rows.append(
                    over_threshold(f"{name}, brightest {span} sigma", stamps, judge, some, over)
                )
    return rows


def evaluable(alerts: Sequence[Planes]) -> list[Planes]:
    """Alerts whose science stamp the pipeline can judge."""
    return [e for e in alerts if not isinstance(normalise(Stamp(e.science)), NotEvaluated)]


def over_threshold(measure: str, stamps: str, judge: str, hits: Sequence[Maps], over: float) -> Row:
    """The share of all pixels above a threshold; the interval counts each contaminant once."""
    share = float((np.concatenate(hits) > over).mean())
    return Row(measure, stamps, judge, len(hits), share, *wilson_of(share, len(hits)))


def width_rows(hits: Sequence[Reals], judges: dict[str, Judge], count: int) -> list[Row]:
    """Cosmic rays on made fields of one width of stars each, science alone."""
    rows = []
    for width in WIDTHS_PX:
        random = np.random.default_rng(SEED + int(10 * width))
        bases = [field(str(i), Part.TEST, random, width) for i in range(count)]
        cases = painted(bases, painting.cosmic_ray(hits), "CR", count, SEED)
        alone = {name: run for name, run in judges.items() if name in (*OF_SCIENCE, "science")}
        rows += [
            replace(row, measure=f"cosmic rays, width {width:g} px")
            for row in found_pixels("cosmic rays", "made fields", "CR", cases, alone)
            if row.measure.endswith("pixels at 0.0001")
        ]
    return rows


def wilson_of(share: float, count: int) -> tuple[float, float]:
    """The interval of a share of so many."""
    return wilson(round(share * count), count)


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
    ztf = evaluable(ztf)
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
        if name in FOR_HITS:
            scores[name] = partial(highest, run=run, codes=("CR",))
        elif name == "MaxiMask":
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
    fit = evaluable(alerts)
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


# ---- two engines ----------------------------------------------------------------------------


Cores = dict[str, float]


def cores(maps: dict[str, Maps], case: Case, by: Policy, engine: Engine) -> Cores:
    """Posteriors at the core by class, as the pipeline has them."""
    near = core(*case.science.shape)
    raw = [1 / (1 + np.exp(-maps[row.code][near].max())) for row in by.classes]
    its = by.deployment(side_of(case.science.shape, engine.manifest.sides_px))
    found = update(raw, its.training, its.priors)
    return dict(zip(by.codes, found.tolist(), strict=True))


def drops(found: Cores, by: Policy) -> bool:
    """Whether a dropping rule on cores applies."""
    return any(
        rule.action is Action.DROP
        and found[rule.contaminant] > rule.above
        and found["BBG"] <= rule.unless_source_above
        for rule in by.rules
    )


def rule_rows(alerts: Sequence[Planes], judges: dict[str, Judge], engines: dict[str, Engine],
              hits: Sequence[Reals], count: int) -> list[Row]:  # fmt: skip
    """What the default rules of each engine drop: real, scored as bogus, and painted."""
    rows = []
    for survey in ("ztf", "lsst"):
        fit = evaluable([e for e in alerts if (e.survey == "ztf") == (survey == "ztf")])
        bases = [e for e in fit if e.core not in (Core.BOGUS, Core.DIPOLE, Core.FLAGGED)]
        bases = [e for e in bases if max(e.science.shape) <= 64]
        sets = {
            "real": [case_of_alert(e) for e in fit if e.core is Core.REAL],
            "scored bogus": [case_of_alert(e) for e in fit if e.core is Core.BOGUS],
            "painted transients": painted(bases, on_empty_sky, "BBG", count, SEED + 12),
            "painted hits above 10 sigma": painted(
                bases, on_sky(painting.cosmic_ray(hits)), "CR", count, SEED + 11
            ),
        }
        for engine, judge in (("maximask", "MaxiMask"), ("stampmask", "all planes")):
            by = policy(survey, engines[engine].manifest)
            for name, cases in sets.items():
                found = [
                    drops(cores(maps, case, by, engines[engine]), by)
                    for maps, case in zip(judges[judge](cases), cases, strict=True)
                ]
                if found:
                    share, interval = float(np.mean(found)), wilson(sum(found), len(found))
                    rows.append(Row(f"default rules drop, {survey}", name, judge, len(found),
                                    share, *interval))  # fmt: skip
    return rows


def asked_rows(alerts: Sequence[Planes], judges: dict[str, Judge], engines: dict[str, Engine],
               hits: Sequence[Reals], count: int) -> list[Row]:  # fmt: skip
    """How often MaxiMask is asked where stampmask is in doubt, and what it finds that is asked."""
    rows = []
    for survey in ("ztf", "lsst"):
        fit = evaluable([e for e in alerts if (e.survey == "ztf") == (survey == "ztf")])
        first, second = (policy(survey, engines[n].manifest) for n in ("stampmask", "maximask"))
        bases = [e for e in fit if e.core not in (Core.BOGUS, Core.DIPOLE)]
        bases = [e for e in bases if max(e.science.shape) <= 64]
        sets = {
            "all": [case_of_alert(e) for e in fit],
            "real by history": [case_of_alert(e) for e in fit if e.core is Core.REAL],
            "scored bogus": [case_of_alert(e) for e in fit if e.core is Core.BOGUS],
            "painted hits": painted(
                bases, on_sky(painting.cosmic_ray(hits)), "CR", count, SEED + 11
            ),
            "painted transients": painted(bases, on_empty_sky, "BBG", count, SEED + 12),
        }
        for name, cases in sets.items():
            own, its = (judges[name](cases) for name in ("all planes", "MaxiMask"))
            ours, theirs = (
                [cores(m, case, by, engines[name]) for m, case in zip(maps, cases, strict=True)]
                for maps, by, name in ((own, first, "stampmask"), (its, second, "maximask"))
            )
            dropped = np.array([drops(each, second) for each in theirs], bool)
            rows += joint_rows(f"{survey}, {name}", ours, theirs, (first, second))
            for above in ASKED_ABOVE:
                asked = np.array([max(each[c] for c in DROPPED) > above for each in ours], bool)
                for what, of in (("asked", asked), ("asked, of what it drops", asked[dropped])):
                    if len(of):
                        measure, n = f"MaxiMask {what}, above {above:g}", int(of.sum())
                        share, interval = float(of.mean()), wilson(n, len(of))
                        stamps = f"{survey}, {name}"
                        rows.append(Row(measure, stamps, "two engines", len(of), share, *interval))
    return rows


def joint_rows(
    stamps: str, ours: Sequence[Cores], theirs: Sequence[Cores], policies: tuple[Policy, Policy]
) -> list[Row]:
    """What is found where the second is asked above the lowest of the limits: by the default rules
    of either, and by what both say together of any of the six classes."""
    priors = {row.code: row.prior for row in policies[0].priors}
    dropped, together = [], []
    for own, its in zip(ours, theirs, strict=True):
        asked = max(own[c] for c in DROPPED) > ASKED_ABOVE[0]
        dropped.append(drops(own, policies[0]) or (asked and drops(its, policies[1])))
        both = [pooled(own[c], its[c], priors[c]) if asked else own[c] for c in DROPPED]
        together.append(max(both) > TOGETHER_ABOVE)
    return [
        Row(measure, stamps, "two engines", len(found), float(np.mean(found)),
            *wilson(sum(found), len(found)))
        for measure, found in (
            ("rules of both engines drop", dropped),
            (f"together above {TOGETHER_ABOVE:g}", together),
        )
        if found
    ]  # fmt: skip


# ---- cost ------------------------------------------------------------------------------------


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
            and each.core not in (Core.BOGUS, Core.DIPOLE, Core.FLAGGED)
            and each.alert_id not in HITS_BESIDE
            and max(each.science.shape) <= 64
        ]
        for name, (code, brush) in brushes.items():
            n = count if code == "CR" else max(count // 4, 40)
            fit = {k: run for k, run in judges.items() if code == "CR" or k not in FOR_HITS}
            rows += found_pixels(name, survey, code, painted(bases, brush, code, n, SEED), fit)
    return rows


def measure(home: Path, samples: Path, count: int, seconds: float) -> list[Row]:
    engines = {
        name: open_engine(name, "onnxruntime", home, 1)
        for name in ("maximask", "deepcr", "stampmask")
    }
    own = engines["stampmask"]
    if detector() is None:
        print(f"Astro-SCRAPPY: {MISSING}")
    judges = {
        "MaxiMask": one_plane(engines["maximask"]),
        "deepCR ACS-WFC": one_plane(engines["deepcr"]),
        **({} if detector() is None else {"Astro-SCRAPPY": contrast()}),
        "science": stampmask(own, "s"),
        "science, template": stampmask(own, "st"),
        "science, difference": stampmask(own, "sd"),
        "all planes": stampmask(own, "stdv"),
    }
    alerts = with_profiles([each for each in data.samples(samples) if each.part is Part.TEST])
    hits = data.hits(samples, Part.TEST)
    return [
        *cost_rows(engines, seconds),
        *real_rows(alerts, judges, hits, count),
        *rule_rows(alerts, judges, engines, hits, count),
        *asked_rows(alerts, judges, engines, hits, count),
        *residual_rows(alerts, judges, max(count // 4, 40)),
        *painted_rows(alerts, hits, judges, count),
        *width_rows(hits, judges, max(count // 2, 40)),
        *reliability_rows(own, alerts, hits, RELIABILITY * count, SEED),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the tables of the model card")
    parser.add_argument("--painted", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the timing")
    chosen = parser.parse_args()
    home = default_home(os.environ)
    rows = measure(home, samples_folder(), chosen.painted, chosen.seconds)
    for row in rows:
        print(
            f"{row.measure:46} {row.stamps:28} {row.judge:34} {row.count:7d} "
            f"{row.share:7.3f}  {row.low:6.3f} to {row.high:6.3f}"
        )
    if chosen.markdown:
        chosen.markdown.write_text(markdown(rows) + "\n")
    if chosen.json:
        report = {"machine": facts("numpy", "onnxruntime"), "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
