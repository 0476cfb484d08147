"""Our background beside SEP's and, where it is installed, the reference program's.

    python tests/bench/bench_background.py [--json FILE] [--frames 6]

By speed; by made skies whose level and noise are known; by what MaxiMask finds of real hits that
are painted on real frames; and by the decisions on tracking, of real and of painted frames.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sep
from bench_exposures import SAMPLES, compared, made_frame, reference, sample_frames
from machine import facts, report
from trails import Half, bases, painted

from streamfilter.exposures import sky
from streamfilter.exposures.masking import MaskRules, swept
from streamfilter.exposures.records import Frame, FrameReason, Mask
from streamfilter.exposures.sky import Axis, Cubics, Mesh, Sky
from streamfilter.exposures.watcher import Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine
from streamfilter.records import Image
from training import data

Pixels = npt.NDArray[np.float64]
Normalise = Callable[..., tuple[Image, Sky] | FrameReason]

_SHAPE = (1000, 1200)
_LEVEL, _SIGMA = 1000.0, 10.0
_HITS = 60
_NEAR_PX = 2
_LIMITS = (0.05, 0.5)
"""On MaxiMask's raw output for cosmic rays."""


def by_sep(
    image: Image, masked: Mask | None = None, mesh: Mesh | None = None
) -> tuple[Image, Sky] | FrameReason:
    """Does with SEP's background what ``sky.normalise`` does."""
    mesh = mesh or Mesh()
    masked = sky.unusable(image, masked)
    found = sep.Background(
        np.ascontiguousarray(image), mask=masked, bw=mesh.cell_px, bh=mesh.cell_px, fw=3, fh=3
    )
    if not found.globalrms > 0:
        return FrameReason.NO_VARIATION
    result = image - found.back(dtype=np.float32)
    result /= found.rms(dtype=np.float32)
    np.clip(result, -mesh.largest_sigmas, mesh.largest_sigmas, out=result)
    if masked is not None:
        result[masked] = 0.0
    level, sigma = np.full((2, 2), found.globalback), np.full((2, 2), found.globalrms)
    return result, Sky(level, sigma, Axis(image.shape[0], 0, 1, 2), Axis(image.shape[1], 0, 1, 2))


WAYS: dict[str, Normalise] = {"ours": sky.normalise, "SEP": by_sep}


def speed(rounds: int = 5) -> dict[str, object]:
    """Mpix/s of ours, and how much longer SEP and the reference program take."""
    counts, known = made_frame(2048, 4096), reference()
    noise = np.random.default_rng(1).normal(0, 0.3, counts.shape)
    found: dict[str, object] = {}
    for name, image in (
        ("whole numbers", counts.astype(np.float32)),
        ("fractions", (counts + noise).astype(np.float32)),
    ):
        others: dict[str, Callable[[], object]] = {"SEP": partial(by_sep, image)}
        if known is not None:
            others["reference"] = partial(known.utils.image_norm, image)
        for other, theirs in others.items():
            mine = partial(sky.normalise, image)
            found[f"{name}, beside {other}"] = compared(image.size, mine, theirs, rounds)
    return found


# ---- known skies ------------------------------------------------------------------------------


def skies() -> Iterator[tuple[str, Pixels, Pixels, Image, Mask | None]]:
    """Yields a name, level and noise of every pixel, the image, and its masked pixels."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: _SHAPE[0], : _SHAPE[1]] / np.array(_SHAPE)[:, None, None]
    level, sigma = np.full(_SHAPE, _LEVEL), np.full(_SHAPE, _SIGMA)
    noise = rng.normal(0, 1, _SHAPE)
    no = np.zeros(_SHAPE, bool)

    def made(level: Pixels, sigma: Pixels, more: Pixels | float = 0.0) -> Image:
        return np.asarray(level + more + sigma * noise, np.float32)

    yield "flat", level, sigma, made(level, sigma), None
    for steep in (3, 30, 100):
        slope = level + steep * _SIGMA * (x + 0.4 * y**2)
        yield f"a slope of {steep} sigma", slope, sigma, made(slope, sigma), None
    rising = sigma * (0.5 + 1.5 * x)
    yield "noise that rises fourfold", level, rising, made(level, rising), None
    step = level + 10 * _SIGMA * (x > 0.5)
    yield "a step of 10 sigma", step, sigma, made(step, sigma), None
    for number in (500, 10_000):
        more = _stars(number)
        yield f"{number} stars", level, sigma, made(level, sigma, more), None
    block = no.copy()
    block[400:700, 400:900] = True
    yield "a saturated block", level, sigma, made(level, sigma, 5e4 * block), None
    for coarse in (1.0, 0.5, 0.3, 0.2):
        digital = np.rint(_LEVEL + coarse * noise).astype(np.float32)
        true = np.full(_SHAPE, max(coarse, 12**-0.5))
        yield f"noise of {coarse:g} digital steps", level, true, digital, None
    for share in (0.4, 0.6, 0.85):
        masked = rng.random(_SHAPE) < share
        yield f"{share:.0%} masked", level, sigma, made(level, sigma), masked
    yield "1e-12 of the unit", level * 1e-12, sigma * 1e-12, made(level, sigma) * 1e-12, None


def _stars(number: int) -> Pixels:
    rng, image = np.random.default_rng(2), np.zeros(_SHAPE)
    y, x = np.mgrid[-20:21, -20:21]
    star = np.exp(-(y**2 + x**2) / (2 * (3 / 2.3548) ** 2))
    for _ in range(number):
        row, column = (int(rng.integers(20, side - 21)) for side in _SHAPE)
        near = np.s_[row - 20 : row + 21, column - 20 : column + 21]
        image[near] += min(50 / rng.random() ** 0.9, 1e5) * star
    return image


def maps(way: str, image: Image, masked: Mask | None) -> tuple[Image, Image] | None:
    """Returns level and noise at every pixel; None where there are none."""
    if way == "SEP":
        found = sep.Background(image, mask=masked, bw=200, bh=200, fw=3, fh=3)
        return found.back(), found.rms()
    measured = sky.measure(image, masked, Mesh())
    if isinstance(measured, FrameReason):
        return None
    rows = slice(0, image.shape[0])
    level, sigma = (Cubics.of(grid, measured) for grid in (measured.level, measured.sigma))
    return level.band(rows), sigma.band(rows)


def known_skies() -> dict[str, object]:
    """Rms and worst error of the level, in the sky's noise; median noise and its extremes."""
    found: dict[str, object] = {}
    for name, level, sigma, image, masked in skies():
        for way in WAYS:
            both = maps(way, image, masked)
            assert both is not None, name
            off, ratio = (both[0] - level) / sigma, both[1] / sigma
            row = [np.sqrt(np.mean(off**2)), np.abs(off).max(), np.median(ratio)]
            row += [ratio.min(), ratio.max()]
            found[f"{name}, {way}"] = [round(float(each), 3) for each in row]
    return found


# ---- masks ------------------------------------------------------------------------------------


def masks(most: int) -> dict[str, object]:
    """Share of painted hits that MaxiMask finds, and of untouched pixels that it marks."""
    home, threads = default_home(os.environ), os.cpu_count() or 1
    engine = open_engine("maximask", "onnxruntime", home, threads)
    number, rng = engine.manifest.codes.index("CR"), np.random.default_rng(7)
    hits = data.all_hits(SAMPLES)
    counts = {(way, limit): np.zeros(4, int) for way in WAYS for limit in _LIMITS}
    for image in _hosts(most):
        dirty, places, touched = _painted_hits(image, hits, rng)
        for way, normalise in WAYS.items():
            normalised = normalise(dirty)
            assert not isinstance(normalised, FrameReason)
            output = np.empty(dirty.shape, np.float32)
            for where, raw in swept(engine, normalised[0], MaskRules()):
                output[where] = raw[number]
            for limit in _LIMITS:
                found = [bool((output[place] > limit).any()) for place in places]
                false = np.count_nonzero((output > limit) & ~touched)
                counts[way, limit] += [sum(found), len(found), false, int((~touched).sum())]
    engine.close()
    return {
        f"{way}, raw CR > {limit:g}": {
            "hits found": f"{found} of {of}", "untouched pixels marked": f"{false / pixels:.2e}"
        }
        for (way, limit), (found, of, false, pixels) in counts.items()
    }  # fmt: skip


def _hosts(most: int) -> Iterator[Image]:
    """Yields real frames, one of each base of the trails."""
    for base in bases(SAMPLES, Half.TEST)[:most]:
        yield base.image.astype(np.float32)


def _painted_hits(
    image: Image, hits: Sequence[Pixels], rng: np.random.Generator
) -> tuple[Image, list[tuple[slice, slice]], Mask]:
    """Returns the frame with hits of 5 to 100 sigma at their brightest, their places, and what
    is within 2 px of them."""
    dirty, places, touched = image.copy(), [], np.zeros(image.shape, bool)
    sigma = 1.4826 * float(np.median(np.abs(image - np.median(image))))
    for _ in range(_HITS):
        hit = hits[int(rng.integers(len(hits)))]
        height, width = hit.shape
        if height > 60 or width > 60:
            continue
        row, column = (int(rng.integers(4, side - 64)) for side in image.shape)
        scale = sigma * 5 * 20 ** rng.random() / float(hit.max())
        place = np.s_[row : row + height, column : column + width]
        dirty[place] += scale * hit
        places.append(place)
        touched[
            row - _NEAR_PX : row + height + _NEAR_PX, column - _NEAR_PX : column + width + _NEAR_PX
        ] = True
    return dirty, places, touched


# ---- tracking ---------------------------------------------------------------------------------


@contextmanager
def in_force(normalise: Normalise) -> Iterator[None]:
    """Measures the sky in this way within a block."""
    ours, sky.normalise = sky.normalise, normalise
    try:
        yield
    finally:
        sky.normalise = ours


def tracking(each: int) -> dict[str, object]:
    """How many decisions are others with SEP's background."""
    engine = open_engine("maxitrack", "onnxruntime", default_home(os.environ), os.cpu_count() or 1)
    watcher, frames, other = Watcher(engine), 0, list[str]()
    for name, frame in _frames(each):
        decisions = []
        for normalise in WAYS.values():
            with in_force(normalise):
                evidence = watcher.judge_frame(frame).evidence
            decisions.append(str(evidence.not_evaluated or evidence.judgement.decision))
        frames += 1
        if len(set(decisions)) > 1:
            other.append(f"{name}: {', '.join(decisions)}")
    engine.close()
    return {"frames": frames, "other decisions (ours, SEP)": other}


def _frames(each: int) -> Iterator[tuple[str, Frame]]:
    for path, frame in sample_frames():
        yield path.name, frame
    for base in bases(SAMPLES, Half.TEST):
        for one in painted(base, each):
            name = f"{base.name}, {'jump' if one.jump else 'line'} of {one.length_fwhm:.2f} FWHM"
            yield name, Frame("painted", 0, "1", one.image.astype(np.float32))


def main() -> None:
    """Print or write all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--frames", type=int, default=6, help="on which hits are painted")
    parser.add_argument("--each", type=int, default=4, help="trails painted on each frame")
    parser.add_argument("--speed", action="store_true", help="nothing but the speed")
    given = parser.parse_args()
    found: dict[str, object] = {"machine": facts("numpy", "sep"), "speed": speed()}
    if not given.speed:
        found |= {"known skies": known_skies(), "masks": masks(given.frames)}
        found["tracking"] = tracking(given.each)
    report(found, given.json)


if __name__ == "__main__":
    main()
