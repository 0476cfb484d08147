"""The authors' own program, run by TensorFlow: what every engine is held against."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Reference:
    """A SavedModel of the installed MaxiMask package; it takes tiles of 400 px only."""

    def __init__(self, name: str) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import maximask_and_maxitrack
        import tensorflow

        folder = Path(str(maximask_and_maxitrack.__file__)).parent / name / "model"
        self._name = name
        self._model = tensorflow.saved_model.load(str(folder))

    def infer(self, batch: Floats) -> Floats:
        """(N, 1, 400, 400) to raw probabilities, (N, K, 400, 400) or (N, K)."""
        return np.concatenate([self._one(frame) for frame in batch[:, 0]])

    def _one(self, frame: Floats) -> Floats:
        pixels = frame[None, :, :, None]
        if self._name == "maxitrack":
            return np.asarray(self._model(pixels, False))
        # All classes; no change of priors, no thresholds, no single mask.
        none = np.zeros(14, np.float32)
        inputs = [pixels, np.arange(14, dtype=np.int32), none, none, none]
        return np.asarray(self._model(inputs, False)).transpose(0, 3, 1, 2)


def normalised(image: npt.NDArray[np.generic]) -> Floats:
    """An image as the authors' program feeds it to the networks."""
    from maximask_and_maxitrack import utils

    result, _seconds = utils.image_norm(image)
    return np.asarray(result, np.float32)
