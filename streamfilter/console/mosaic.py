"""Detectors with their tiles as SVG: probabilities, stars, and the direction of the elongation."""

from collections.abc import Iterable, Sequence

from streamfilter.console.markup import Markup, joined, tag
from streamfilter.console.visits import Detector, Place, Tile, Visit, places_of

_SIDE = 0.92  # of a detector, in the width of its place
_STEPS = 5
_STARS = (1, 5, 20)
"""A tile's dot has as many sizes: from so many stars on."""
_STRONG = 3
"""From this colour on, dots are drawn in the paper's: in ink they would not be seen."""
_STRAIGHT = 1.05
"""Elongation below which no direction is drawn: it is that of the noise."""

LEGEND = (
    "A tile is pale to dark by the network's probability of a tracking error, and hollow where it "
    f"was not put through. A dot stands for {_STARS[0]} star or more, and grows at {_STARS[1]} "
    f"and at {_STARS[2]}. The line lies along the stars, and is longer the more elongated they "
    "are. Rows of a detector count upwards."
)


def mosaic(visit: Visit) -> Markup:
    """Returns the detectors that came, where they lie; nothing where no tiles are held."""
    held = {name: tiles for name, each in visit.detectors.items() if (tiles := each.tiles())}
    if not held:
        return joined()
    places, _ = places_of(visit.instrument, visit.detectors)
    across, down = ([getattr(each, axis) for each in places.values()] for axis in ("x", "y"))
    left, top = min(across) - 0.5, min(down) - 0.5
    width, height = max(across) + 0.5 - left, max(down) + 0.5 - top
    drawn = [
        tag("g", *_detector(each, held.get(name, []), places[name]), tag("title", name))
        for name, each in visit.detectors.items()
    ]
    label = f"mosaic: tiles of {len(held)} detectors"
    box = f"{left:g} {top:g} {width:g} {height:g}"
    return tag("svg", *drawn, viewBox=box, role="img", class_="mosaic", aria_label=label)


def detector_map(detector: Detector) -> Markup:
    """Returns one detector with its tiles; nothing where none are held."""
    tiles = detector.tiles()
    if not tiles:
        return joined()
    label = f"tiles of detector {detector.name}"
    drawn = _detector(detector, tiles, Place(0.5, 0.5))
    return tag("svg", *drawn, viewBox="0 0 1 1", role="img", class_="mosaic", aria_label=label)


def step_of(share: float) -> int:
    """Returns the colour of a probability: 0 to 4."""
    return min(max(int(share * _STEPS), 0), _STEPS - 1)


def _detector(detector: Detector, tiles: Sequence[Tile], place: Place) -> list[Markup]:
    left, top = place.x - _SIDE / 2, place.y - _SIDE / 2
    frame = tag("rect", x=round(left, 3), y=round(top, 3), width=_SIDE, height=_SIDE,
                class_="edge")  # fmt: skip
    return [frame, *_cells(tiles, left, top), _line(detector, place)]


def _cells(tiles: Sequence[Tile], left: float, top: float) -> Iterable[Markup]:
    """Tiles of one colour are one path: a camera has twenty thousand.

    Tiles overlap where the frame's side is no multiple of theirs. Here each has its own part, as if
    overlaps were divided evenly.
    """
    rows = {y: n for n, y in enumerate(sorted({each.y for each in tiles}))}
    columns = {x: n for n, x in enumerate(sorted({each.x for each in tiles}))}
    wide, high = _SIDE / max(len(columns), 1), _SIDE / max(len(rows), 1)
    areas: dict[str, list[str]] = {}
    for each in tiles:
        x, y = left + columns[each.x] * wide, top + _SIDE - (rows[each.y] + 1) * high
        step = None if each.probability is None else step_of(each.probability)
        name = "t-none" if step is None else f"s-{step}"
        cell = f"M{x:.3f} {y:.3f}h{wide:.3f}v{high:.3f}h-{wide:.3f}z"
        areas.setdefault(name, []).append(cell)
        size = sum(each.stars >= limit for limit in _STARS)
        if size:
            dot = f"M{x + wide / 2:.3f} {y + high / 2:.3f}h0"
            on = " on-strong" if step is not None and step >= _STRONG else ""
            areas.setdefault(f"n-{size}{on}", []).append(dot)
    # Dots lie on the tiles.
    for name in sorted(areas, key=lambda name: name.startswith("n-")):
        yield tag("path", d="".join(areas[name]), class_=name)


def _line(detector: Detector, place: Place) -> Markup:
    elongation, angle = detector.elongation, detector.angle_deg
    if elongation is None or angle is None or elongation < _STRAIGHT:
        return joined()
    half = min(0.1 + 0.35 * (elongation - 1), _SIDE / 2)
    turn = f"rotate({-angle:.0f} {place.x:g} {place.y:g})"
    return tag("line", x1=round(place.x - half, 3), x2=round(place.x + half, 3), y1=place.y,
               y2=place.y, transform=turn, class_="angle")  # fmt: skip
