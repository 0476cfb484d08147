"""Makes a frame's noise what networks for pixels take it for: Gaussian, of sigma 1, everywhere.

Where most pixels have one value (few photons, coarse digits, values cut off at 0), the clipped
noise of the sky is that of this value alone, and each of the others looks like a cosmic ray. So
does the noise beside a block of pixels without data, if that is flat.
"""

import numpy as np

from streamfilter.exposures.records import Mask
from streamfilter.records import Image

_SHARE = 0.99
_GAUSSIAN, _HIGHEST = 2.33, 3.0
"""Sigma above which one in 100 pixels of Gaussian noise is; and above which it is none."""
_QUIET = 1.0
"""Mean of the eight pixels around one, in sigma off the median one, beside no source."""
_BAND_ROWS, _SAMPLED_PX = 64, 1_000_000
"""Bands of rows that are looked at, and how many pixels at least."""


def evened(image: Image, missing: Mask | None) -> Image:
    """Returns a frame in units of its noise with Gaussian noise in place of missing pixels.

    Parameters
    ----------
    image
        (height, width), background-subtracted, divided by sigma, finite; not changed.
    """
    random = np.random.default_rng(1)  # the same mask of the same frame
    times = underrated(image, missing)
    result = image
    if times > 1.0:
        # Values that most pixels share look free of noise: half of it is added, here and there.
        noise = random.standard_normal(image.shape, np.float32)
        result = (image / np.float32(times) + noise) * np.float32(0.5**0.5)
    if missing is None or not missing.any():
        return result
    result = result.copy() if result is image else result
    result[missing] = random.standard_normal(int(np.count_nonzero(missing)), np.float32)
    return result


def underrated(image: Image, missing: Mask | None) -> float:
    """Returns how many times larger the noise is than sigma: 1.0 where it is Gaussian.

    Measured on pixels whose neighbours show no source. Of them one in 100 is neither hot nor hit.
    """
    height, width = image.shape
    if min(height, width) < 3:
        return 1.0
    bands = max(height * width // _SAMPLED_PX, 1)
    rows = [
        np.s_[top : top + _BAND_ROWS]
        for top in range(0, height - 2, _BAND_ROWS * bands)
        if height - top > 2
    ]
    values = np.concatenate([
        _quiet(image[each], None if missing is None else missing[each]) for each in rows
    ])  # fmt: skip
    if values.size == 0:
        return 1.0
    limit = float(np.quantile(values, _SHARE))
    return limit / _GAUSSIAN if limit > _HIGHEST else 1.0


def _quiet(band: Image, missing: Mask | None) -> Image:
    """Returns the pixels of a band around which there is no source."""
    windows = np.lib.stride_tricks.sliding_window_view(band, (3, 3))
    inner = band[1:-1, 1:-1]
    around = (windows.sum(axis=(2, 3)) - inner) / 8
    # Of few photons the level may be off by over a sigma.
    chosen = np.abs(around - np.median(around)) < _QUIET
    if missing is not None:
        chosen &= ~missing[1:-1, 1:-1]
    found: Image = inner[chosen]
    return found
