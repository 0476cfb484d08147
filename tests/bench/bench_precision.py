"""What a precision does to the recovery of cosmic rays: real hits on real and made stamps.

    python tests/bench/bench_precision.py [--json] [--stamps N] [--engine NAME] [--coarser]

Every way of running the network sees the same stamps. The threshold is each one's own at which 1e-4
of the pixels without a hit pass; pixels that a hit brings less than 3 sigma, and 2 px around a
hit, count for nothing. Made stamps have stars of one width on Gaussian noise; real ones are ZTF
science stamps with a real-bogus score of 0.7 or more, as they are otherwise. ``error`` is the
standard error of the change, from ten groups of stamps. With ``--coarser`` the ways are not the
runtimes of this machine but forms of MaxiMask: float16 and int8 as ONNX Runtime computes them. An
engine of several planes gets the science stamp alone.
"""

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import checkout  # noqa: F401 - finds what is imported below
import numpy as np
import numpy.typing as npt
from coarser import float16, int8
from machine import facts
from painting import Reals, hits

from streamfilter.alerts.normalise import normalise, reflect
from streamfilter.inference import golden, runtimes
from streamfilter.inference.cache import default_home, onnx_path
from streamfilter.inference.engine import Engine, Running, Tensor
from streamfilter.inference.float16 import to_float16
from streamfilter.inference.manifest import load
from streamfilter.records import NotEvaluated, Stamp
from training.samples import samples_folder

FALSE_POSITIVES = 1e-4
GROUPS = 10
SIDE_PX = 64
BATCH = 16
ZTF_GAIN = 6.2  # electrons per unit of the image
SKY_SIGMA = 20.0  # electrons, of made stamps
WIDTHS_PX = (1.8, 2.5, 4.5)  # full width at half maximum of the stars

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Painted:
    """Stamps as the network takes them, with the pixels that count."""

    name: str
    images: Tensor
    """(N, 1, 64, 64) in units of sigma."""
    hit: Masks
    """(N, 64, 64): brought 3 sigma or more by a hit."""
    clean: Masks
    """(N, 64, 64): 2 px and more from any hit."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one way of running did on one set."""

    stamps: str
    count: int
    runtime: str
    threshold: float
    true_positives: float
    """Share of the hits' pixels above the threshold."""
    change: float
    """Of that share, from the first way's."""
    error: float
    hits_found: float
    """Share of the stamps with a pixel of the hit above the threshold."""
    largest_difference: float
    """Of any pixel's cosmic-ray probability, from the first way's."""


def layer(cosmic_rays: list[Reals], random: np.random.Generator) -> Reals:
    """One real hit in electrons, turned and at any place that holds a part of it."""
    hit = np.rot90(cosmic_rays[int(random.integers(len(cosmic_rays)))], int(random.integers(4)))
    wide = np.zeros((SIDE_PX + 2 * hit.shape[0], SIDE_PX + 2 * hit.shape[1]))
    height, width = hit.shape
    y = int(random.integers(8, SIDE_PX - 8)) + height // 2
    x = int(random.integers(8, SIDE_PX - 8)) + width // 2
    wide[y : y + height, x : x + width] = hit
    return wide[height : height + SIDE_PX, width : width + SIDE_PX]


def painted(name: str, pairs: Iterator[tuple[Tensor, Reals]], count: int) -> Painted:
    """The first stamps of (image, hit) in units of sigma whose hit is bright enough to count."""
    images, hit, clean = [], [], []
    for image, signal in pairs:
        if signal.max() < 3:
            continue
        near = np.pad(signal > 0, 2)
        ring = [near[y : y + SIDE_PX, x : x + SIDE_PX] for y in range(5) for x in range(5)]
        images.append(image)
        hit.append(signal >= 3)
        clean.append(~np.any(ring, axis=0))
        if len(images) == count:
            break
    return Painted(name, np.stack(images)[:, None], np.stack(hit), np.stack(clean))


def made(
    fwhm_px: float, cosmic_rays: list[Reals], random: np.random.Generator
) -> Iterator[tuple[Tensor, Reals]]:
    """Two to six stars of any brightness, one at the middle, with photon noise."""
    y, x = np.indices((SIDE_PX, SIDE_PX))
    while True:
        stars = np.zeros((SIDE_PX, SIDE_PX))
        for number in range(int(random.integers(2, 7))):
            at = random.uniform(0, SIDE_PX, 2) if number else random.normal(SIDE_PX / 2, 1, 2)
            away = (y - at[0]) ** 2 + (x - at[1]) ** 2
            peak = SKY_SIGMA * 10 ** random.uniform(0.7, 3)
            stars += peak * np.exp(-away / (2 * (fwhm_px / 2.3548) ** 2))
        image = random.normal(stars, np.sqrt(SKY_SIGMA**2 + stars))
        signal = layer(cosmic_rays, random) / SKY_SIGMA
        yield (image / SKY_SIGMA + signal).astype(np.float32), signal


def real(
    samples: Path, cosmic_rays: list[Reals], random: np.random.Generator
) -> Iterator[tuple[Tensor, Reals]]:
    """ZTF science stamps, whole and good, normalised after the hit is painted on."""
    with (samples / "stamps" / "ztf.csv").open() as file:
        good = [float(row["rb"] or 0) >= 0.7 for row in csv.DictReader(file)]
    stamps = np.load(samples / "stamps" / "ztf.npz")["stamps"][good, 0]
    stamps = stamps[np.isfinite(stamps).all(axis=(1, 2))]
    side = stamps.shape[-1]
    while True:
        base = stamps[int(random.integers(len(stamps)))]
        hit = layer(cosmic_rays, random)[:side, :side] / ZTF_GAIN
        before, after = normalise(Stamp(base)), normalise(Stamp((base + hit).astype(np.float32)))
        if isinstance(before, NotEvaluated) or isinstance(after, NotEvaluated):
            continue
        if max(after.image.shape) > SIDE_PX or before.filled is not None:
            continue
        out = np.empty((SIDE_PX, SIDE_PX), np.float32)
        place = reflect(after, out)
        signal = np.zeros((SIDE_PX, SIDE_PX))
        window = signal[place.top : place.top + side, place.left : place.left + side]
        window[:] = np.where(hit > 0, after.image - before.image, 0)
        yield out, signal


def cosmic_ray(engine: Engine, images: Tensor) -> Tensor:
    """(N, H, W): the probability of a cosmic ray."""
    index = engine.manifest.codes.index("CR")
    planes = engine.manifest.planes
    given = np.zeros((len(images), len(planes), *images.shape[2:]), np.float32)
    given[:, :1] = images
    if "valid" in planes:
        given[:, planes.index("valid")] = 1
    parts = [given[start : start + BATCH] for start in range(0, len(given), BATCH)]
    return np.concatenate([engine.infer(part)[:, index] for part in parts])


def threshold(raw: Tensor, seen: Painted) -> float:
    """That 1e-4 of the pixels without a hit pass."""
    return float(np.quantile(raw[seen.clean], 1 - FALSE_POSITIVES))


def recovered(raw: Tensor, seen: Painted, over: float) -> float:
    return float((raw[seen.hit] > over).mean())


def rows(seen: Painted, engines: Mapping[str, Engine]) -> Iterator[Row]:
    """Every way against the first."""
    raws = [cosmic_ray(engine, seen.images) for engine in engines.values()]
    overs = [threshold(raw, seen) for raw in raws]
    groups = np.array_split(np.arange(len(seen.images)), GROUPS)
    parts = [Painted(seen.name, seen.images[g], seen.hit[g], seen.clean[g]) for g in groups]
    first, whole = raws[0], recovered(raws[0], seen, overs[0])
    for name, raw, over in zip(engines, raws, overs, strict=True):
        each = [
            recovered(raw[g], part, threshold(raw[g], part))
            - recovered(first[g], part, threshold(first[g], part))
            for g, part in zip(groups, parts, strict=True)
        ]
        share = recovered(raw, seen, over)
        yield Row(
            seen.name, len(seen.images), name, over, share, share - whole,
            float(np.std(each, ddof=1) / np.sqrt(GROUPS)),
            float(((raw > over) & seen.hit).any(axis=(1, 2)).mean()),
            float(np.abs(raw - first).max()),
        )  # fmt: skip


def usable(name: str, home: Path) -> dict[str, Engine]:
    """An engine on every runtime and precision of this machine; the measure is first."""
    # ONNX Runtime at float32 is last of the states, and the measure.
    ways = [(s.runtime, each) for s in reversed(runtimes.states()) for each in s.precisions]
    engines = [runtimes.open_engine(name, w[0], home, 0, precision=w[1]) for w in ways]
    return {engine.runtime: engine for engine in engines}


def coarser(home: Path, cosmic_rays: list[Reals], folder: Path) -> dict[str, Engine]:
    """MaxiMask with coarser numbers on ONNX Runtime; the measure is first."""
    manifest = load("maximask")
    whole = onnx_path(manifest, home)
    pairs = made(2.5, cosmic_rays, np.random.default_rng(99))
    stamps = painted("calibration", pairs, 4 * BATCH).images
    calibration = [*np.split(stamps, 4), next(golden.batches(manifest))[:1]]
    files = {"float32": whole}
    for name, content in (
        ("fp16, as converted", to_float16(whole.read_bytes())),
        ("fp16, all rounded", float16(whole.read_bytes())),
    ):
        files[name] = folder / f"{name}.onnx"
        files[name].write_bytes(content)
    for name, encoder in (("int8", True), ("int8, decoder alone", False)):
        files[name] = folder / f"{name}.onnx"
        int8(whole, files[name], calibration, encoder=encoder)
    opened = runtimes.opener("onnxruntime")
    return {name: opened(manifest, file, Running(threads=0)) for name, file in files.items()}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stamps", type=int, default=1500)
    parser.add_argument("--engine", default="maximask")
    parser.add_argument("--coarser", action="store_true")
    options = parser.parse_args()
    samples = samples_folder()
    random, cosmic_rays = np.random.default_rng(4), hits(samples)
    home = default_home(os.environ)
    if options.coarser:
        with tempfile.TemporaryDirectory() as folder:
            engines = coarser(home, cosmic_rays, Path(folder))
    else:
        engines = usable(options.engine, home)
    found: list[Row] = []
    for fwhm_px in WIDTHS_PX:
        pairs = made(fwhm_px, cosmic_rays, random)
        found.extend(rows(painted(f"made, {fwhm_px} px", pairs, options.stamps), engines))
    pairs = real(samples, cosmic_rays, random)
    found.extend(rows(painted("real ZTF", pairs, options.stamps), engines))
    if options.json:
        machine = facts("numpy", "onnxruntime")
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in found]}, indent=2))
        return
    for row in found:
        print(
            f"{row.stamps:14} {row.count:5} {row.runtime:24} threshold {row.threshold:.4f}  TPR "
            f"{row.true_positives:.4f}  change {row.change:+.4f} +- {row.error:.4f}  hits found "
            f"{row.hits_found:.4f}  largest difference {row.largest_difference:.2f}"
        )


if __name__ == "__main__":
    main()
