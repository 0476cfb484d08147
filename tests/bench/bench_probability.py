"""Whether the probability of a tracking error is one: on trails of known length, and a season.

    python tests/bench/bench_probability.py [--each 16] [--kept FILE]
    python tests/bench/bench_probability.py --fit [--each 16] [--kept FILE]

Trails are painted on real frames of several cameras (``trails.py``). ``--fit`` fits the numbers of
``streamfilter/exposures/likelihood.py`` on the frames that are for that, and prints them; without
it the other frames test what is in force: how often what has a probability is true (reliability,
expected calibration error), how well it ranks the painted lengths, what is decided. ``--kept``
keeps what was measured, so that a second run takes seconds and a stopped one goes on.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_exposures import SAMPLES
from machine import facts
from ranks import spearman
from trails import EVENT_FWHM, Half, Painted, bases, painted

from streamfilter.exposures import likelihood, shapes, tracking
from streamfilter.exposures.likelihood import Errors, Likelihood
from streamfilter.exposures.records import Decision, Frame, Judgement, Shapes, TileEvidence
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.exposures.watcher import Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine

Numbers = npt.NDArray[np.float64]

_BINS = 10
_HARDLY_ANY_FWHM = 0.5
_PARTS_FWHM = 2.5
"""From there on a jump leaves two images, not a long one."""
_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of one painted frame, and what was painted."""

    base: str
    fwhm_px: float
    jump: bool
    length_fwhm: float
    shapes: Shapes
    tiles: tuple[TileEvidence, ...]
    doubled: bool
    doubtful: bool

    @property
    def failed(self) -> bool:
        """Whether the painted trail is a tracking error."""
        return self.length_fwhm >= EVENT_FWHM

    def judged(self, rules: TrackingRules) -> Judgement:
        """Returns the judgement under these rules."""
        return tracking.judge_detector(
            self.tiles, self.shapes, rules, doubled=self.doubled, doubtful=self.doubtful
        )


def measured(watcher: Watcher, one: Painted) -> Measured:
    """Returns what the watcher measures on a painted frame."""
    frame = Frame("painted", 0, "1", one.image.astype(np.float32))
    found = measurement(watcher, frame, one.base.name)
    assert found is not None, one.base.name
    return replace(found, fwhm_px=one.base.fwhm_px, jump=one.jump, length_fwhm=one.length_fwhm)


def measurement(watcher: Watcher, frame: Frame, name: str) -> Measured | None:
    """Returns what the watcher measures on a frame without a trail; None where it cannot."""
    look = watcher.judge_frame(frame)
    if look.stars is None:
        return None
    found = look.evidence.judgement.shapes
    doubtful = look.stars.unmeasured or frame.binning[0] != frame.binning[1]
    tiles, doubled = look.evidence.tiles, shapes.doubled(look.stars)
    return Measured(name, found.fwhm_px or 0.0, False, 0.0, found, tiles, doubled, doubtful)


def frames_of(half: Half, each: int, kept: Path | None) -> list[Measured]:
    """Returns the measured frames of one half; those of an earlier run from its file."""
    path = None if kept is None else kept.with_suffix(f".{half}.jsonl")
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    found = [read(json.loads(line)) for line in lines]
    known = bases(SAMPLES, half)
    if len(found) >= each * len(known):
        return found
    home = default_home(os.environ)
    watcher = Watcher(open_engine("maxitrack", "onnxruntime", home, os.cpu_count() or 1))
    every = (one for base in known for one in painted(base, each))
    for one in islice(every, len(found), None):
        found.append(measured(watcher, one))
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps(asdict(found[-1])) + "\n")
    return found


def read(row: dict[str, Any]) -> Measured:
    """Returns what was measured, from its fields."""
    tiles = tuple(TileEvidence(**tile) for tile in row.pop("tiles"))
    return Measured(shapes=Shapes(**row.pop("shapes")), tiles=tiles, **row)


# ---- fitting ----------------------------------------------------------------------------------


def balanced(frames: Sequence[Measured]) -> Numbers:
    """Returns weights under which failed and good frames are equally many."""
    failed = np.array([one.failed for one in frames])
    return np.asarray(np.where(failed, 0.5 / failed.sum(), 0.5 / (~failed).sum()), np.float64)


def surprise(frames: Sequence[Measured], said: Callable[[Measured], float | None]) -> float:
    """Returns the mean negative log-likelihood of the truth, of those who say something."""
    spoken = [(one, found) for one in frames if (found := said(one)) is not None]
    odds = np.array([found for _, found in spoken])
    signs = np.array([1.0 if one.failed else -1.0 for one, _ in spoken])
    weights = balanced([one for one, _ in spoken])
    return float((weights * np.logaddexp(0, -signs * odds)).sum())


def lowest(start: Sequence[float], cost: Callable[[Numbers], float]) -> Numbers:
    """Returns where a cost is lowest: steps along each axis, halved where none helps."""
    place, steps = np.array(start, float), np.full(len(start), 0.5)
    best = cost(place)
    for _ in range(_ROUNDS):
        for axis in range(len(place)):
            moved = False
            for sign in (1, -1):
                trial = place.copy()
                trial[axis] += sign * steps[axis]
                if (found := cost(trial)) < best:
                    place, best, moved = trial, found, True
                    break
            steps[axis] *= 1.3 if moved else 0.5
    return place


def jeffreys(found: int, of: int) -> float:
    """Returns the mean of a share under Jeffreys' prior; never 0 or 1."""
    return (found + 0.5) / (of + 1)


def errors(at: Numbers, frames: Sequence[Measured]) -> Errors:
    """Returns error rates from their logits; none is below what so few frames can show."""
    failed = sum(one.failed for one in frames)
    rates = 1 / (1 + np.exp(-at))
    least = jeffreys(0, failed), jeffreys(0, len(frames) - failed)
    return Errors(*(float(np.clip(r, low, 0.5)) for r, low in zip(rates, least, strict=True)))


def fitted(frames: Sequence[Measured]) -> Likelihood:
    """Returns the numbers under which the frames are least surprising, one witness at a time."""
    numbers, rules = Likelihood(), TrackingRules()
    bounds = rules.round, rules.elongated
    single = [one for one in frames if not one.doubled and one.shapes.stars >= rules.shape_stars]
    fine = [one for one in single if (one.shapes.fwhm_px or 0) >= numbers.sampled_px]
    coarse = [one for one in single if (one.shapes.fwhm_px or 0) < numbers.sampled_px]

    def by_shapes(at: Numbers) -> Likelihood:
        steepness, bend = float(np.exp(at[0])), float(np.exp(at[2]))
        return replace(numbers, steepness=steepness, even=float(at[1]), bend=bend)

    def shape_cost(at: Numbers) -> float:
        tried = by_shapes(at)
        return surprise(fine, lambda one: likelihood.of_shapes(one.shapes, bounds, tried))

    numbers = by_shapes(lowest((2, 0, 0), shape_cost))

    numbers = replace(numbers, coarse=min(scatter(fine) / scatter(coarse), 1.0))
    return _network_fitted(frames, replace(numbers, doubled=_of_doubled(frames)))


def scatter(frames: Sequence[Measured]) -> float:
    """Returns the rms of the elongations' logarithms about those of trails of the painted length.

    A uniform line as long as the FWHM adds 0.46 of the star's variance along it.
    """
    some = [one for one in frames if _HARDLY_ANY_FWHM < one.length_fwhm < _PARTS_FWHM]
    found = np.array([_trailing(one.shapes) for one in some])
    painted_ = np.array([np.log1p(0.46 * one.length_fwhm**2) / 2 for one in some])
    return float(np.std(found - painted_))


def _trailing(found: Shapes) -> float:
    return (found.coherence or 0.0) * float(np.log(found.elongation or 1.0))


def _of_doubled(frames: Sequence[Measured]) -> float:
    """Returns the log-odds of companions at one offset; shorter jumps leave long stars."""
    jumps = [one.doubled for one in frames if one.jump and one.length_fwhm > _PARTS_FWHM]
    good = [one.doubled for one in frames if not one.failed]
    found, false = (jeffreys(sum(some), len(some)) for some in (jumps, good))
    return float(np.log(found / false))


def _network_fitted(frames: Sequence[Measured], numbers: Likelihood) -> Likelihood:
    # Trails just too short to count are many here and few in the sky.
    clear = [one for one in frames if one.failed or one.length_fwhm <= _HARDLY_ANY_FWHM]
    heard = {}
    for one in clear:
        odds = one.judged(TrackingRules()).log_odds
        if odds is not None and not (one.doubtful and odds > 0):
            heard[id(one)] = odds

    def said(one: Measured, tried: Errors) -> float | None:
        odds = heard.get(id(one))
        return None if odds is None else likelihood.limited(odds, tried)

    def cost(at: Numbers) -> float:
        tried = errors(at, clear)
        return surprise(clear, lambda one: said(one, tried))

    return replace(numbers, alone=errors(lowest((-1, -3), cost), clear))


# ---- testing ----------------------------------------------------------------------------------


def reliability(probabilities: Numbers, true: npt.NDArray[np.bool_]) -> tuple[list[str], float]:
    """Returns the lines of the reliability curve, and the expected calibration error."""
    place = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    lines, error = [], 0.0
    for number in range(_BINS):
        inside = place == number
        if inside.any():
            said, found = float(probabilities[inside].mean()), float(true[inside].mean())
            error += float(inside.mean()) * abs(said - found)
            lines.append(f"  said {said:.3f}  true {found:.3f}  of {inside.sum()}")
    return lines, error


def report(frames: Sequence[Measured], rules: TrackingRules) -> None:
    """Print how well the probability does, under the share of failed frames as prior."""
    base_rate = float(np.mean([one.failed for one in frames]))
    evenly = replace(rules, prior=base_rate)
    judged = [(one, one.judged(evenly).probability) for one in frames]
    known = [(one, p) for one, p in judged if p is not None]
    probabilities = np.array([p for _, p in known])
    lines, error = reliability(probabilities, np.array([one.failed for one, _ in known]))
    print(
        f"\nat the prior of these frames, {base_rate:.2f}; {len(known)} of {len(frames)} have one"
    )
    print("\n".join(lines))
    print(f"expected calibration error {error:.3f}")
    lengths = [one.length_fwhm for one, _ in known]
    print(f"rank correlation with the painted length {spearman(lengths, probabilities):.3f}")
    for kind in (False, True):
        some = [(one.length_fwhm, p) for one, p in known if one.jump is kind]
        print(f"  of {'jumps' if kind else 'lines'}: {spearman(*zip(*some, strict=True)):.3f}")
    decisions(frames, rules)


def decisions(frames: Sequence[Measured], rules: TrackingRules) -> None:
    """Print what is decided under the rules in force, by base."""
    print(f"\ndecided at the prior {rules.prior:g}: errors of good, short, long trails")
    print(f"{'':22}{'FWHM':>5}  {'0 FWHM':12}{'to 1.1':12}{'1.1 to 2':12}{'from 2 on':12}undecided")
    names = dict.fromkeys(one.base for one in frames)
    for name in (*names, ""):
        some = [(one, one.judged(rules)) for one in frames if name in ("", one.base)]
        cells = []
        for low, high in ((-1, 0), (0, 1.1), (1.1, 2), (2, 99)):
            kind = [j.decision for one, j in some if low < one.length_fwhm <= high]
            cells.append(f"{kind.count(Decision.TRACKING_ERROR)} of {len(kind)}")
        open_ = [j.decision for _, j in some].count(Decision.CANNOT_TELL)
        fwhm = f"{some[0][0].fwhm_px:5.1f}" if name else " " * 5
        print(f"{name or 'all':22}{fwhm}  " + "".join(f"{cell:12}" for cell in cells) + str(open_))


def main() -> None:
    """Fit, or test what is in force."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="fit the numbers and print them")
    parser.add_argument("--each", type=int, default=16, help="trails painted on each frame")
    parser.add_argument("--kept", type=Path, help="where what was measured is kept")
    chosen = parser.parse_args()
    print(facts("numpy", "onnxruntime", "sep"))
    rules = TrackingRules()
    if chosen.fit:
        frames = frames_of(Half.CALIBRATE, chosen.each, chosen.kept)
        numbers = fitted(frames)
        print(numbers)
        rules = replace(rules, likelihood=numbers)
        report(frames, rules)
    report(frames_of(Half.TEST, chosen.each, chosen.kept), rules)


if __name__ == "__main__":
    main()
