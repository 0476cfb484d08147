"""Finds the contaminants of a whole frame: networks on large tiles, without their margins.

The reference program computes every inner pixel four times, on tiles of 400 px of which it keeps
the middle. Here tiles are larger and start on the network's own grid of 32 px: a pixel is computed
1.7 to 2.4 times, and the result agrees with that of the frame in one piece.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from streamfilter import posterior
from streamfilter.contaminants import BY_CODE, TABLE
from streamfilter.exposures.noise import evened
from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.sky import Mesh, normalise, unusable
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import InputPlane, Manifest
from streamfilter.records import Image

Bits = npt.NDArray[np.int16]
Planes = npt.NDArray[np.float32]
Done = Callable[[int], None]
"""Called with the number of pixels that are done since the last call."""

GRID_PX = 32
"""The network halves the image five times (2^5 = 32): tiles that start on this grid pool the same
pixels as the whole frame."""


COSMIC_RAY = "CR"
_NEAR_TILE_PX = 384
"""Side of a tile of a network that does not see far: deepcr's take .15 GB. Of 768 px they took .57
GB and half as much time again, margins included."""


@dataclass(frozen=True, slots=True)
class Network:
    """Which network it was."""

    name: str
    version: str
    sha256: str
    """Of its ONNX file."""


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
    networks: Mapping[str, Network] = field(default_factory=dict)
    """Which network decides about a class, by its code, for the masks' headers; else not said."""

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


@dataclass(frozen=True, slots=True)
class _Part:
    """A network, and the classes that it decides about."""

    engine: Engine
    rules: MaskRules
    codes: tuple[str, ...]


class Masker:
    """Masks frames with one network, or cosmic rays with one and all other classes with another."""

    def __init__(
        self,
        engine: Engine,
        rules: MaskRules | None = None,
        cosmic_rays: Engine | None = None,
        *,
        all_areas: bool = True,
    ) -> None:
        """Use engines; the caller closes them.

        Parameters
        ----------
        cosmic_rays
            Decides about cosmic rays in the other's place; None: the other does.
        all_areas
            Whether areas of all classes are measured. Otherwise an engine is asked only where
            masks tell one of its classes.

        Raises
        ------
        ValueError
            An engine does not begin with the science image, or has not the classes of the rules.
        """
        rules = rules or MaskRules()
        known = engine.manifest.codes
        if cosmic_rays is None or cosmic_rays is engine:
            parts = [_Part(engine, rules, known)]
        else:
            others = tuple(code for code in known if code != COSMIC_RAY)
            known = known if COSMIC_RAY in known else (COSMIC_RAY, *known)
            parts = [
                _Part(cosmic_rays, of_reach(rules, cosmic_rays.manifest), (COSMIC_RAY,)),
                _Part(engine, rules, others),
            ]
        for part in parts:
            _check(part)
        chosen = rules.classes or known
        if unknown := sorted(set(chosen) - set(known)):
            raise ValueError(
                f"engine {engine.manifest.name} has no class {', '.join(unknown)}; "
                f"it has {', '.join(known)}"
            )
        self._rules = rules
        self._parts = [
            each for each in parts if all_areas or not set(chosen).isdisjoint(each.codes)
        ]
        self._codes = tuple(code for code in known if code in chosen)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the classes that masks tell, in the order of the engine's outputs."""
        return self._codes

    def mask(self, image: Image, done: Done = lambda _: None) -> FrameMask:
        """Returns the bit codes of the classes above their thresholds, and the areas of all asked.

        The class of plain sky has an area and no bit.

        Parameters
        ----------
        image
            (height, width), background-subtracted, in units of sigma, finite.
        """
        bits, pixels = np.zeros(image.shape, np.int16), dict[str, int]()
        for part in self._parts:
            limits = self._limits(part)
            for where, raw in swept(part.engine, image, part.rules):
                for code, plane, limit in zip(part.codes, raw[_outputs(part)], limits, strict=True):
                    above = plane > limit
                    pixels[code] = pixels.get(code, 0) + int(np.count_nonzero(above))
                    if code in self._codes:
                        bits[where] |= above * np.int16(BY_CODE[code].bit)
                if part is self._parts[-1]:
                    done(raw[0].size)
        return FrameMask(bits, {code: pixels[code] / image.size for code in self._order(pixels)})

    def probabilities(self, image: Image, done: Done = lambda _: None) -> Planes:
        """Returns probabilities after the prior change, (K, height, width) for K classes told.

        All of MaxiMask's take 56 bytes a pixel.
        """
        result = np.empty((len(self._codes), *image.shape), np.float32)
        for part in self._parts:
            told = [code for code in part.codes if code in self._codes]
            places = [self._codes.index(code) for code in told]
            outputs = [part.engine.manifest.codes.index(code) for code in told]
            training = np.array([_training(part, code) for code in told])[:, None, None]
            priors = np.array([self._rules.priors[code] for code in told])[:, None, None]
            for where, raw in swept(part.engine, image, part.rules):
                result[(places, *where)] = posterior.update(raw[outputs], training, priors)
                if part is self._parts[-1]:
                    done(raw[0].size)
        return result

    def _limits(self, part: _Part) -> npt.NDArray[np.float32]:
        """Returns the thresholds on a network's own output."""
        return posterior.raw_threshold(
            [self._rules.thresholds[code] for code in part.codes],
            [_training(part, code) for code in part.codes],
            [self._rules.priors[code] for code in part.codes],
        ).astype(np.float32)

    def _order(self, pixels: Mapping[str, int]) -> list[str]:
        """Returns the classes that were measured, as the engine that has most of them has them."""
        last = self._parts[-1].engine.manifest.codes
        return [code for code in last if code in pixels] + [c for c in pixels if c not in last]


def swept(
    engine: Engine, image: Image, rules: MaskRules
) -> Iterator[tuple[tuple[slice, slice], Planes]]:
    """Yields rows and columns of a frame, and a network's output there, tile by tile.

    The output has the shape (K, rows, columns) and the priors of training.
    """
    manifest, edge = engine.manifest, _edge(engine.manifest)
    down, across = (_padding(side, manifest) for side in image.shape)
    padded = _mirrored(image, edge, down, across)
    for rows in _cut(image.shape[0], manifest, rules):
        for columns in _cut(image.shape[1], manifest, rules):
            tile = padded[rows.start : rows.stop, columns.start : columns.stop]
            output = engine.infer(_science_alone(tile, manifest.planes))[0]
            y = slice(rows.kept_from - rows.start, rows.kept_to - rows.start)
            x = slice(columns.kept_from - columns.start, columns.kept_to - columns.start)
            where = (
                slice(rows.kept_from - edge, rows.kept_to - edge),
                slice(columns.kept_from - edge, columns.kept_to - edge),
            )
            yield where, output[:, y, x]


def computed_pixels(height: int, width: int, manifest: Manifest, rules: MaskRules) -> int:
    """Returns how many pixels a network computes for a frame: those of all tiles, with margins."""
    rules = of_reach(rules, manifest)
    down, across = (
        sum(each.stop - each.start for each in _cut(side, manifest, rules))
        for side in (height, width)
    )
    return down * across


def _cut(length: int, manifest: Manifest, rules: MaskRules) -> list[Span]:
    """Returns the tiles along a side of a frame, counted from its first mirrored pixel.

    Only pixels of the frame are kept; tiles with nothing but what was mirrored are left out.
    """
    edge, after = _edge(manifest), _padding(length, manifest)
    cut = [
        replace(
            each,
            kept_from=max(each.kept_from, edge),
            kept_to=min(each.kept_to, edge + length),
        )
        for each in spans(edge + length + after, rules)
    ]
    return [each for each in cut if each.kept_from < each.kept_to]


def _padding(length: int, manifest: Manifest) -> int:
    """Returns how many pixels are mirrored after the last one of a side."""
    edge = _edge(manifest)
    return edge + _missing(length + 2 * edge, manifest.shape.min_side_px)


def _edge(manifest: Manifest) -> int:
    """Returns how many pixels are mirrored at the first edges.

    Networks take 0 beyond an image. Where one reaches little farther than a frame's edge, what it
    would say there costs less to mend than to explain. MaxiMask does as its authors' program does.
    """
    if manifest.reach_px is None:
        return 0
    return -(-manifest.reach_px // manifest.shape.multiple_px) * manifest.shape.multiple_px


def _mirrored(image: Image, edge: int, down: int, across: int) -> Image:
    """Returns an image with pixels added at its first edges, and below and to the right."""
    if not (edge or down or across):
        return image
    # Where there are too few pixels to mirror, the last one is repeated.
    deep = min(image.shape) > 1
    return np.pad(image, ((edge, down), (edge, across)), "reflect" if deep else "edge")


def _science_alone(tile: Image, planes: Sequence[str]) -> Tensor:
    """Returns a tile as a network's input; the planes of alerts that a frame lacks are 0."""
    if len(planes) == 1:
        return np.ascontiguousarray(tile)[None, None]
    batch = np.zeros((1, len(planes), *tile.shape), np.float32)
    batch[0, 0] = tile
    if InputPlane.VALID in planes:
        batch[0, planes.index(InputPlane.VALID)] = 1
    return batch


def _check(part: _Part) -> None:
    """Refuse an engine that is not for the science image, or lacks a class.

    Raises
    ------
    ValueError
        What was found, and what is expected.
    """
    manifest = part.engine.manifest
    if manifest.planes[0] != InputPlane.SCIENCE:
        takes = ", ".join(manifest.planes)
        raise ValueError(f"engine {manifest.name} takes {takes}; a frame is a science image")
    if lacking := sorted(set(part.codes) - set(manifest.codes)):
        raise ValueError(
            f"engine {manifest.name} has no class {', '.join(lacking)}; "
            f"it has {', '.join(manifest.codes)}"
        )


def _outputs(part: _Part) -> list[int]:
    """Returns the numbers of a network's outputs for the classes that it decides about."""
    return [part.engine.manifest.codes.index(code) for code in part.codes]


def _training(part: _Part, code: str) -> float:
    """Returns the prior at which a network was trained."""
    return next(row.training_prior for row in part.engine.manifest.classes if row.code == code)


def of_reach(rules: MaskRules, manifest: Manifest) -> MaskRules:
    """Returns the rules with a margin as wide as a network needs it, and tiles not larger."""
    if manifest.reach_px is None:
        return rules
    margin = -(-manifest.reach_px // GRID_PX) * GRID_PX
    tile = min(rules.tile_px, _NEAR_TILE_PX)
    return replace(rules, margin_px=min(margin, rules.margin_px), tile_px=tile)


@dataclass(frozen=True, slots=True)
class Unsearched:
    """Why a frame that was read cannot be searched."""

    reason: FrameReason
    detail: str


def searchable(image: Image, mesh: Mesh) -> Image | Unsearched:
    """Returns a frame in units of its noise, for ``Masker``; or why it cannot be searched."""
    if (detail := too_small(image)) is not None:
        return Unsearched(FrameReason.TOO_SMALL, detail)
    normalised = normalise(image, None, mesh)
    if isinstance(normalised, FrameReason):
        return Unsearched(normalised, "no sky could be measured")
    return normalised[0] if mesh.as_reference else evened(normalised[0], unusable(image, None))


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

    They are as few as the rules allow, and then as short as the grid allows: what a tile covers
    beyond its share would be computed twice.

    Parameters
    ----------
    length
        A multiple of the grid.
    """
    if length <= rules.tile_px:
        return (Span(0, length, 0, length),)
    margins = 2 * rules.margin_px
    number = -(-(length - margins) // (rules.tile_px - margins))
    step = -(-(length - margins) // (number * GRID_PX)) * GRID_PX
    side = step + margins
    starts = [*range(0, length - side, step), length - side]
    inner = [start + rules.margin_px for start in starts[1:]]
    kept = zip(starts, [0, *inner], [*inner, length], strict=True)
    return tuple(Span(start, start + side, low, high) for start, low, high in kept)
