"""What finds cosmic rays in frames, each as a map of scores: engines, and Astro-SCRAPPY."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from frame_truth import Scene
from scrappy import MISSING, detector, highest_contrast

from streamfilter import posterior
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import EngineUnavailable
from streamfilter.exposures.masking import MaskRules, of_reach, swept
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import Manifest, Precision
from streamfilter.inference.runtimes import open_engine
from streamfilter.records import Image

CONTRASTS = (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0)
"""Values of Astro-SCRAPPY's sigclip: a pixel's score is the highest at which it is found."""
SCRAPPY = "Astro-SCRAPPY, sigclip 5, objlim 5"


@dataclass(frozen=True, slots=True)
class Finder:
    """Scores every pixel of a scene; a row of the tables for each threshold."""

    name: str
    score: Callable[[Scene], Image]
    thresholds: Mapping[str, float]
    """By the row's name, the score above which a pixel is found."""


def finders(home: Path, threads: int) -> list[Finder]:
    """Those that can be had here; what cannot is said by ``missing``."""
    made = [_of_engine(name, open_engine(name, "onnxruntime", home, threads)) for name in ENGINES]
    return [*made, *([] if detector() is None else [scrappy()])]


ENGINES = ("maximask", "deepcr", "stampmask")


def missing() -> list[str]:
    """Rows that cannot be measured here, and why."""
    return [] if detector() else [f"{SCRAPPY}: {MISSING}"]


def score_of(engine: Engine, scene: Scene) -> Image:
    """An engine's own output for cosmic rays, as ``streamfilter mask`` gets it."""
    number = engine.manifest.codes.index("CR")
    rules = of_reach(MaskRules(), engine.manifest)
    found = np.empty(scene.image.shape, np.float32)
    for where, raw in swept(engine, scene.image, rules):
        found[where] = raw[number]
    return found


def _of_engine(name: str, engine: Engine) -> Finder:
    manifest = engine.manifest
    rows = {
        "maximask": {
            "MaxiMask, priors of stamps": raw_limit(manifest),
            "MaxiMask, raw > .43": 0.43,
            "MaxiMask, raw > .1": 0.1,
        },
        "deepcr": {"deepCR ACS-WFC, raw > .5": 0.5},
        "stampmask": {"stampmask, priors of stamps": raw_limit(manifest)},
    }[name]
    label = {"maximask": "MaxiMask", "deepcr": "deepCR ACS-WFC", "stampmask": "stampmask"}[name]
    if manifest.in_frames:
        rows[f"{label}, for frames"] = raw_limit(manifest, in_frames=True)
    return Finder(label, partial(score_of, engine), rows)


def raw_limit(manifest: Manifest, *, in_frames: bool = False) -> float:
    """The threshold for cosmic rays on the network's own output."""
    row = next(row for row in manifest.classes if row.code == "CR")
    known = BY_CODE["CR"]
    prior, threshold = row.prior or known.prior, row.threshold or known.threshold
    if in_frames:
        of_frames = next(row for row in manifest.in_frames if row.code == "CR")
        prior, threshold = of_frames.prior, of_frames.threshold
    return float(posterior.raw_threshold(threshold, row.training_prior, prior))


def scrappy() -> Finder:
    """Astro-SCRAPPY at rising contrast, with its authors' other settings."""

    def score(scene: Scene) -> Image:
        return highest_contrast(scene.electrons, scene.read_noise, CONTRASTS)

    return Finder("Astro-SCRAPPY", score, {SCRAPPY: 4.9})


def timed_engines(home: Path, threads: int) -> dict[str, Engine]:
    """Every engine on every runtime and precision that works here, for the table of speed."""
    made = {}
    for name in ENGINES:
        for runtime, precision in (
            ("onnxruntime", Precision.FLOAT32),
            ("openvino", Precision.FLOAT32),
            ("openvino", Precision.BF16),
        ):
            try:
                made[f"{name}, {runtime}, {precision}"] = open_engine(
                    name, runtime, home, threads, precision=precision
                )
            except EngineUnavailable as error:
                print(f"{name} on {runtime} at {precision}: missing ({error})")
    return made
