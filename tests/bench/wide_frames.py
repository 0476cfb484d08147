"""Frames of 32 tiles, of real stars: good, trailed, jumped, turned, faint.

Panels of real frames lie side by side, every other one turned by half a turn, which leaves the
direction of trails as it is. In "season" they are nights of one field whose ellipticity rises from
.09 to .47 across the frame.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from trails import Pixels, level_of, pixels_of, smeared

SHAPE = (1600, 3200)
_FAINT = 12.0
"""The noise of faint frames, in units of the real frame's: hardly any star has a shape then."""
_BLOCK_PX, _EDGE_PX = 512, 64


def wide_frames(samples: Path, shape: tuple[int, int] = SHAPE) -> Iterator[tuple[str, Pixels]]:
    """Yields names and frames; the median of each is 1000, its noise 10."""
    for name, panels, fwhm in _bases(samples):
        mosaic = _mosaic(panels, shape)
        for dress, paint in _PAINTED.items():
            if name != "season" or dress in ("as it is", "faint"):
                yield f"{name}, {dress}", paint(mosaic, fwhm)


def _bases(samples: Path) -> Iterator[tuple[str, list[Pixels], float]]:
    good, season = samples / "exposures" / "good", samples / "exposures" / "tracking"
    apogee = [
        _scaled(pixels_of(good / f"apogee_eso085-030-00{number}.fit.gz")) for number in (4, 5)
    ]
    yield "apogee", apogee, 2.7
    with (season / "table.csv").open() as file:
        nights = sorted(csv.DictReader(file), key=lambda row: float(row["ellipticity"]))
    saao = [_scaled(pixels_of(season / row["file"])) for row in nights]
    yield "season", saao, 5.5
    yield "mro", [_scaled(pixels_of(good / "mro2m4_didymos.fits.gz"))], 6.0


def _scaled(image: Pixels) -> Pixels:
    level, sigma = level_of(image)
    return np.asarray(1000 + 10 * (image - level) / sigma)


def _mosaic(panels: list[Pixels], shape: tuple[int, int]) -> Pixels:
    """Returns a frame of panels, column by column, so that many of them rise from left to right."""
    rows, columns = (-(-side // each) for side, each in zip(shape, panels[0].shape, strict=True))
    lines = []
    for row in range(rows):
        line = []
        for column in range(columns):
            number = column * rows + row
            of_all = number * len(panels) // (rows * columns)
            panel = panels[of_all if len(panels) > 3 else number % len(panels)]
            line.append(panel[::-1, ::-1] if number % 2 else panel)
        lines.append(np.concatenate(line, axis=1))
    return np.concatenate(lines)[: shape[0], : shape[1]].copy()


def _turned(image: Pixels, fwhm: float) -> Pixels:
    """Returns the frame as where the field turned about its middle: trails of 4 FWHM at corners."""
    middle = np.array(image.shape) / 2
    grown, found = np.pad(image, _EDGE_PX, "reflect"), image.copy()
    for top in range(0, image.shape[0], _BLOCK_PX):
        for left in range(0, image.shape[1], _BLOCK_PX):
            bottom, right = top + _BLOCK_PX, left + _BLOCK_PX
            y, x = np.array([top, left]) + _BLOCK_PX / 2 - middle
            length = 4 * fwhm * float(np.hypot(y, x) / np.hypot(*middle))
            block = grown[top : bottom + 2 * _EDGE_PX, left : right + 2 * _EDGE_PX]
            moved = smeared(block, length, float(np.arctan2(x, -y)), 0.0)
            inner = moved[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX]
            found[top:bottom, left:right] = inner
    return found


def _faint(image: Pixels, fwhm: float) -> Pixels:
    noise = np.random.default_rng(2).normal(0, 10 * _FAINT, image.shape)
    return np.asarray(1000 + (image - 1000 + noise) / _FAINT)


def _line(fwhms: float) -> Callable[[Pixels, float], Pixels]:
    return lambda image, fwhm: smeared(image, fwhms * fwhm, 0.5, 0.0)


_PAINTED: dict[str, Callable[[Pixels, float], Pixels]] = {
    "as it is": lambda image, fwhm: image,
    "line of 1.25 FWHM": _line(1.25),
    "jump of 4 FWHM": lambda image, fwhm: smeared(image, 4 * fwhm, 0.5, 0.4),
    "turned": _turned,
    "faint": _faint,
    "faint, line of 1.6 FWHM": lambda image, fwhm: _faint(_line(1.6)(image, fwhm), fwhm),
    "faint, line of 3 FWHM": lambda image, fwhm: _faint(_line(3.0)(image, fwhm), fwhm),
}
