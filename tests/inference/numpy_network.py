"""MaxiMask's network in plain numpy, as the paper draws it: the slow equivalent of the ONNX.

It computes in the precision of the image that it is given.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def convolve(x: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    """3x3, same size, with bias; maps are (height, width, channel)."""
    kernel = weights[f"{name}/kernel"]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    height, width, _ = x.shape
    total = np.zeros((height, width, kernel.shape[3]), x.dtype)
    for row in range(3):
        for column in range(3):
            total += padded[row : row + height, column : column + width] @ kernel[row, column]
    return np.asarray(total + weights[f"{name}/bias"])


def pool(x: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """2x2 maximum, and which of the four it was: the first of equal ones."""
    height, width, channels = x.shape
    ends = ((0, height % 2), (0, width % 2), (0, 0))
    even = np.pad(x, ends, constant_values=-1)
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, channels)
    flat = blocks.transpose(0, 2, 1, 3, 4).reshape(*blocks.shape[::2][:2], 4, channels)
    place = flat.argmax(axis=2)
    return flat.max(axis=2), place


def unpool(y: Floats, place: npt.NDArray[np.intp], like: Floats) -> Floats:
    """Each value back to where its maximum was."""
    height, width, channels = y.shape
    even = np.zeros((2 * height, 2 * width, channels), y.dtype)
    for row in range(2):
        for column in range(2):
            even[row::2, column::2] = np.where(place == 2 * row + column, y, 0)
    return even[: like.shape[0], : like.shape[1]]


def chosen(mask: Floats) -> npt.NDArray[np.intp]:
    """Places as ``pool`` gives them, from a mask (height, width, channel) of the maxima."""
    return pool(mask)[1]


def maximask(
    image: Floats, weights: Mapping[str, Floats], masks: Sequence[Floats] | None = None
) -> Floats:
    """Probabilities (14, height, width) of one image in units of sigma.

    With masks (1, channel, height, width) of every pooling, their choice of the maxima is taken.
    """

    def layer(x: Floats, name: str) -> Floats:
        return np.maximum(convolve(x, weights, name), 0)

    x = np.arcsinh(image)[:, :, None]
    skips: list[Floats] = []
    places: list[npt.NDArray[np.intp]] = []
    for names in ("conv1", "conv2", "conv3_1 conv3_2", "conv4_1 conv4_2", "conv5_1 conv5_2"):
        for name in names.split():
            x = layer(x, name)
        skips.append(x)
        x, place = pool(x)
        if masks is not None:
            place = chosen(masks[len(places)][0].transpose(1, 2, 0))
        places.append(place)

    def up(x: Floats, level: int) -> Floats:
        return unpool(x, places[level - 1], skips[level - 1])

    d6 = layer(x, "convmid")
    d5 = layer(layer(up(d6, 5) + skips[4], "upconv5_2"), "upconv5_1")
    d4 = layer(layer(up(d5, 4) + skips[3], "upconv4_2"), "upconv4_1")
    d3 = layer(layer(up(d4, 3) + skips[2], "upconv3_2"), "upconv3_1")
    d2 = layer(up(d3, 2) + skips[1], "upconv2")
    sides = [layer(up(d2, 1) + skips[0], "upconv1")]
    for path, start in (("ucp4", d5), ("ucp3", d4), ("ucp2", d3), ("ucp1", d2)):
        x = start
        for level in range(int(path[3]), 0, -1):
            x = layer(up(x, level), f"{path}_conv{level}")
        sides.append(x)
    logits = convolve(np.concatenate(sides, axis=2), weights, "final_conv")
    return np.asarray(1 / (1 + np.exp(-logits))).transpose(2, 0, 1)
