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
        # The plain kernels are nearer to exact arithmetic: 1.3e-5 against 2.6e-5 at worst.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        import tensorflow
        from tensorflow.python.framework import convert_to_constants

        self._tensorflow = tensorflow
        self._model = tensorflow.saved_model.load(str(folder(name)))
        called = self._model.signatures["serving_default"]
        flat = convert_to_constants.convert_variables_to_constants_v2(called)
        operations = flat.graph.get_operations()
        last = "Sigmoid" if name == "maximask" else "Softmax"
        outputs = [node.outputs[0] for node in operations if node.type == last]
        argmax = [node.outputs[1] for node in operations if node.type == "MaxPoolWithArgmax"]
        # Raw probabilities: what the release does after them (priors, thresholds) is left out.
        self._inputs = flat.inputs
        self._run = flat.prune(flat.inputs, [*outputs, *argmax])

    def infer(self, batch: Floats) -> Floats:
        """(N, 1, 400, 400) to raw probabilities, (N, K, 400, 400) or (N, K)."""
        return np.concatenate([self.one(frame)[0] for frame in batch[:, 0]])

    def one(self, frame: Floats) -> tuple[Floats, list[Floats]]:
        """Probabilities of one frame, and masks (1, C, H, W) of the maxima of every pooling."""
        nothing = self._tensorflow.zeros(14)
        feed = [
            self._tensorflow.constant(frame[None, :, :, None])
            if tensor.shape.rank == 4
            else self._tensorflow.cast(nothing, tensor.dtype)
            for tensor in self._inputs
        ]
        found, *argmax = (np.asarray(tensor) for tensor in self._run(*feed))
        if found.ndim == 4:
            found = found.transpose(0, 3, 1, 2)
        masks = []
        for level, places in enumerate(argmax):
            side, channels = frame.shape[0] // 2**level, places.shape[-1]
            mask = np.zeros(side * side * channels, np.float32)
            mask[places.ravel()] = 1  # an index is (row * width + column) * channels + channel
            masks.append(mask.reshape(1, side, side, channels).transpose(0, 3, 1, 2))
        return found, masks


def folder(name: str) -> Path:
    """The SavedModel of the installed package."""
    import maximask_and_maxitrack

    return Path(str(maximask_and_maxitrack.__file__)).parent / name / "model"


def normalised(image: npt.NDArray[np.generic]) -> Floats:
    """An image as the authors' program feeds it to the networks."""
    from maximask_and_maxitrack import utils

    result, _seconds = utils.image_norm(image)
    return np.asarray(result, np.float32)
