"""Speed and memory of the exposure half, beside the reference program where it is there.

    python tests/bench/bench_exposures.py [--json FILE] [--without-mask] [--size 2048 4096]

With the MaxiMask package and TensorFlow (``.venv-parity`` of ``make parity``) the same frame goes
through the authors' program in the same run, and ratios are given; without them that is said.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkout  # noqa: F401 - finds what is imported below
import numpy as np
import numpy.typing as npt
from machine import facts, report

from streamfilter.config import FrameContaminants
from streamfilter.exposures import frames, tiles
from streamfilter.exposures.masking import Masker, MaskRules
from streamfilter.exposures.records import Frame
from streamfilter.exposures.sky import Mesh, normalise
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine
from training.samples import samples_folder

Image = npt.NDArray[np.float32]

SAMPLES = samples_folder()
ROUNDS = 5
MEBI = 2**20


@dataclass(frozen=True, slots=True)
class Reference:
    """The authors' functions; ``networks`` is False where TensorFlow is missing."""

    utils: Any
    networks: bool


def made_frame(height: int, width: int) -> npt.NDArray[np.uint16]:
    """Sky, stars of a power law, a few saturated: counts of 16 bits."""
    rng = np.random.default_rng(20200301)
    image = rng.normal(1200, 35, (height, width))
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(y**2 + x**2) / (2 * 1.6**2))
    for _ in range(height * width // 3000):
        row, column = rng.integers(12, height - 13), rng.integers(12, width - 13)
        peak = min(60 / rng.random() ** 1.1, 2e5)
        image[row - 12 : row + 13, column - 12 : column + 13] += peak * star
    return image.clip(0, 65535).astype(np.uint16)


def reference() -> Reference | None:
    """The MaxiMask package, where it is installed."""
    try:
        from maximask_and_maxitrack import utils
    except ImportError:
        return None
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        return Reference(utils, networks=False)
    return Reference(utils, networks=True)


def timed_s(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall clock and of the CPU, all threads, for one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compared(
    pixels: int, ours: Callable[[], object], theirs: Callable[[], object] | None, rounds: int
) -> dict[str, float]:
    """Mpix/s of both, round by round in turn, and their ratios.

    Of each the shortest round counts: what the machine does when nobody else asks. On a machine
    that others use, the ratio of the CPU's seconds says more than that of the clock's.
    """
    mine, other = [], []
    for _ in range(rounds):
        mine.append(timed_s(ours))
        if theirs is not None:
            other.append(timed_s(theirs))
    wall, cpu = (min(column) for column in zip(*mine, strict=True))
    found = {"mpix_per_s": pixels / wall / 1e6, "mpix_per_cpu_s": pixels / cpu / 1e6}
    if other:
        their_wall, their_cpu = (min(column) for column in zip(*other, strict=True))
        found |= {"reference_mpix_per_s": pixels / their_wall / 1e6}
        found |= {"ratio": their_wall / wall, "ratio_of_cpu": their_cpu / cpu}
    return {key: round(value, 3) for key, value in found.items()}


def normalisation(known: Reference | None, size: tuple[int, int]) -> dict[str, object]:
    """Speed on floats and on whole numbers."""
    counts = made_frame(*size)
    found: dict[str, object] = {}
    noise = np.random.default_rng(1).normal(0, 0.3, counts.shape)
    for name, image in (
        ("whole_numbers", counts.astype(np.float32)),
        ("fractions", (counts + noise).astype(np.float32)),
    ):

        def theirs(image: Image = image) -> object:
            assert known is not None
            return known.utils.image_norm(image)

        def ours(image: Image = image) -> object:
            return normalise(image)

        found[name] = compared(image.size, ours, theirs if known else None, ROUNDS)
    return found


def sample_frames() -> Iterator[tuple[Path, Frame]]:
    """Every sample frame that a tile fits into."""
    for path in sorted((SAMPLES / "exposures").glob("*/*.f*")):
        for frame in frames.read_frame_file(str(path)):
            large = isinstance(frame, Frame) and min(frame.image.shape) >= tiles.SIDE_PX
            if large and "trailmask" not in path.name:
                assert isinstance(frame, Frame)
                yield path, frame


def agreement(known: Reference | None) -> dict[str, object]:
    """Largest difference from the reference over the samples, of 1 sigma or of the pixel."""
    if known is None:
        return {"skipped": "the MaxiMask package is not installed here"}
    worst, count = 0.0, 0
    for _, frame in sample_frames():
        theirs, _seconds = known.utils.image_norm(frame.image)
        ours = normalise(frame.image, None, Mesh(as_reference=True))
        assert isinstance(ours, tuple)
        off = np.abs(ours[0] - theirs) / np.maximum(1.0, np.abs(theirs))
        worst, count = max(worst, float(off.max())), count + 1
    return {"frames": count, "largest_difference_sigma": worst}


def networks(
    known: Reference | None, home: Path, size: tuple[int, int], *, mask: bool
) -> dict[str, object]:
    """Mpix/s of both networks on one normalised frame."""
    normalised = normalise(made_frame(*size).astype(np.float32))
    assert isinstance(normalised, tuple)
    image = normalised[0]
    threads = os.cpu_count() or 1
    with_theirs = known is not None and known.networks
    maxitrack = open_engine("maxitrack", "onnxruntime", home, threads)
    watcher, cut = Watcher(maxitrack), tiles.cut(size)
    theirs = their_maxitrack(image) if with_theirs else None
    found: dict[str, object] = {
        "maxitrack": compared(image.size, lambda: watcher.probabilities(image, cut), theirs, 3)
    }
    maxitrack.close()
    if mask:
        masker = Masker(open_engine("maximask", "onnxruntime", home, threads))
        theirs = their_maximask(image) if with_theirs else None
        found["maximask"] = compared(image.size, lambda: masker.mask(image), theirs, 1)
    return found


def their_maxitrack(image: Image) -> Callable[[], object]:
    """The authors' loop over tiles."""
    import maximask_and_maxitrack
    import tensorflow as tf
    from maximask_and_maxitrack.maxitrack.maxitrack import MaxiTrack_inference

    folder = Path(str(maximask_and_maxitrack.__file__)).parent / "maxitrack" / "model"
    model, program = tf.saved_model.load(str(folder)), MaxiTrack_inference("", "", 0.05, 1, 16)
    return lambda: program.process_image(image, model)


def their_maximask(image: Image) -> Callable[[], object]:
    """The authors' loop over tiles, all classes in a single mask."""
    import maximask_and_maxitrack
    import tensorflow as tf
    from maximask_and_maxitrack.maximask.maximask import MaxiMask_inference

    from streamfilter.contaminants import BY_CODE
    from streamfilter.inference.manifest import load

    rows = [BY_CODE[code] for code in load("maximask").codes]
    folder = Path(str(maximask_and_maxitrack.__file__)).parent / "maximask" / "model"
    priors, limits = (
        np.array([getattr(row, name) for row in rows], np.float32)
        for name in ("prior", "threshold")
    )
    every = np.ones(len(rows), bool)
    program = MaxiMask_inference("", "", every, priors, limits, True, 8)
    model, out = tf.saved_model.load(str(folder)), np.zeros(image.shape, np.int16)
    return lambda: program.process_image(image, out, model)


def memory(*, mask: bool) -> dict[str, object]:
    """Highest resident memory of a process that judges one 4k x 4k frame of 16 bits, in Rice.

    Parameters
    ----------
    mask
        Whether it is searched for contaminants too, on the stream's tiles.
    """
    from astropy.io import fits

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.fits.fz"
        hdu = fits.CompImageHDU(made_frame(4096, 4096), compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
        del hdu
        gc.collect()
        command = [sys.executable, __file__, "--only-look", str(path)]
        command += [] if mask else ["--without-mask"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found: dict[str, object] = json.loads(told)
        return {"file_mib": round(path.stat().st_size / MEBI, 1)} | found


def only_look(path: str, home: Path, *, mask: bool) -> dict[str, object]:
    """Judge one file and tell what it took."""
    threads = os.cpu_count() or 1
    watcher = Watcher(open_engine("maxitrack", "onnxruntime", home, threads), ExposureRules())
    (frame,) = frames.read_frame_file(path)
    start = time.perf_counter()
    look = watcher.judge_frame(frame)
    found: dict[str, object] = {"decision": look.evidence.judgement.decision}
    found |= {"seconds": round(time.perf_counter() - start, 2), "peak_mib": peak_mib()}
    if not mask:
        return found
    engine = open_engine("maximask", "onnxruntime", home, threads)
    rules = MaskRules(tile_px=FrameContaminants().tile_px)
    assert look.image is not None
    Masker(engine, rules).mask(look.image)
    seconds = round(time.perf_counter() - start, 2)
    return found | {"seconds_with_mask": seconds, "peak_mib_with_mask": peak_mib()}


def peak_mib() -> int | None:
    """Highest resident memory of this program; ``ru_maxrss`` would be that of its parent too."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return found[0] // 1024 if found else None


def main() -> None:
    """Print or write all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without-mask", action="store_true", help="MaxiMask takes minutes")
    parser.add_argument("--size", type=int, nargs=2, default=(2048, 4096), help="of the frame")
    parser.add_argument("--only-look", help=argparse.SUPPRESS)
    given = parser.parse_args()
    home = default_home(os.environ)
    if given.only_look:
        print(json.dumps(only_look(given.only_look, home, mask=not given.without_mask)))
        return
    known, size = reference(), (given.size[0], given.size[1])
    found: dict[str, object] = {
        "machine": facts("numpy", "onnxruntime", "sep"),
        "reference": "MaxiMask 1.4.1" if known else "not installed: ours alone",
        "frame": list(size),
        "normalisation": normalisation(known, size),
        "memory_4k_4k": memory(mask=not given.without_mask),
    }
    if SAMPLES.is_dir():
        found |= {"agreement": agreement(known)}
    found["networks"] = networks(known, home, size, mask=not given.without_mask)
    report(found, given.json)


if __name__ == "__main__":
    main()
