"""Astro-SCRAPPY as a map of scores, where it is installed: nothing else needs it."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from streamfilter.records import Image

MISSING = "missing (pip install astroscrappy)"
_FULL_WELL = 1e9


def detector() -> Callable[..., tuple[Image, Image]] | None:
    """Its function; None where it is not installed."""
    try:
        from astroscrappy import detect_cosmics
    except ImportError:
        return None
    found: Callable[..., tuple[Image, Image]] = detect_cosmics
    return found


def highest_contrast(electrons: Image, read_noise: float, contrasts: Sequence[float]) -> Image:
    """The highest sigclip at which each pixel is found, of some in rising order; 0 at none.

    The other settings are its authors'. ``electrons`` has its sky.
    """
    detect = detector()
    assert detect is not None
    image = np.ascontiguousarray(electrons, np.float32)
    highest = np.zeros(image.shape, np.float32)
    for sigclip in contrasts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, _ = detect(
                image, sigclip=sigclip, objlim=5.0, gain=1.0, readnoise=read_noise,
                satlevel=_FULL_WELL,
            )  # fmt: skip
        highest[np.asarray(found, bool)] = sigclip
    return highest
