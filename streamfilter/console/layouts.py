"""Where the detectors of a camera are drawn, how large, and how they are turned."""

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

_DRAWN = 0.956
"""Detectors are drawn so much smaller than they are: gaps of a millimetre would not be seen."""
_MARGIN = 0.04
_TO = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
_UPRIGHT = ("right", "up")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a detector is drawn: its middle, from the upper left of the camera.

    The unit is the distance from one detector to the next at its side.
    """

    x: float
    y: float
    width: float = 0.92
    """Along the detector's own rows, wherever these are drawn to."""
    height: float = 0.92
    axes: tuple[str, str] = _UPRIGHT
    """Where columns, and where rows, count to: right, left, up or down."""
    expected: bool = True
    """Whether a frame of it is missed where none came: not of guiders and wavefront sensors."""

    def transform(self) -> str:
        """Returns the SVG transform of what is drawn around 0, 0 with rows that count upwards."""
        (a, b), (c, d) = (_TO[name] for name in self.axes)
        if self.axes == _UPRIGHT:
            return f"translate({self.x:g} {self.y:g})"
        return f"matrix({a} {b} {-c} {-d} {self.x:g} {self.y:g})"

    def extent(self) -> tuple[float, float]:
        """Returns how wide and how high it is, as it is drawn."""
        lies = _TO[self.axes[0]][1] != 0
        return (self.height, self.width) if lies else (self.width, self.height)


def upright(place: Place) -> Place:
    """Returns the same detector alone, and not turned."""
    return replace(place, x=0.0, y=0.0, axes=_UPRIGHT)


def view_box(places: Iterable[Place]) -> str:
    """Returns the SVG box that holds all of them."""
    sides = [(each.x, each.y, *each.extent()) for each in places] or [(0.0, 0.0, 1.0, 1.0)]
    left = min(x - across / 2 for x, _, across, _ in sides) - _MARGIN
    top = min(y - down / 2 for _, y, _, down in sides) - _MARGIN
    width = max(x + across / 2 for x, _, across, _ in sides) + _MARGIN - left
    height = max(y + down / 2 for _, y, _, down in sides) + _MARGIN - top
    return f"{left:.5g} {top:.5g} {width:.5g} {height:.5g}"


def places_of(instrument: str, detectors: Collection[str]) -> tuple[dict[str, Place], bool]:
    """Returns where detectors lie, and whether that is the camera's own layout.

    Of other cameras, and where a name stands in no layout, they are put on a grid in the order of
    their names.
    """
    layout = _layouts().get(instrument.lower(), {})
    found = {name: layout.get(_plain(name)) for name in detectors}
    known = {name: place for name, place in found.items() if place is not None}
    if known and len(known) == len(found):
        return known, True
    side = max(1, round(len(detectors) ** 0.5 + 0.499))
    ordered = sorted(detectors, key=lambda name: (len(name), name))
    grid = {name: Place(n % side + 0.5, n // side + 0.5) for n, name in enumerate(ordered)}
    return grid, False


def layout_of(instrument: str) -> list[Place]:
    """Returns all places of a camera; empty where there is no layout of it."""
    return list(dict.fromkeys(_layouts().get(instrument.lower(), {}).values()))


@cache
def _layouts() -> dict[str, dict[str, Place]]:
    """By instrument, the places of detectors by each of their names."""
    path = Path(__file__).with_name("layouts.toml")
    found: dict[str, dict[str, Place]] = {}
    for table in tomllib.loads(path.read_text(encoding="utf-8")).values():
        places = {
            _plain(name): place
            for names, place in (*_in_rows(table), *_in_corners(table))
            for name in names.split()
        }
        found |= dict.fromkeys(table["instruments"], places)
    return found


def _in_rows(table: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    across, down = table["pitch_mm"]
    width, height = _drawn(table["size_mm"], across)
    widest = max(map(len, table["rows"]))
    for y, row in enumerate(table["rows"]):
        for x, names in enumerate(row):
            middle = (widest - len(row)) / 2 + x + 0.5, round((y + 0.5) * down / across, 4)
            yield names, Place(*middle, width, height, tuple(table["axes"]))


def _in_corners(table: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """Detectors that are no part of the rows, by their distance from the middle of these."""
    across, down = table["pitch_mm"]
    x0, y0 = max(map(len, table["rows"])) / 2, len(table["rows"]) / 2 * down / across
    for each in table.get("corners", ()):
        x, y = each["at_mm"]
        middle = round(x0 + x / across, 4), round(y0 - y / across, 4)
        size = _drawn(each["size_mm"], across)
        yield each["names"], Place(*middle, *size, tuple(each["axes"]), expected=False)


def _drawn(size_mm: Sequence[float], unit_mm: float) -> tuple[float, float]:
    width, height = size_mm
    return round(_DRAWN * width / unit_mm, 4), round(_DRAWN * height / unit_mm, 4)


def _plain(name: str) -> str:
    """A name without case, and without zeros before a number."""
    text = name.lower()
    return str(int(text)) if text.isdecimal() and len(text) < 10 else text
