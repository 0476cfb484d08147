"""Make ``background.npz``: the reference program's background of a frame made from a seed.

    python tests/golden/make_background.py MaxiMask-1.4.1-py3-none-any.whl

needs scipy and astropy beside numpy; of the wheel only ``utils.py`` is used, no TensorFlow.
"""

import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

STEP_PX = 37
"""Maps are smooth: every 37th pixel of every 37th row is enough."""


def frame() -> npt.NDArray[np.float32]:
    """A gradient, noise that changes, stars, a dead corner and one bright cell: 1,050 x 1,337."""
    rng = np.random.default_rng(20200301)
    height, width = 1050, 1337
    y, x = np.mgrid[:height, :width]
    sky = 800 + 0.2 * x + 60 * np.sin(y / 300)
    image = sky + rng.normal(0, 1, sky.shape) * np.sqrt(sky) * (1 + x / width)
    for _ in range(1200):
        row, column = rng.integers(8, height - 8), rng.integers(8, width - 8)
        stamp = np.s_[row - 8 : row + 9, column - 8 : column + 9]
        radius2 = (y[stamp] - row) ** 2 + (x[stamp] - column) ** 2
        image[stamp] += min(300 / rng.random() ** 1.4, 1e5) * np.exp(-radius2 / 7)
    image[200:420, 700:900] += 9000
    image[900:, :150] = 0
    return np.asarray(image, np.float32)


def reference(wheel: Path) -> ModuleType:
    """The wheel's ``utils`` module."""
    module = ModuleType("maximask_utils")
    with zipfile.ZipFile(wheel) as archive:
        exec(archive.read("maximask_and_maxitrack/utils.py"), module.__dict__)
    return module


def main() -> None:
    """Write the file beside this script."""
    utils = reference(Path(sys.argv[1]))
    level, sigma = utils.background_est(np.clip(frame(), -500, 80000))
    np.savez_compressed(
        Path(__file__).with_name("background.npz"),
        level=level[::STEP_PX, ::STEP_PX],
        sigma=sigma[::STEP_PX, ::STEP_PX],
    )


if __name__ == "__main__":
    main()
