"""Draws a page of exposures: each detector's tile map and worst cut-outs, the verdict in words.

matplotlib comes with the extra ``figures`` and is imported only when a figure is drawn.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamfilter import pages
from streamfilter.errors import ConfigurationInvalid
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    Judgement,
    TileEvidence,
    Voice,
)
from streamfilter.exposures.tracking import is_judged
from streamfilter.exposures.watcher import JudgedFrame
from streamfilter.records import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_INK, _FAINT = "#222222", "#777777"
_COLOURS = {
    Decision.TRACKING_ERROR: "#B34700",
    Decision.OK: "#00734F",
    Decision.CANNOT_TELL: "#8A6A00",
}
_VOICES = {
    Voice.NETWORK: "the network",
    Voice.SHAPES: "the shapes of the stars",
    Voice.BOTH: "the network and the shapes of the stars",
    Voice.NONE: "nothing",
}
_ERROR_TINT, _ABSTAIN, _NOT_NEEDED = "#D55E00", "#CCCCCC", "#56B4E9"
_THUMBNAIL_PX = 320
_CUT_PX = 100
"""Large enough for a trail of 30 FWHM, small enough to show a star of two pixels."""
_CUTS = 3
_ROW_IN, _WIDTH_IN = 4.0, 15.0
_SMALL_DPI = (80, 60, 40)
"""Resolutions to try for a page in a message; text of 9 points is readable down to 60 dpi."""
MOST_EXPOSURES = 8


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """The image of one star, and the tile that it is from."""

    image: Image
    tile: TileEvidence


@dataclass(frozen=True, slots=True, eq=False)
class DetectorPicture:
    """What the page shows of one detector; small enough to keep until the page is drawn."""

    evidence: DetectorEvidence
    thumbnail: Image | None
    shape: tuple[int, int]
    cuts: tuple[CutOut, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One exposure of the page."""

    title: str
    judgement: Judgement
    pictures: tuple[DetectorPicture, ...]
    """Of its detectors."""


def picture_of(judged: JudgedFrame) -> DetectorPicture:
    """Returns what the page needs of a detector: a thumbnail and cut-outs of its worst tiles."""
    if judged.image is None:
        return DetectorPicture(judged.evidence, None, (0, 0), ())
    height, width = judged.image.shape
    step = max(math.ceil(max(height, width) / _THUMBNAIL_PX), 1)
    rows, columns = height // step * step, width // step * step
    blocks = judged.image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    # The highest pixel of each block: a mean would wash the stars out.
    return DetectorPicture(
        judged.evidence, blocks.max(axis=(1, 3)), (height, width), _worst(judged)
    )


def draw(exposures: Sequence[Row], path: Path) -> None:
    """Write a page with one exposure a row, at most ``MOST_EXPOSURES``.

    The page says how many exposures are left out.

    Raises
    ------
    ConfigurationInvalid
        matplotlib is not installed, there is nothing to draw, or the file cannot be written.
    """
    if not exposures:
        raise ConfigurationInvalid(f"no exposure to draw in {path}")
    pages.save(_page(exposures), path)


def png(row: Row, *, max_bytes: int) -> bytes | None:
    """Returns a page of one exposure as PNG, at the highest resolution that fits ``max_bytes``.

    None where even the lowest resolution does not fit.

    Raises
    ------
    ConfigurationInvalid
        matplotlib is not installed.
    """
    page = _page([row])
    drawn = (pages.png(page, dpi) for dpi in _SMALL_DPI)
    return next((content for content in drawn if len(content) <= max_bytes), None)


def _page(exposures: Sequence[Row]) -> "Figure":
    rows = exposures[:MOST_EXPOSURES]
    head_in = 0.7
    height = head_in + _ROW_IN * len(rows)
    figure = pages.blank(_WIDTH_IN, height)
    parts = figure.subfigures(
        len(rows) + 1, 1, height_ratios=[head_in] + [_ROW_IN] * len(rows), squeeze=False
    )[:, 0]
    _write_head(parts[0], len(exposures) - len(rows))
    for part, row in zip(parts[1:], rows, strict=True):
        _draw_row(part, row)
    return figure


def _worst(judged: JudgedFrame) -> tuple[CutOut, ...]:
    """Returns the brightest star of each of the tiles with the highest output for an error."""
    if judged.image is None or judged.stars is None:
        return ()
    asked = [tile for tile in judged.evidence.tiles if not tile.not_needed]
    loudest = sorted(asked, key=lambda t: (t.abstains, -(t.probability or 0)))
    stars = judged.stars
    cuts: list[CutOut] = []
    side = _side(judged.evidence.tiles, judged.image.shape) if loudest else 0
    left = np.ones(len(stars.x), bool)
    for tile in loudest:
        inside = left & (stars.y >= tile.y) & (stars.y < tile.y + side)
        inside &= (stars.x >= tile.x) & (stars.x < tile.x + side)
        if inside.any() and len(cuts) < _CUTS:
            best = int(np.flatnonzero(inside)[np.argmax(stars.flux[inside])])
            y, x = float(stars.y[best]), float(stars.x[best])
            cuts.append(CutOut(_window(judged.image, y, x), tile))
            # Tiles overlap: a star on one cut-out need not be on the next.
            left &= np.maximum(np.abs(stars.y - y), np.abs(stars.x - x)) > _CUT_PX / 2
    return tuple(cuts)


def _window(image: Image, y: float, x: float) -> Image:
    """Returns a copy of the square around a point, shifted to stay inside the image."""
    top = int(np.clip(round(y) - _CUT_PX // 2, 0, max(image.shape[0] - _CUT_PX, 0)))
    left = int(np.clip(round(x) - _CUT_PX // 2, 0, max(image.shape[1] - _CUT_PX, 0)))
    return image[top : top + _CUT_PX, left : left + _CUT_PX].copy()


def _draw_row(part: "SubFigure", row: Row) -> None:
    left, middle, right = np.ravel(part.subfigures(1, 3, width_ratios=[5, 6, 4], squeeze=False))
    _draw_focal_plane(left, row.pictures)
    cuts = [(one.evidence.detector, cut) for one in row.pictures for cut in one.cuts]
    cuts.sort(key=lambda pair: (pair[1].tile.abstains, -(pair[1].tile.probability or 0)))
    for number, (detector, cut) in enumerate(cuts[:_CUTS]):
        panel = middle.add_axes((0.01 + number / _CUTS, 0.12, 0.94 / _CUTS, 0.76))
        _draw_image(panel, cut.image)
        words = "too few stars" if cut.tile.abstains else f"output {cut.tile.probability:.2f}"
        where = f"{_short(detector, 16)}  tile at x {cut.tile.x}, y {cut.tile.y}"
        panel.set_title(f"{words}\n{where}", fontsize=9, color=_INK, loc="left", parse_math=False)
    _write_verdict(right, row)


def _draw_focal_plane(part: "SubFigure", pictures: Sequence[DetectorPicture]) -> None:
    """Draw the detectors side by side, each with its tiles tinted by the network's output."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    panels = part.subplots(rows, columns, squeeze=False)
    part.subplots_adjust(0.02, 0.03, 0.98, 0.93, wspace=0.04, hspace=0.16)
    for panel in panels.flat[len(pictures) :]:
        panel.set_axis_off()
    for panel, one in zip(panels.flat, pictures, strict=False):
        _draw_detector(panel, one, len(pictures))


def _draw_detector(panel: "Axes", one: DetectorPicture, detectors: int) -> None:
    """Draw one detector; text that would be too small to read is left out."""
    evidence = one.evidence
    panel.set_xticks([])
    panel.set_yticks([])
    colour = _COLOURS[evidence.judgement.decision]
    for spine in panel.spines.values():
        spine.set(color=colour, linewidth=1 if detectors > 9 else 2)
    if detectors <= 16:
        panel.set_title(
            _short(evidence.detector, 22),
            fontsize=8,
            color=colour,
            loc="left",
            pad=2,
            parse_math=False,
        )
    if one.thumbnail is None:
        panel.set_facecolor("#EEEEEE")
        reason = (evidence.not_evaluated or evidence.not_judged or "").replace("_", " ")
        panel.text(0.5, 0.5, reason, ha="center", va="center", transform=panel.transAxes, size=8)
        return
    _draw_image(panel, one.thumbnail, (one.shape[1], one.shape[0]))
    for tile, area in zip(evidence.tiles, areas(evidence.tiles, one.shape), strict=True):
        _draw_tile(panel, tile, area, told=len(evidence.tiles) * detectors <= 60 and detectors <= 4)


def _draw_tile(
    panel: "Axes", tile: TileEvidence, area: tuple[float, float, float, float], *, told: bool
) -> None:
    """Draw one tile: hatched where it abstains, dotted where it was not judged, else tinted."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    x, y, width, height = area
    place = (x, y), width, height
    if tile.abstains:
        text = "few stars"
        panel.add_patch(Rectangle(*place, fill=False, hatch="/", ec=_ABSTAIN, lw=0.8))
    elif tile.not_needed:
        text = "not judged"
        panel.add_patch(Rectangle(*place, fill=False, hatch=".", ec=_NOT_NEEDED, lw=0.8))
    else:
        text = f"{tile.probability:.2f}"
        tint = to_rgba(_ERROR_TINT, 0.6 * (tile.probability or 0.0))
        panel.add_patch(Rectangle(*place, fc=tint, ec=to_rgba(pages.PAPER, 0.5), lw=0.6))
    if told:
        panel.text(
            x + width / 2,
            y + height / 2,
            text,
            color=pages.PAPER,
            size=8,
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.2", "fc": _INK, "alpha": 0.5, "lw": 0},
        )


def areas(
    tiles: Sequence[TileEvidence], shape: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Returns the area of a frame that each tile stands for; together they cover it once.

    Where tiles overlap, the middle of the overlap divides them.

    Parameters
    ----------
    shape
        (height, width) of the frame in pixels.

    Returns
    -------
    list
        Of each tile x, y, width and height in pixels.
    """
    if not tiles:
        return []
    side = _side(tiles, shape)
    rows = _divided((tile.y for tile in tiles), side, shape[0])
    columns = _divided((tile.x for tile in tiles), side, shape[1])
    found = []
    for tile in tiles:
        (left, right), (bottom, top) = columns[tile.x], rows[tile.y]
        found.append((left, bottom, right - left, top - bottom))
    return found


def _divided(starts: Iterable[int], side: int, length: int) -> dict[int, tuple[float, float]]:
    """Returns the first and last coordinate of the areas along one side, by the tile's start."""
    ordered = sorted(set(starts))
    between = [(before + side + after) / 2 for before, after in pairwise(ordered)]
    return dict(zip(ordered, pairwise([0.0, *between, float(length)]), strict=True))


def _side(tiles: Sequence[TileEvidence], shape: tuple[int, ...]) -> int:
    """Returns the side of the tiles: the last tile ends where the frame ends."""
    return shape[0] - max(tile.y for tile in tiles)


def _draw_image(panel: "Axes", image: Image, extent: tuple[int, int] | None = None) -> None:
    """Draw an image in units of its noise, asinh-stretched to its bright pixels."""
    panel.set_xticks([])
    panel.set_yticks([])
    stretched = np.arcsinh(image)
    highest = max(float(np.percentile(stretched, 99.8)), 2.5)
    panel.imshow(
        stretched,
        cmap="gray",
        origin="lower",
        interpolation="nearest",
        vmin=-1.0,
        vmax=highest,
        extent=None if extent is None else (0, extent[0], 0, extent[1]),
    )


def _write_verdict(part: "SubFigure", row: Row) -> None:
    judgement = row.judgement
    aside = all(one.evidence.not_judged is not None for one in row.pictures)
    headline = "not judged" if aside and row.pictures else judgement.decision.replace("_", " ")
    colour = _COLOURS[judgement.decision]
    part.text(0.03, 0.88, headline.upper(), va="top", size=15, weight="bold", color=colour)
    text = "\n".join(words(row))
    part.text(0.03, 0.78, text, va="top", size=9.5, color=_INK, linespacing=1.5, parse_math=False)


def words(row: Row) -> list[str]:
    """Returns the lines of plain text under the headline."""
    judgement, shapes = row.judgement, row.judgement.shapes
    lines = [_short(row.title, 44), f"decided by: {_VOICES[judgement.voice]}"]
    if not any(is_judged(one.evidence) for one in row.pictures):
        return [lines[0], *_unread(row)]
    if judgement.probability is not None:
        lines.append(f"probability {judgement.probability:.3f} at prior {judgement.prior:g}")
    if judgement.network_probability is None:
        lines.append("network: every tile abstained")
    else:
        lines.append(f"network alone: {judgement.network_probability:.3f}")
    if judgement.reference_mean is not None:
        lines.append(f"plain mean of the judged tiles: {judgement.reference_mean:.3f}")
    lines.append(f"tiles: {judgement.tiles_used} used, {judgement.tiles_abstained} abstained")
    if judgement.tiles_not_needed:
        lines[-1] += f", {judgement.tiles_not_needed} not needed"
    lines.append(f"stars measured: {shapes.stars}")
    if shapes.elongation is not None:
        lines.append(f"elongation {shapes.elongation:.2f}, FWHM {shapes.fwhm_px:.1f} px")
        angle = f"position angle {shapes.position_angle_deg:.0f} deg"
        lines.append(f"{angle}, coherence {shapes.coherence:.2f}")
    return lines + _unread(row)


def _short(name: str, most: int) -> str:
    """Returns a name; a long one loses its beginning."""
    return name if len(name) <= most else "..." + name[3 - most :]


def _unread(row: Row) -> list[str]:
    """Returns lines that say why detectors were not judged, at most three and a count."""
    skipped = [one.evidence for one in row.pictures if not is_judged(one.evidence)]
    words = [
        f"{one.detector or 'file'}: {one.not_evaluated or one.not_judged}".replace("_", " ")
        for one in skipped
    ]
    return words[:3] + ([f"and {len(words) - 3} more"] if len(words) > 3 else [])


def _write_head(part: "SubFigure", left_out: int) -> None:
    text = "raw network output per tile, hatched where there are too few stars, dotted where the "
    text += "others were enough; beside it stars of the worst tiles"
    if left_out:
        text += f"    ({left_out} exposures left out)"
    part.text(0.01, 0.5, text, va="center", size=10, color=_FAINT)
