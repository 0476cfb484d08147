"""What finds cosmic rays in whole frames, and how many: real events, and painted ones.

    python tests/bench/bench_frames.py [--json FILE] [--fit] [--seconds N]

Two truths, of which none is tuned on (``frame_truth.py``): 24 real frames with the events that
other nights of the same field betray, and recorded hits painted on frames of four cameras, binned
and blurred to five widths of their stars. An event is found where any pixel within 2 px of it is;
a group of found pixels that touches none within 2 px is a false alarm, on a star where the median
of the 5x5 px around its brightest pixel is above 3 sigma. Precision is found events over those and
the false alarms. Of painted hits, pixels above 3 sigma are counted too, at the threshold that one
clean pixel in 10,000 passes. Of painted frames, what was sharper than a star before anything was
painted (hits of their own, hot pixels) counts for nothing, and what MaxiMask and deepCR both call a
cosmic ray. Intervals are Wilson's, 95 %; those of pixels count
each event once.

``--fit`` prints the priors and thresholds for frames that the manifests hold: from hits of the
training part on frames of other cameras.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import checkout  # noqa: F401 - finds what is imported below
import numpy as np
from frame_finders import ENGINES, Finder, finders, missing, score_of, timed_engines
from frame_truth import (
    FIT_BASES,
    STRENGTHS,
    TEST_BASES,
    WIDTHS_PX,
    Masks,
    Pixels,
    Scene,
    painted,
    plain_scenes,
    real_scenes,
)
from machine import facts

from streamfilter import posterior
from streamfilter.archive.intervals import wilson
from streamfilter.inference.cache import default_home
from streamfilter.inference.manifest import load
from streamfilter.records import Image
from training import data
from training.canvas import grown
from training.data import Part
from training.samples import samples_folder

TOLERANCE_PX = 2
FALSE_PIXELS = 1e-4
ON_A_STAR = 3.0
AGREED = 0.1
TIMED_PX = 1_696
"""Two tiles of 896 px with the margin of a network that reaches up to 32 px."""


@dataclass(slots=True)
class Score:
    """What a finder found of some scenes."""

    found: list[bool]
    """For each event."""
    sizes: list[int]
    strengths: list[float]
    false: int = 0
    """Groups of pixels that are no event, away from stars."""
    on_stars: int = 0

    def share(self, chosen: Sequence[bool] | None = None) -> str:
        """Events found, of those chosen, with the interval."""
        kept = [f for i, f in enumerate(self.found) if chosen is None or chosen[i]]
        return shown(sum(kept), len(kept))

    @property
    def precision(self) -> str:
        """Found events over those and all false alarms."""
        right = sum(self.found)
        return shown(right, right + self.false + self.on_stars)


def shown(count: int, of: int) -> str:
    """A share with its interval."""
    if of == 0:
        return "-"
    low, high = wilson(count, of)
    return f"{brief(count / of)} ({brief(low)} to {brief(high)})"


def brief(share: float) -> str:
    """Two digits, or three where two would make it 1; without a leading 0."""
    text = f"{share:.2f}" if share < 0.995 else f"{share:.3f}"
    return "1" if text == "1.000" else text.removeprefix("0")


def groups(mask: Masks) -> list[Pixels]:
    """The pixels of each group that touch, diagonally too."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    made = []
    while left:
        waiting, group = [left.pop()], []
        while waiting:
            y, x = waiting.pop()
            group.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting += near
        made.append(np.array(group))
    return made


def judged(scenes: Iterable[tuple[Scene, Image]], threshold: float) -> Score:
    """Events found and false alarms at a threshold."""
    total = Score([], [], [])
    for scene, score in scenes:
        mask = score > threshold
        near = grown(mask, TOLERANCE_PX)
        known = np.zeros(mask.shape, bool)
        for event, strength in zip(scene.events, scene.strengths, strict=True):
            known[tuple(event.T)] = True
            total.found.append(bool(near[tuple(event.T)].any()))
            total.sizes.append(len(event))
            total.strengths.append(strength)
        allowed = grown(known | scene.ignored, TOLERANCE_PX)
        for group in groups(mask):
            if allowed[tuple(group.T)].any():
                continue
            y, x = group[np.argmax(scene.image[tuple(group.T)])]
            around = scene.image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            if np.median(around) > ON_A_STAR:
                total.on_stars += 1
            else:
                total.false += 1
    return total


def bright_pixels(scenes: Sequence[tuple[Scene, Image]]) -> tuple[float, int]:
    """The share of hits' pixels above what one clean pixel in 10,000 passes; and events."""
    clean = np.concatenate([score[scene.clean] for scene, score in scenes])
    limit = np.quantile(clean, 1 - FALSE_PIXELS)
    hit = np.concatenate([score[scene.bright] for scene, score in scenes])
    return float((hit > limit).mean()), sum(len(scene.events) for scene, _ in scenes)


# ---- the painted truth ----------------------------------------------------------------------


def painted_scenes(samples: Path, part: Part, judges: Sequence[Finder]) -> Iterator[Scene]:
    """Painted frames of a part; what both published networks find before counts for nothing."""
    hits = data.hits(samples, part)
    both = [each for each in judges if each.name in ("MaxiMask", "deepCR ACS-WFC")]
    for base, seed, plain in plain_scenes(samples, TEST_BASES if part is Part.TEST else FIT_BASES):
        old = np.all([judge.score(plain) > AGREED for judge in both], axis=0)
        known = replace(plain, ignored=plain.ignored | grown(old, 3))
        random = np.random.default_rng([seed, len(base.path), round(10 * plain.width_px)])
        yield painted(known, hits, random)


# ---- tables ---------------------------------------------------------------------------------


def real_table(judges: Sequence[Finder], scenes: Sequence[Scene]) -> list[list[str]]:
    """Real events, by size."""
    rows = [["finder", "events found", "one pixel", "two and more", "precision",
             "false alarms off and on stars"]]  # fmt: skip
    for judge in judges:
        scored = [(scene, judge.score(scene)) for scene in scenes]
        for name, threshold in judge.thresholds.items():
            total = judged(scored, threshold)
            single = [size == 1 for size in total.sizes]
            rows.append([
                name, total.share(), total.share(single), total.share([not s for s in single]),
                total.precision, f"{total.false}, {total.on_stars}",
            ])  # fmt: skip
    return rows


def painted_tables(judges: Sequence[Finder], scenes: Sequence[Scene]) -> list[list[list[str]]]:
    """Painted events by width and by strength, and their pixels."""
    bounds = list(pairwise(STRENGTHS))
    events = [["finder, events found; precision", *(f"FWHM {w:g} px" for w in WIDTHS_PX)]]
    pixels = [["finder, pixels at 1e-4 false ones", *(f"FWHM {w:g} px" for w in WIDTHS_PX)]]
    strong = [["finder, events found", *(f"{a:g} to {b:g} sigma" for a, b in bounds)]]
    for judge in judges:
        scored = [(scene, judge.score(scene)) for scene in scenes]
        by_width = [[each for each in scored if each[0].width_px == w] for w in WIDTHS_PX]
        for name, threshold in judge.thresholds.items():
            totals = [judged(some, threshold) for some in by_width]
            events.append([name, *(f"{t.share()}; {t.precision}" for t in totals)])
            whole = judged(scored, threshold)
            inside = [[a <= s < b for s in whole.strengths] for a, b in bounds]
            strong.append([name, *(whole.share(chosen) for chosen in inside)])
        shares = [bright_pixels(some) for some in by_width]
        pixels.append([judge.name, *(shown(round(s * n), n) for s, n in shares)])
    return [events, strong, pixels]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


# ---- priors and thresholds for frames -------------------------------------------------------


def fit(judges: Sequence[Finder], samples: Path) -> None:
    """Print prior and threshold of each network: as many missed as false alarms."""
    scenes = list(painted_scenes(samples, Part.TRAIN, judges))
    for judge, name in zip(judges, ENGINES, strict=False):
        scored = [(scene, judge.score(scene)) for scene in scenes]
        row = next(row for row in load(name).classes if row.code == "CR")
        prior = known_share(scored, row.training_prior)
        levels = 1 / (1 + np.exp(-np.linspace(-5, 5, 21)))
        best, limit = max((balance(judged(scored, level)), float(level)) for level in levels)
        threshold = float(posterior.update(limit, row.training_prior, prior))
        print(
            f'{name}: {{ code = "CR", prior = {prior:.1e}, threshold = {threshold:.2g} }}'
            f"  # raw > {limit:.3g}, balance {best:.3f} on {sum(len(s.events) for s in scenes)}"
        )


def balance(total: Score) -> float:
    """Twice the found over events and alarms (F1)."""
    right = sum(total.found)
    return 2 * right / (len(total.found) + right + total.false + total.on_stars)


def known_share(scored: Sequence[tuple[Scene, Image]], training: float) -> float:
    """The prior at which the mean probability is the share of hits' pixels."""
    truth = np.concatenate([scene.bright[~scene.ignored] for scene, _ in scored])  # type: ignore[index]
    raw = np.concatenate([score[~scene.ignored] for scene, score in scored])
    tried = np.logspace(-6, -1, 51)
    means = [float(posterior.update(raw, training, prior).mean()) for prior in tried]
    return float(tried[int(np.argmin(np.abs(np.array(means) - truth.mean())))])


# ---- speed ----------------------------------------------------------------------------------


def speed_table(home: Path, seconds: float) -> list[list[str]]:
    """Mpix/s of cosmic rays alone on two threads, in turns."""
    engines = timed_engines(home, 2)
    noise = np.random.default_rng(1).standard_normal((TIMED_PX, TIMED_PX), np.float32)
    scene = next(iter([Scene(name="", image=noise, electrons=noise, read_noise=0.0, events=(),
                             strengths=(), ignored=np.zeros(noise.shape, bool))]))  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in engines}
    end = time.monotonic() + seconds
    while time.monotonic() < end or not all(taken.values()):
        for name, engine in engines.items():
            begun = time.monotonic()
            score_of(engine, scene)
            taken[name].append(time.monotonic() - begun)
    rows = [["engine, runtime, precision", "Mpix/s"]]
    for name, each in taken.items():
        rows.append([name, f"{noise.size / 1e6 / float(np.median(each)):.2f}"])
    return rows


def main() -> None:
    """Print the tables as the model cards have them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--fit", action="store_true", help="print the manifests' numbers instead")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the timing; 0: none")
    chosen = parser.parse_args()
    home, samples = default_home(os.environ), samples_folder()
    judges = finders(home, 1)
    if chosen.fit:
        fit(judges, samples)
        return
    real = list(real_scenes(samples))
    made = list(painted_scenes(samples, Part.TEST, judges))
    tables = [real_table(judges, real), *painted_tables(judges, made)]
    if chosen.seconds:
        tables.append(speed_table(home, chosen.seconds))
    print("\n\n".join([*(markdown(each) for each in tables), *missing()]))
    if chosen.json:
        about = {"machine": facts("numpy", "onnxruntime"), "tables": tables,
                 "real": [scene.name for scene in real]}  # fmt: skip
        chosen.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
