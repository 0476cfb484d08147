"""Detectors with their tiles as SVG: probabilities, stars, and the direction of the elongation."""

from collections.abc import Iterable, Sequence

from streamfilter.console.layouts import Place, places_of, upright, view_box
from streamfilter.console.markup import Markup, joined, tag
from streamfilter.console.visits import Detector, Tile, Visit

_STEPS = 5
_STARS = (1, 5, 20)
"""A tile's dot has as many sizes: from so many stars on."""
STRONG = ("s-3", "s-4")
"""Colours on which dots and lines are drawn in the paper's: in ink they would not be seen."""
_STRAIGHT = 1.05
"""Elongation below which no direction is drawn: it is that of the noise."""


def legend_of(*, turned: bool) -> Markup:
    """Returns what the colours, dots and lines of tiles mean.

    Parameters
    ----------
    turned
        Whether detectors are drawn as they lie in their camera.
    """
    rows = "Each lies and is turned as in the camera." if turned else "Rows count upwards."
    words = (
        f"; hollow: not put through. A dot: {_STARS[0]} star or more, larger from {_STARS[1]} and "
        f"from {_STARS[2]}. The line lies along the stars, longer the more elongated they are. "
        f"{rows}"
    )
    return tag("p", "Probability of a tracking error, by the network: ", scale("0", "1"), words)


def scale(low: str, high: str) -> Markup:
    """Returns the colours of numbers, between the words for their ends."""
    squares = [tag("rect", x=n, y=0, width=1, height=1, class_=f"s-{n}") for n in range(_STEPS)]
    drawn = tag("svg", *squares, viewBox=f"0 0 {_STEPS} 1", class_="scale-bar", role="img",
                aria_label="to")  # fmt: skip
    return joined(f"{low} ", drawn, f" {high}")


def mosaic(visit: Visit) -> Markup:
    """Returns the detectors that came, where they lie; nothing where no tiles are held."""
    held = {name: tiles for name, each in visit.detectors.items() if (tiles := each.tiles())}
    if not held:
        return joined()
    places, _ = places_of(visit.instrument, visit.detectors)
    drawn = [
        tag("g", *_detector(each, held.get(name, []), places[name]), tag("title", name),
            transform=places[name].transform())
        for name, each in visit.detectors.items()
    ]  # fmt: skip
    label = f"mosaic: tiles of {len(held)} detectors"
    return tag("svg", *drawn, viewBox=view_box(places.values()), role="img", class_="mosaic",
               aria_label=label)  # fmt: skip


def detector_map(visit: Visit, detector: Detector) -> Markup:
    """Returns one detector with its tiles, its rows upwards; nothing where none are held."""
    tiles = detector.tiles()
    if not tiles:
        return joined()
    place = upright(places_of(visit.instrument, [detector.name])[0][detector.name])
    label = f"tiles of detector {detector.name}"
    drawn = _detector(detector, tiles, place)
    return tag("svg", *drawn, viewBox=view_box([place]), role="img", class_="mosaic",
               aria_label=label)  # fmt: skip


def step_of(share: float) -> int:
    """Returns the colour of a probability: 0 to 4."""
    return min(max(int(share * _STEPS), 0), _STEPS - 1)


def _detector(detector: Detector, tiles: Sequence[Tile], place: Place) -> list[Markup]:
    """What is drawn of it around 0, 0."""
    frame = tag("rect", x=round(-place.width / 2, 3), y=round(-place.height / 2, 3),
                width=place.width, height=place.height, class_="edge")  # fmt: skip
    return [frame, *_cells(tiles, place), _line(detector, place)]


def _cells(tiles: Sequence[Tile], place: Place) -> Iterable[Markup]:
    """Tiles of one colour are one path: a camera has twenty thousand.

    Tiles overlap where the frame's side is no multiple of theirs. Here each has its own part, as if
    overlaps were divided evenly.
    """
    rows = {y: n for n, y in enumerate(sorted({each.y for each in tiles}))}
    columns = {x: n for n, x in enumerate(sorted({each.x for each in tiles}))}
    wide, high = place.width / max(len(columns), 1), place.height / max(len(rows), 1)
    left, foot = -place.width / 2, place.height / 2
    areas: dict[str, list[str]] = {}
    for each in tiles:
        x, y = left + columns[each.x] * wide, foot - (rows[each.y] + 1) * high
        step = None if each.probability is None else step_of(each.probability)
        name = "t-none" if step is None else f"s-{step}"
        cell = f"M{x:.3f} {y:.3f}h{wide:.3f}v{high:.3f}h-{wide:.3f}z"
        areas.setdefault(name, []).append(cell)
        size = sum(each.stars >= limit for limit in _STARS)
        if size:
            dot = f"M{x + wide / 2:.3f} {y + high / 2:.3f}h0"
            on = " on-strong" if name in STRONG else ""
            areas.setdefault(f"n-{size}{on}", []).append(dot)
    # Dots lie on the tiles.
    for name in sorted(areas, key=lambda name: name.startswith("n-")):
        yield tag("path", d="".join(areas[name]), class_=name)


def _line(detector: Detector, place: Place) -> Markup:
    elongation, angle = detector.elongation, detector.angle_deg
    if elongation is None or angle is None or elongation < _STRAIGHT:
        return joined()
    half = min(0.1 + 0.35 * (elongation - 1), min(place.width, place.height) / 2)
    return tag("line", x1=round(-half, 3), x2=round(half, 3), y1=0, y2=0,
               transform=f"rotate({-angle:.0f})", class_="angle")  # fmt: skip
