"""Small PNG files, held against another program's reader."""

import io

import matplotlib.image
import numpy as np

from streamfilter.console.png import grey_png


def test_matplotlib_reads_what_is_written() -> None:
    """Grey where there are data, nothing elsewhere."""
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    opaque = grey != 40
    found = matplotlib.image.imread(io.BytesIO(grey_png(grey, opaque)), format="png") * 255
    assert (3, 4) == found.shape[:2]
    assert np.array_equal(np.where(opaque, grey, 0), found[..., 0].round())
    assert np.array_equal(np.where(opaque, 255, 0), found[..., -1].round())
