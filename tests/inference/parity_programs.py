"""Hold `streamfilter mask` and `track` against the authors' two programs; run by `make parity`.

Both are called as their users call them, on the same made frames, with each pair of options that
deploy/MAXIMASK.md names. The programs cut frames into other tiles than ours, so that few pixels
differ; headers, shapes and types are compared to the letter. Left out are the last 100 px of rows
and columns: a tile of 400 px does not halve five times, so theirs end in zeros there, where tiles
of ours end with the frame. Cubes are left out: of fewer than 401 planes the programs pass them
over, whose check of sizes takes the number of planes for a side. Exit code 1 where something
differs by more.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from rich.console import Console
from rich.table import Table

BIN = Path(sys.executable).parent
REFERENCE = ["--background", "reference"]
MAXIMASK_ALONE = "--set=exposures.contaminants.cosmic_rays="
MOST_PIXELS = 1e-2
"""Share of a mask's pixels that may differ; of probabilities, differ by over a hundredth."""
END_PX = 100
MOST_SCORE = 1e-3
CODES = ("CR", "HCL", "DCL", "HP", "DP", "P", "TRL", "FR", "NEB", "SAT", "SP", "OV", "BBG", "BG")
PRIORS = dict.fromkeys(CODES, "0.01") | {"BG": "0.5"}
THRESHOLDS = dict.fromkeys(CODES, "0.25")
CHOSEN = ("CR", "TRL", "SAT")


@dataclass(frozen=True)
class Pair:
    """The same wish, in the words of both."""

    name: str
    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    file: str = "frame.fits"
    """Of 608 px a side, a multiple of 32, which needs no padding here; or ``field.fits`` of 800, in
    which tiles of 400 px lie alike in both."""


def mask_pairs(config: Path) -> Iterator[Pair]:
    """Each option of `maximask` that changes what is written."""
    section = "exposures.contaminants"
    own = [f"--set={section}.priors.{code}={prior}" for code, prior in PRIORS.items()]
    own += [f"--set={section}.thresholds.{code}={limit}" for code, limit in THRESHOLDS.items()]
    own += [f"--class={code}" for code in CHOSEN]
    raw = ("--prior_modif", "no", "--proba_thresh", "no")
    yield Pair("as it is", (), ("--form", "classes"))
    yield Pair("--single_mask", ("--single_mask", "yes"), ())
    yield Pair("--prior_modif", ("--prior_modif", "no"), ("--form", "classes", "--no-priors"))
    yield Pair("--proba_thresh", ("--proba_thresh", "no"), ("--form", "probabilities"))
    yield Pair("neither", raw, ("--form", "probabilities", "--no-priors"))
    yield Pair("--config_dir", ("--config_dir", str(config)), ("--form", "classes", *own))
    yield Pair("one HDU", ("--single_mask", "yes"), (), "frame.fits[1]")
    yield Pair("a list", ("--single_mask", "yes"), (), "frames.list")


def track_pairs() -> Iterator[Pair]:
    """Each option of `maxitrack` that changes its score."""
    every_tile = "--set=exposures.tiles_enough=0"
    yield Pair("as it is", (), (every_tile,), "field.fits")
    yield Pair("--prior", ("--prior", "0.3"), (every_tile, "--prior", "0.3"), "field.fits")


def sky(seed: int) -> npt.NDArray[np.int16]:
    """Stars, a satellite's trail, hits and a hot column, of 800 x 800 px."""
    rng = np.random.default_rng(seed)
    image = rng.normal(1000, 10, (800, 800))
    y, x = np.mgrid[:800, :800]
    for _ in range(250):
        cx, cy, flux = *rng.uniform(10, 790, 2), 200 / rng.random() ** 0.9
        near = np.s_[max(0, int(cy) - 20) : int(cy) + 21, max(0, int(cx) - 20) : int(cx) + 21]
        image[near] += flux * np.exp(-((x[near] - cx) ** 2 + (y[near] - cy) ** 2) / 4)
    for _ in range(40):
        cx, cy = rng.integers(20, 780, 2)
        image[cy, cx : cx + rng.integers(1, 5)] += rng.uniform(500, 5000)
    image += 300 * np.exp(-(((y - 0.4 * x - 200) / 2.5) ** 2))
    image[:, 210] += 900
    return np.clip(image, 0, 32_000).astype(np.int16)


def write_frames(folder: Path) -> None:
    """What both read."""
    image = sky(1)
    detector = fits.ImageHDU(image[:608, :608], name="CCD1")
    fits.HDUList([fits.PrimaryHDU(), detector]).writeto(folder / "frame.fits")
    fits.PrimaryHDU(image).writeto(folder / "field.fits")
    (folder / "frames.list").write_text(f"{folder}/frame.fits\n")
    config = folder / "config"
    config.mkdir()
    for name, values in {
        "flags": {code: str(int(code in CHOSEN)) for code in CODES},
        "priors": PRIORS,
        "thresh": THRESHOLDS,
    }.items():
        lines = [f"{code} {values[code]}" for code in CODES]
        (config / f"classes.{name}").write_text("\n".join(lines) + "\n")


def called(folder: Path, *words: str) -> str:
    """Standard output of a command."""
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def masks_differ(folder: Path, pair: Pair) -> tuple[str, bool]:
    """What differs between two files of masks, and whether it is too much."""
    for old in folder.rglob("*.mask*"):
        old.unlink()
    called(folder, "maximask", str(folder / pair.file), *pair.theirs)
    called(
        folder,
        "streamfilter",
        "mask",
        pair.file,
        "-o",
        "ours",
        *pair.ours,
        MAXIMASK_ALONE,
        *REFERENCE,
    )
    (theirs,), (ours,) = folder.glob("*.mask*"), (folder / "ours").glob("*.mask*")
    if theirs.name != ours.name:
        return f"{theirs.name}, here {ours.name}", True
    share = 0.0
    with fits.open(theirs) as expected, fits.open(ours) as found:
        if len(expected) != len(found):
            return f"{len(expected)} HDUs, here {len(found)}", True
        for one, other in zip(expected, found, strict=True):
            if one.data is None:
                continue
            if (one.data.shape, one.data.dtype) != (other.data.shape, other.data.dtype):
                return f"{one.data.shape}, here {other.data.shape}", True
            if missing := keywords_missing(one.header, other.header):
                return f"no keyword {', '.join(missing)}", True
            apart = np.abs(one.data.astype(np.float64) - other.data)[..., :-END_PX, :-END_PX]
            share = max(share, float((apart > 0.01).mean()))
            if not np.any(one.data):
                return "nothing is masked, so nothing is shown", True
    return f"{share:.1e} of the pixels", share > MOST_PIXELS


def keywords_missing(theirs: fits.Header, ours: fits.Header) -> list[str]:
    """The program's keywords that are not here, or say another thing."""
    mine = re.compile(r"MM_|PRIORS|THRESH|SMASK|[A-Z]+_(DIM|TH|SM)$")
    dated = ("MM_UTC", "MM_LOC")
    return [
        key
        for key in theirs
        if mine.match(key) and (key not in ours or (key not in dated and theirs[key] != ours[key]))
    ]


def scores_differ(folder: Path, pair: Pair) -> tuple[str, bool]:
    """The scores of both, and whether they are too far apart."""
    written = folder / "maxitrack.out"
    written.unlink(missing_ok=True)
    called(folder, "maxitrack", str(folder / pair.file), *pair.theirs)
    theirs = float(written.read_text().split()[-1])
    said = called(folder, "streamfilter", "track", pair.file, "--json", *pair.ours, *REFERENCE)
    ours = json.loads(said)["judgement"]["reference_mean"]
    apart = abs(theirs - ours)
    return f"{apart:.1e} of {theirs:.4f}", apart > MOST_SCORE


def main() -> int:
    """Print a table; 1 where a pair differs."""
    table, wrong = Table("program", "wish", "largest difference", ""), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder)
        compared = [("maximask", each, masks_differ) for each in mask_pairs(folder / "config")]
        compared += [("maxitrack", each, scores_differ) for each in track_pairs()]
        for program, pair, differ in compared:
            words, differs = differ(folder, pair)
            print(f"{program}, {pair.name}: {words}", flush=True)
            wrong += differs
            table.add_row(program, pair.name, words, "DIFFERS" if differs else "equal")
    Console(width=120).print(table)
    print(f"{wrong} of {table.row_count} differ" if wrong else "equal")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
