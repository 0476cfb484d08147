"""What people are shown of stamps: a stretch of the pixels, and masks with their outlines."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.maps import Mask, stamp_output
from streamfilter.alerts.normalise import has_data
from streamfilter.alerts.pipeline import Item
from streamfilter.contaminants import BY_CODE
from streamfilter.inference.engine import Engine
from streamfilter.posterior import update
from streamfilter.records import ClassPrior, Image, Plane

Posteriors = npt.NDArray[np.floating]
Stretched = npt.NDArray[np.float64]

COLOURS: dict[str, str] = {
    "CR": "#D55E00",
    "HCL": "#E69F00",
    "DCL": "#0072B2",
    "HP": "#F0E442",
    "DP": "#56B4E9",
    "P": "#CC79A7",
    "TRL": "#009E73",
    "FR": "#AA4499",
    "NEB": "#88CCEE",
    "SAT": "#EE3377",
    "SP": "#BBCC33",
    "OV": "#7788DD",
    "RES": "#882255",
}
"""One per contaminant, distinct for the colour-blind (Okabe & Ito; Tol); text names them too."""

DARKEST = -1.5
"""Of a stretched image, what is drawn black."""
_BRIGHT_SIGMA = 8.0  # what is drawn white is never fainter than this
_BRIGHT_PERCENT = 99.7


def posteriors_of(
    engine: Engine, items: Sequence[Item], priors: Sequence[ClassPrior]
) -> Mapping[str, Posteriors] | None:
    """Returns the posteriors of the science stamp among an alert's items, by class.

    Parameters
    ----------
    items
        As ``Pipeline.prepare`` makes them.
    priors
        Of every class of the engine.

    Returns
    -------
    mapping or None
        An image (height, width) for each class, 0 to 1; None where that stamp is not evaluated.
    """
    chosen = [item for item in items if item.plane is Plane.SCIENCE]
    if not chosen:
        return None
    raw, _ = stamp_output(engine, chosen[0])
    deployment = {prior.code: prior.prior for prior in priors}
    return {
        row.code: update(raw[number], row.trained_at(chosen[0].side), deployment[row.code])
        for number, row in enumerate(engine.manifest.classes)
    }


def masks_of(
    image: Image, posteriors: Mapping[str, Posteriors], thresholds: Mapping[str, float]
) -> list[tuple[str, Mask]]:
    """Returns the contaminants with pixels above their thresholds, and masks of these pixels.

    A class without a threshold has that of the class table.
    """
    valid = has_data(image)
    masks = (
        (code, valid & (posterior > thresholds.get(code, BY_CODE[code].threshold)))
        for code, posterior in posteriors.items()
        if not BY_CODE[code].normal
    )
    return [(code, mask) for code, mask in masks if mask.any()]


def edges(mask: Mask) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yields the sides of pixels where a mask ends, each as two corners (x, y), from 0."""
    padded = np.pad(mask, 1)
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        yield (x, y), (x + 1, y)
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        yield (x, y), (x, y + 1)


def stretched(image: Image) -> tuple[Stretched, float] | None:
    """Returns an image in units of its noise, in asinh, and the value that is drawn white.

    ``DARKEST`` is drawn black. Pixels without data are NaN; None where no pixel has data.
    """
    valid = has_data(image)
    finite = image[valid].astype(np.float64)
    if finite.size == 0:
        return None
    level, sigma = _sky(finite)
    with np.errstate(invalid="ignore"):  # infinities are no data
        values = np.arcsinh((image.astype(np.float64) - level) / sigma)
    values[~valid] = np.nan
    bright = max(_BRIGHT_SIGMA, (np.percentile(finite, _BRIGHT_PERCENT) - level) / sigma)
    return values, float(np.arcsinh(bright))


def _sky(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns level and noise by median and median deviation; ignores a frequent fill value."""
    level = np.median(values)
    deviation = np.median(np.abs(values - level))
    if deviation == 0 and (others := values[values != level]).size:
        level = np.median(others)
        deviation = np.median(np.abs(others - level))
    return float(level), float(1.4826 * deviation) or 1.0
