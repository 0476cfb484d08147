"""How often the default rules drop real sources, and how many contaminants they find.

Real: ZTF triplets scored by ZTF itself, stars of those stamps (in the science and in the template
image at one place), every sample packet. Painted: real cosmic-ray hits and synthetic defects at
the alert's place on real sky. Run ``python tests/bench/bench_rules.py [--json FILE]``.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import checkout  # noqa: F401 - finds what is imported below
import numpy as np
import numpy.typing as npt
from machine import facts
from painting import defects, filtered, hits, sigma_of, sky, source

from streamfilter.alerts.normalise import Normalised, normalise, reflect, side_of
from streamfilter.alerts.placement import Placement
from streamfilter.alerts.rules import policy
from streamfilter.alerts.verdict import Policy, applies, decide, summarise
from streamfilter.archive.intervals import wilson
from streamfilter.config import Settings
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import load
from streamfilter.records import (
    Action,
    Label,
    Message,
    NotEvaluated,
    Origin,
    Plane,
    Rejected,
    Rule,
    Stamp,
    StampEvidence,
)
from streamfilter.service.assembly.alerts import Parts, open_parts
from training.data import GAIN
from training.samples import samples_folder

Image = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

BATCH = 16
MAXIMASK = load("maximask")
SEED = 20_251_124
PSF_FWHM_PX = {"ztf": 2.0, "lsst": 4.5}
STAR_WINDOW_PX = 7


@dataclass(frozen=True, slots=True)
class Row:
    """What the rules said of one set of stamps."""

    survey: str
    name: str
    stamps: int
    dropped: float
    dropped_low: float
    """Of a 95 % Wilson interval, as is ``dropped_high``."""
    dropped_high: float
    suspect: float
    rules: dict[str, int]
    """Dropping and flagging rules by how often they decided."""


@dataclass(frozen=True, slots=True)
class Margin:
    """One real packet: its verdict and how far it is from each neighbouring one."""

    survey: str
    alert: str
    label: str
    rule: str | None
    cosmic_ray: float
    source: float
    nearest: str
    """The dropping rule whose threshold is nearest among those that did not speak."""
    decades: float
    """log10 of the odds that are missing until that rule applies (its guard not counted)."""


class Judge:
    """Stamps through the network and the default rules of a survey."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def outputs(
        self, stamps: Iterable[Stamp]
    ) -> Iterator[tuple[int, Normalised, Image, Placement]]:
        """Index, normalised stamp, raw output and placement of each that can be evaluated."""
        ready: list[tuple[int, Normalised]] = []
        for i, stamp in enumerate(stamps):
            found = normalise(stamp)
            if not isinstance(found, NotEvaluated):
                ready.append((i, found))
        sides = self._engine.manifest.sides_px
        by_side: dict[int, list[tuple[int, Normalised]]] = {}
        for pair in ready:
            by_side.setdefault(side_of(pair[1].image.shape, sides), []).append(pair)
        for side, fitting in sorted(by_side.items()):
            for start in range(0, len(fitting), BATCH):
                chunk = fitting[start : start + BATCH]
                batch = np.empty((len(chunk), 1, side, side), np.float32)
                places = [reflect(each, batch[k, 0]) for k, (_, each) in enumerate(chunk)]
                raw = self._engine.infer(batch)
                for k, (i, each) in enumerate(chunk):
                    yield i, each, raw[k], places[k]

    def evidence(self, stamps: Iterable[Stamp], survey: str) -> dict[int, StampEvidence]:
        """Evidence by the index of the stamp."""
        by = policy(survey, MAXIMASK)
        return {i: evidence_of(raw, place, by) for i, _, raw, place in self.outputs(stamps)}


def evidence_of(raw: Image, place: Placement, by: Policy) -> StampEvidence:
    return StampEvidence(Plane.SCIENCE, None, 0, summarise(raw[None], [place], [by])[0])


def row(survey: str, name: str, found: Sequence[StampEvidence]) -> Row:
    verdicts = [decide([stamp], policy(survey, MAXIMASK).rules) for stamp in found]
    dropped = sum(v.action is Action.DROP for v in verdicts)
    low, high = wilson(dropped, len(verdicts))
    return Row(
        survey,
        name,
        len(verdicts),
        dropped / max(len(verdicts), 1),
        low,
        high,
        sum(v.label is Label.SUSPECT for v in verdicts) / max(len(verdicts), 1),
        dict(Counter(v.rule for v in verdicts if v.rule).most_common()),
    )


# ---- real alerts and real stars -----------------------------------------------------------------


def ztf_triplets(samples: Path) -> tuple[npt.NDArray[np.float32], Reals, Reals]:
    """Stamps (N, 3, 63, 63), rb and drb (NaN where there is none)."""
    stamps = np.load(samples / "stamps" / "ztf.npz")["stamps"]
    with (samples / "stamps" / "ztf.csv").open() as file:
        table = list(csv.DictReader(file))
    scores = [[float(line[key] or "nan") for line in table] for key in ("rb", "drb")]
    return stamps, np.array(scores[0]), np.array(scores[1])


def cut(image: Image) -> Stamp:
    """A stamp without the padding of the archive file, which keeps no uncut stamps."""
    valid = np.isfinite(image)
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if rows.size == 0:
        return Stamp(image)
    return Stamp(np.ascontiguousarray(image[: rows[-1] + 1, : columns[-1] + 1]))


def ztf_real(judge: Judge, samples: Path) -> list[Row]:
    stamps, rb, drb = ztf_triplets(samples)
    found = judge.evidence((cut(triplet[0]) for triplet in stamps), "ztf")
    sets = {
        "scored as real: drb > 0.9": drb > 0.9,  # no truth: deploy/RULES.md
        "likely real: rb > 0.65, no drb": (rb > 0.65) & ~(drb > 0),
        "bogus: rb < 0.3": rb < 0.3,
        "bogus by deep learning: drb < 0.3": (drb < 0.3) & (drb > 0),
    }
    rows = [
        row("ztf", name, [found[i] for i in np.flatnonzero(members).tolist() if i in found])
        for name, members in sets.items()
    ]
    return [*rows, row("ztf", "stars away from the alert", list(ztf_stars(judge, stamps)))]


def ztf_stars(judge: Judge, stamps: npt.NDArray[np.float32]) -> Iterator[StampEvidence]:
    """Evidence as if the alert were at each star that science and template both show."""
    by, half = policy("ztf", MAXIMASK), STAR_WINDOW_PX
    for i, science, raw, place in judge.outputs(Stamp(triplet[0]) for triplet in stamps):
        template = normalise(Stamp(stamps[i, 1]))
        if isinstance(template, NotEvaluated):
            continue
        for y, x in peaks(science.image, 6.0, half + 1):
            there = template.image[y - 1 : y + 2, x - 1 : x + 2].max()
            here = float(science.image[y, x])
            empty = (
                science.filled is not None and science.filled[y - 5 : y + 6, x - 5 : x + 6].any()
            )
            if np.hypot(y - 31, x - 31) > 5 and there > max(5.0, 0.3 * here) and not empty:
                side = 2 * half + 1
                window = Placement(place.top + y - half, place.left + x - half, side, side)
                yield evidence_of(raw, window, by)


def peaks(image: Image, above: float, margin: int) -> list[tuple[int, int]]:
    """Highest pixels of their 5x5 surroundings."""
    around = np.lib.stride_tricks.sliding_window_view(image, (5, 5)).max(axis=(2, 3))
    middle = image[2:-2, 2:-2]
    where = np.argwhere((middle == around) & (middle > above)) + 2
    inside = (where.min(axis=1) >= margin) & (where.max(axis=1) < len(image) - margin)
    return [(int(y), int(x)) for y, x in where[inside]]


# ---- painted ------------------------------------------------------------------------------------


def painted_hits(
    judge: Judge, survey: str, bases: Sequence[Stamp], samples: Path, random: np.random.Generator
) -> list[Row]:
    """Rows by the signal-to-noise ratio that a point-source filter gives the hit."""
    real_hits = hits(samples)
    stamps, signals = [], []
    for base in bases:
        stamp, signal = with_hit(base, real_hits[random.integers(len(real_hits))], survey, random)
        stamps.append(stamp)
        signals.append(signal)
    found = judge.evidence(stamps, survey)
    edges = (5.0, 7.0, 10.0, 20.0, 50.0, np.inf)
    return [
        row(
            survey,
            f"painted cosmic rays, S/N {low:g} to {high:g}",
            [found[i] for i, s in enumerate(signals) if low <= s < high and i in found],
        )
        for low, high in pairwise(edges)
    ]


def with_hit(
    base: Stamp, recorded: Reals, survey: str, random: np.random.Generator
) -> tuple[Stamp, float]:
    """A stamp with a hit at the alert's place, turned at random; its signal to noise."""
    hit = np.rot90(recorded / GAIN[survey], int(random.integers(4)))
    height, width = base.image.shape
    layer: Reals = np.zeros((height, width))
    middle = [
        int(np.rint((np.arange(n) @ hit.sum(axis=1 - a)) / hit.sum()))
        for a, n in enumerate(hit.shape)
    ]
    for (y, x), charge in np.ndenumerate(hit):
        row_at, column_at = height // 2 + y - middle[0], width // 2 + x - middle[1]
        if 0 <= row_at < height and 0 <= column_at < width:
            layer[row_at, column_at] += charge
    stamp = Stamp((base.image + layer).astype(np.float32), base.variance)
    return stamp, filtered(layer, PSF_FWHM_PX[survey]) / sigma_of(base)


def painted_defects(
    judge: Judge, survey: str, bases: Sequence[Stamp], random: np.random.Generator
) -> list[Row]:
    rows = []
    for name, add in defects(random).items():
        for low, high in ((5.0, 10.0), (10.0, 30.0), (30.0, 200.0)):
            stamps = []
            for base in bases:
                strength = float(np.exp(random.uniform(np.log(low), np.log(high))))
                sigma = sigma_of(base)
                stamps.append(
                    Stamp(
                        (add(base.image / np.float32(sigma), strength) * sigma).astype(np.float32),
                        base.variance,
                    )
                )
            found = judge.evidence(stamps, survey)
            rows.append(
                row(survey, f"painted {name}, {low:g} to {high:g} sigma", list(found.values()))
            )
    return rows


def painted_sources(
    judge: Judge, survey: str, bases: Sequence[Stamp], random: np.random.Generator
) -> list[Row]:
    """What must be kept: stars of any seeing and brightness, asteroids trailed by up to 25 px."""
    rows = []
    for name, longest_px in (("stars", 0.0), ("asteroids", 25.0)):
        stamps = []
        for base in bases:
            flux = source(base, random, longest_px)
            photons = random.normal(size=flux.shape) * np.sqrt(flux / GAIN[survey])
            layer = (base.image + flux + photons).astype(np.float32)
            stamps.append(Stamp(layer, base.variance))
        found = judge.evidence(stamps, survey)
        rows.append(row(survey, f"painted {name}", list(found.values())))
    return rows


# ---- real packets -------------------------------------------------------------------------------


def packets(parts: Parts, samples: Path) -> list[Margin]:
    """Every sample packet with its verdict and its margin."""
    files = [
        path
        for survey in ("lsst", "ztf", "winter", "decam", "pgir")
        for path in sorted((samples / survey).iterdir())
        if path.suffix in (".avro", ".bin")
    ]
    messages = [Message(Origin(p.name, 0, i), p.read_bytes()) for i, p in enumerate(files)]
    margins = []
    for judged in parts.pipeline.judge(parts.engine, messages):
        if isinstance(judged, Rejected):
            raise SystemExit(f"{judged.message.origin.topic}: {judged.reason}: {judged.detail}")
        annotation = judged[1]
        alert, (stamp,) = annotation.alert, annotation.stamps
        if stamp.not_evaluated is None:
            rule, decades = nearest(stamp, policy(alert.survey, MAXIMASK).rules)
        else:
            rule, decades = str(stamp.not_evaluated), float("nan")
        core = {code: evidence.core for code, evidence in stamp.classes.items()}
        margins.append(
            Margin(
                alert.survey,
                alert.alert_id,
                annotation.verdict.label,
                annotation.verdict.rule,
                core.get("CR", float("nan")),
                core.get("BBG", float("nan")),
                rule,
                decades,
            )
        )
    return margins


def nearest(stamp: StampEvidence, rules: Iterable[Rule]) -> tuple[str, float]:
    """The dropping rule that is nearest to speaking, and the odds missing, in decades."""
    missing = [
        (
            decades(rule.above) - decades(stamp.classes[rule.contaminant].core),
            rule.name,
        )
        for rule in rules
        if rule.action is Action.DROP and not applies(rule, stamp, {})
    ]
    distance, name = min(missing)
    return name, float(distance)


def decades(probability: float) -> float:
    p = min(max(probability, 1e-12), 1 - 1e-12)
    return float(np.log10(p / (1 - p)))


# ---- report -------------------------------------------------------------------------------------


def table(rows: Sequence[Row], margins: Sequence[Margin]) -> str:
    lines = [
        f"{'survey':6} {'set':46} {'n':>5} {'dropped':>8} {'95 % interval':>15} {'suspect':>8}  by"
    ]
    lines += [
        f"{r.survey:6} {r.name:46} {r.stamps:5d} {r.dropped:8.2%} "
        f"{r.dropped_low:7.2%}-{r.dropped_high:6.2%} {r.suspect:8.2%}  "
        + ", ".join(f"{rule} {n}" for rule, n in r.rules.items())
        for r in rows
    ]
    lines += [
        "",
        f"{'survey':6} {'alert':20} {'verdict':13} {'rule':22} {'CR':>6} {'BBG':>6}  nearest",
    ]
    lines += [
        f"{m.survey:6} {m.alert:20} {m.label:13} {m.rule or '-':22} {m.cosmic_ray:6.3f} "
        f"{m.source:6.3f}  {m.nearest} in {m.decades:.1f} decades"
        for m in margins
    ]
    return "\n".join(lines)


def measure(parts: Parts, samples: Path, n: int) -> tuple[list[Row], list[Margin]]:
    judge, random = Judge(parts.engine), np.random.default_rng(SEED)
    rows = ztf_real(judge, samples)
    stamps, _, _ = ztf_triplets(samples)
    ztf = sky([Stamp(triplet[0]) for triplet in stamps], n, random)
    alerts = (
        parts.pipeline.decode(Message(Origin(path.name, 0, 0), path.read_bytes()))
        for path in sorted((samples / "lsst").glob("*.bin"))
    )
    real = [alert.stamps[Plane.SCIENCE] for alert in alerts if not isinstance(alert, Rejected)]
    lsst = sky(real, n, random)
    for survey, bases in (("ztf", ztf), ("lsst", lsst)):
        rows += painted_hits(judge, survey, bases, samples, random)
        rows += painted_defects(judge, survey, bases[: n // 6], random)
    rows += painted_sources(judge, "lsst", lsst, random)
    return rows, packets(parts, samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=samples_folder())
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--painted", type=int, default=900, help="painted hits per survey")
    chosen = parser.parse_args()
    parts = open_parts(Settings(), threads=0, say=print)
    rows, margins = measure(parts, chosen.samples, chosen.painted)
    print(table(rows, margins))
    if chosen.json:
        report = {
            "machine": facts("numpy", "onnxruntime"),
            "rows": [asdict(r) for r in rows],
            "packets": [asdict(m) for m in margins],
        }
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
