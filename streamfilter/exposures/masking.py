"""Finds the contaminants of a whole frame: a network on large tiles, without their margins.

The reference program computes every inner pixel four times, on tiles of 400 px of which it keeps
the middle. Here tiles are larger and start on the network's own grid of 32 px: a pixel is computed
2.4 times, and the result agrees with that of the frame in one piece.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamfilter import posterior
from streamfilter.contaminants import BY_CODE, TABLE
from streamfilter.inference.engine import Engine
from streamfilter.records import Image

Bits = npt.NDArray[np.int16]
Planes = npt.NDArray[np.float32]
Done = Callable[[int], None]
"""Called with the number of pixels that are done since the last call."""

GRID_PX = 32
"""The network halves the image five times (2^5 = 32): tiles that start on this grid pool the same
pixels as the whole frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskRules:
    """How a frame is cut into tiles, and which probability counts as contaminated."""

    tile_px: int = 896
    """The network's activations take 1.1 kB a pixel: 0.9 GB."""
    margin_px: int = 160
    """Thrown away at inner edges. The network uses pixels up to 167 px away. On real frames, a
    margin of 128 px moves one logit in 1000 by 0.06 (at most 0.2), one of 96 px by 0.4 (1.4)."""
    priors: Mapping[str, float] = field(default_factory=lambda: {r.code: r.prior for r in TABLE})
    """Per class; the training priors leave the network's output as it is."""
    thresholds: Mapping[str, float] = field(
        default_factory=lambda: {r.code: r.threshold for r in TABLE}
    )
    """Per class, on the probability after the prior change."""
    classes: tuple[str, ...] = ()
    """The classes that masks tell; empty: all of the engine. Areas are measured of all."""

    def __post_init__(self) -> None:
        """Refuse tiles that are not a multiple of the grid, or that are nothing but margin.

        Raises
        ------
        ValueError
            What was found, and what is expected.
        """
        if self.tile_px % GRID_PX or self.margin_px % GRID_PX or self.margin_px < 0:
            raise ValueError(
                f"tile_px {self.tile_px} and margin_px {self.margin_px} must be multiples of "
                f"{GRID_PX}"
            )
        if self.tile_px <= 2 * self.margin_px:
            raise ValueError(f"tile_px must be over twice margin_px, {2 * self.margin_px}")


@dataclass(frozen=True, slots=True, eq=False)
class FrameMask:
    """Bit codes of the class table by pixel, and the share of the frame's pixels by class code.

    The classes of the areas are those of the engine.
    """

    bits: Bits
    areas: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Span:
    """The pixels that a tile covers along one side, and those whose result is kept."""

    start: int
    stop: int
    kept_from: int
    kept_to: int


class Masker:
    """Masks frames with one network."""

    def __init__(self, engine: Engine, rules: MaskRules | None = None) -> None:
        """Use an engine; the caller closes it.

        Raises
        ------
        ValueError
            The engine takes more than one image, or has not the classes of the rules.
        """
        if len(engine.manifest.planes) != 1:
            takes = ", ".join(engine.manifest.planes)
            raise ValueError(f"engine {engine.manifest.name} takes {takes}; a frame is one image")
        self._engine = engine
        self._rules = rules or MaskRules()
        self._training = [row.training_prior for row in engine.manifest.classes]
        self._all = engine.manifest.codes
        chosen = self._rules.classes or self._all
        if unknown := sorted(set(chosen) - set(self._all)):
            raise ValueError(
                f"engine {engine.manifest.name} has no class {', '.join(unknown)}; "
                f"it has {', '.join(self._all)}"
            )
        self._codes = tuple(code for code in self._all if code in chosen)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the classes that masks tell, in the order of the engine's outputs."""
        return self._codes

    def mask(self, image: Image, done: Done = lambda _: None) -> FrameMask:
        """Returns the bit codes of the classes above their thresholds, and all classes' areas.

        The class of plain sky has an area and no bit.

        Parameters
        ----------
        image
            (height, width), background-subtracted, in units of sigma, finite.
        """
        bits = np.zeros(image.shape, np.int16)
        pixels = np.zeros(len(self._all), np.int64)
        limits = posterior.raw_threshold(
            [self._rules.thresholds[code] for code in self._all],
            self._training,
            [self._rules.priors[code] for code in self._all],
        ).astype(np.float32)
        for where, raw in self.raw(image):
            for number, code in enumerate(self._all):
                above = raw[number] > limits[number]
                pixels[number] += np.count_nonzero(above)
                if code in self._codes:
                    bits[where] |= above * np.int16(BY_CODE[code].bit)
            done(raw[0].size)
        shares = (pixels / image.size).tolist()
        return FrameMask(bits, dict(zip(self._all, shares, strict=True)))

    def probabilities(self, image: Image, done: Done = lambda _: None) -> Planes:
        """Returns probabilities after the prior change, (K, height, width) for K classes told.

        All of MaxiMask's take 56 bytes a pixel.
        """
        result = np.empty((len(self._codes), *image.shape), np.float32)
        chosen = [self._all.index(code) for code in self._codes]
        training = np.array(self._training)[chosen, None, None]
        priors = np.array([self._rules.priors[code] for code in self._codes])[:, None, None]
        for where, raw in self.raw(image):
            result[(slice(None), *where)] = posterior.update(raw[chosen], training, priors)
            done(raw[0].size)
        return result

    def raw(self, image: Image) -> Iterator[tuple[tuple[slice, slice], Planes]]:
        """Yields rows and columns of the frame, and the network's output there.

        The output has the shape (K, rows, columns) and the priors of training.
        """
        height, width = image.shape
        smallest = self._engine.manifest.shape.min_side_px
        down, across = _missing(height, smallest), _missing(width, smallest)
        if not down and not across:
            padded = image
        elif min(height, width) > 1:
            padded = np.pad(image, ((0, down), (0, across)), "reflect")
        else:  # nothing to mirror
            padded = np.pad(image, ((0, down), (0, across)), "edge")
        for rows in spans(height + down, self._rules):
            for columns in spans(width + across, self._rules):
                tile = padded[rows.start : rows.stop, columns.start : columns.stop]
                output = self._engine.infer(np.ascontiguousarray(tile)[None, None])[0]
                bottom, right = min(rows.kept_to, height), min(columns.kept_to, width)
                where = slice(rows.kept_from, bottom), slice(columns.kept_from, right)
                y = slice(rows.kept_from - rows.start, bottom - rows.start)
                x = slice(columns.kept_from - columns.start, right - columns.start)
                yield where, output[:, y, x]


def too_small(image: Image) -> str | None:
    """Returns why an image cannot be masked in a sensible time; None where it can.

    Narrower than the network's grid it would be nearly all padding, of a strip of any length.
    """
    height, width = image.shape
    if min(height, width) >= GRID_PX:
        return None
    return f"{width} x {height} px; at least {GRID_PX} x {GRID_PX} are masked"


def _missing(length: int, smallest: int) -> int:
    """Returns how many pixels are missing to the next length that the network accepts."""
    return max(-length % GRID_PX, smallest - length)


def spans(length: int, rules: MaskRules) -> tuple[Span, ...]:
    """Returns the tiles along one side of a frame; the last one is shifted to end at the edge.

    Parameters
    ----------
    length
        A multiple of the grid.
    """
    if length <= rules.tile_px:
        return (Span(0, length, 0, length),)
    step = rules.tile_px - 2 * rules.margin_px
    starts = [*range(0, length - rules.tile_px, step), length - rules.tile_px]
    inner = [start + rules.margin_px for start in starts[1:]]
    kept = zip(starts, [0, *inner], [*inner, length], strict=True)
    return tuple(Span(start, start + rules.tile_px, low, high) for start, low, high in kept)
