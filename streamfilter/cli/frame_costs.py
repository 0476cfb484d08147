"""Measures what frames cost one core of this machine, for ``streamfilter plan --camera``.

Times are the CPU's, so that other programs on the machine change them little.
"""

import os
import time
from collections.abc import Callable

import numpy as np

from streamfilter.cli.capacity import FrameCosts
from streamfilter.exposures import shapes, sky
from streamfilter.exposures.frames import read_frames
from streamfilter.exposures.records import Frame
from streamfilter.exposures.tiles import SIDE_PX
from streamfilter.inference import cache, runtimes
from streamfilter.inference.progress import Progress
from streamfilter.simulate.frames import Exposure, readout

_MASKED_SIDE_PX = 352
_SKY_SIDE_PX, _REPEATED = 512, 6
"""A simulated field, side by side so often: 9 Mpix, for stars cost as much in small frames."""
_RUNS = 3


def measured(progress: Progress) -> FrameCosts:
    """Returns what the networks, by ONNX Runtime, and the sky of a simulated frame take.

    It takes some seconds.

    Raises
    ------
    EngineUnavailable
        A network cannot be had.
    """
    masked_mpix = _MASKED_SIDE_PX**2 / 1e6
    return FrameCosts(
        maximask_per_mpix=_image_s("maximask", _MASKED_SIDE_PX, progress) / masked_mpix,
        deepcr_per_mpix=_image_s("deepcr", _MASKED_SIDE_PX, progress) / masked_mpix,
        maxitrack_per_tile=_image_s("maxitrack", SIDE_PX, progress),
        sky_per_mpix=_sky_s() / ((_REPEATED * _SKY_SIDE_PX) ** 2 / 1e6),
    )


def _image_s(name: str, side_px: int, progress: Progress) -> float:
    """Returns the s that a network takes for one image, without the first one."""
    home = cache.default_home(os.environ)
    engine = runtimes.open_engine(name, "onnxruntime", home, 1, progress=progress)
    image = np.random.default_rng(0).standard_normal((1, 1, side_px, side_px), np.float32)
    engine.warm_up((image.shape,))
    taken_s = _shortest_s(lambda: engine.infer(image))
    engine.close()
    return taken_s


def _sky_s() -> float:
    """Returns the s that sky, noise and stars of a frame take."""
    (content,) = readout(Exposure("plan", 1, _SKY_SIDE_PX, 0.0), seed=1)
    (frame,) = read_frames(content, "plan")
    assert isinstance(frame, Frame)
    image = np.tile(frame.image, (_REPEATED, _REPEATED))

    def judge() -> None:
        normalised = sky.normalise(image)
        assert isinstance(normalised, tuple)
        shapes.measure(shapes.find(normalised[0]))

    return _shortest_s(judge)


def _shortest_s(work: Callable[[], object]) -> float:
    """Returns the CPU's s, of all threads, in the shortest of a few runs."""
    taken_s = []
    for _ in range(_RUNS):
        start = time.process_time()
        work()
        taken_s.append(time.process_time() - start)
    return min(taken_s)
