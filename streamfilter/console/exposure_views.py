"""Exposures as HTML: a strip of small focal planes, and one as large as the page."""

from urllib.parse import quote

from streamfilter.console.card_views import moment
from streamfilter.console.layouts import Place, layout_of, places_of, view_box
from streamfilter.console.markup import Child, Markup, joined, tag
from streamfilter.console.mosaic import STRONG, detector_map, legend_of, mosaic, scale
from streamfilter.console.page_views import document, renewed
from streamfilter.console.site import Site
from streamfilter.console.visits import TILES_OF, Detector, Visit
from streamfilter.contaminants import BY_CODE

COLOURED_BY = ("verdict", "probability", "elongation", "contaminated")
_WORDS = {"ok": "tracked", "tracking_error": "tracking error", "cannot_tell": "cannot tell", "": (
    "not judged yet")}  # fmt: skip
_STEPS = 5
# From where to where a number's colours run.
_RANGES = {"probability": (0.0, 1.0), "elongation": (1.0, 2.0), "contaminated": (0.0, 0.05)}
_MOST_SHOWN = 60
_TILES_GONE = f"Tiles are held of the newest {TILES_OF} exposures."


def exposures_page(site: Site, by: str, *, person: str, token: str) -> bytes:
    """Returns the strip of exposures, the newest first."""
    visits = site.visits.newest(_MOST_SHOWN)
    planes = [
        tag(
            "li",
            tag("a", focal_plane(each, by), tag("span", each.exposure_id, class_="name"),
                tag("span", _WORDS.get(each.decision, each.decision), class_="decision"),
                href=address_of(each)),
            moment(each.at),
            class_=f"d-{each.decision or 'none'}",
        )
        for each in visits
    ]  # fmt: skip
    strip = tag("ol", *planes, class_="strip") if planes else tag("p", "No exposure came yet.")
    body = (_colours(by, "/exposures"), renewed(strip))
    return document(site, "Exposures", *body, path="/exposures", person=person, token=token)


def detector_address(visit: Visit, detector: Detector) -> str:
    """Returns the path of a detector's page."""
    return f"{address_of(visit)}?detector={quote(detector.name, safe='')}"


def mask_address(visit: Visit, detector: Detector) -> str:
    """Returns the path of the picture of a detector's mask."""
    return detector_address(visit, detector).replace("/exposures/", "/masks/", 1)


def exposure_page(site: Site, visit: Visit, by: str, *, person: str, token: str) -> bytes:
    """Returns one exposure with its detectors."""
    rows = [
        tag(
            "tr",
            tag("th", tag("a", each.name, href=detector_address(visit, each)), scope="row"),
            tag("td", _WORDS.get(each.decision, each.decision)),
            tag("td", _number(each.probability, "{:.3f}")),
            tag("td", _number(each.elongation, "{:.2f}")),
            tag("td", _number(each.angle_deg, "{:.0f}°")),
            tag("td", each.stars),
            tag("td", _number(each.contaminated, "{:.2%}")),
            tag("td", each.why.replace("_", " ")),
        )
        for each in sorted(visit.detectors.values(), key=lambda one: (len(one.name), one.name))
    ]
    names = ("detector", "verdict", "probability", "elongation", "angle", "stars", "contaminated",
             "why not")  # fmt: skip
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    table = tag("table", tag("caption", "Detectors"), tag("thead", head), tag("tbody", *rows))
    body = (
        tag("p", _sentence(visit), class_=f"d-{visit.decision or 'none'}"),
        _colours(by, address_of(visit)),
        tag("div", focal_plane(visit, by), class_="plane"),
        *_mosaic(visit),
        tag("div", table, class_="wide", tabindex=0, role="region", aria_label="Detectors"),
    )
    title = f"{visit.instrument} {visit.exposure_id}"
    return document(site, title, *body, path="/exposures", person=person, token=token)


def _mosaic(visit: Visit) -> list[Markup]:
    drawn = mosaic(visit)
    own = places_of(visit.instrument, visit.detectors)[1]
    legend = legend_of(turned=own) if drawn else tag("p", _TILES_GONE)
    head = tag("h2", "Mosaic of the tiles", id="mosaic")
    return [head, legend, tag("div", drawn, class_="plane") if drawn else joined()]


def detector_page(
    site: Site, visit: Visit, detector: Detector, *, person: str, token: str
) -> bytes:
    """Returns one detector of an exposure: its numbers, its tiles, and its frame's mask."""
    rows: list[tuple[str, Child]] = [
        ("verdict", _WORDS.get(detector.decision, detector.decision)),
        ("why not", detector.why.replace("_", " ")),
        ("probability", _number(detector.probability, "{:.3f}")),
        ("elongation", _number(detector.elongation, "{:.2f}")),
        ("angle", _number(detector.angle_deg, "{:.0f}°, from the rows upwards")),
        ("coherence", _number(detector.coherence, "{:.2f}")),
        ("width of stars", _number(detector.fwhm_px, "{:.1f} px")),
        ("stars", detector.stars),
        ("contaminated", _number(detector.contaminated, "{:.2%} of the pixels")),
    ]
    numbers = [
        tag("div", tag("dt", name), tag("dd", value))
        for name, value in rows
        if value not in (None, "")
    ]
    back = tag("a", f"{visit.instrument} {visit.exposure_id}", href=address_of(visit))
    body = (
        tag("p", back),
        tag("dl", *numbers, class_="numbers"),
        tag("h2", "Tiles"),
        legend_of(turned=False),
        tag("div", detector_map(visit, detector), class_="plane"),
        _tile_table(detector),
        *_mask(site, visit, detector),
    )
    title = f"Detector {detector.name}"
    return document(site, title, *body, path="/exposures", person=person, token=token)


def _tile_table(detector: Detector) -> Markup:
    rows = [
        tag("tr", tag("td", each.y), tag("td", each.x),
            tag("td", _number(each.probability, "{:.3f}")), tag("td", each.stars))
        for each in detector.tiles()
    ]  # fmt: skip
    if not rows:
        return tag("p", _TILES_GONE)
    names = ("first row", "first column", "probability", "stars")
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    return tag("details", tag("summary", f"The {len(rows)} tiles as a table"), table)


def _mask(site: Site, visit: Visit, detector: Detector) -> list[Markup]:
    """The frame's mask: by classes, by name, and drawn where this machine has the file."""
    if detector.contaminated is None:
        return []
    head = tag("tr", tag("th", "class", scope="col"), tag("th", "share", scope="col"))
    rows = [
        tag("tr", tag("th", BY_CODE[code].meaning, scope="row"), tag("td", f"{share:.4%}"))
        for code, share in detector.shares
    ]
    parts = [tag("h2", "Mask of the frame"), tag("table", tag("thead", head), tag("tbody", *rows))]
    if detector.mask and site.masks.path_of(detector.mask) is not None:
        words = "White: a pixel there has a contaminant. Rows count upwards."
        parts += [
            tag("p", words),
            tag("img", src=mask_address(visit, detector), class_="frame-mask",
                alt=f"mask of detector {detector.name}"),
        ]  # fmt: skip
    if detector.mask:
        parts.append(tag("p", f"File: {detector.mask}"))
    return parts


def address_of(visit: Visit) -> str:
    """Returns the path of an exposure's page."""
    return f"/exposures/{quote(visit.instrument, safe='')}/{quote(visit.exposure_id, safe='')}"


def focal_plane(visit: Visit, by: str) -> Markup:
    """Returns the detectors where they lie, in colours."""
    places, own = places_of(visit.instrument, visit.detectors)
    camera = layout_of(visit.instrument) if own else []
    holes = [_square(each, "hole", each.transform()) for each in camera if each.expected]
    drawn = [
        tag("g", _square(places[name], _class_of(each, by)), _angle(places[name], each, by),
            tag("title", _detector_words(each)), transform=places[name].transform())
        for name, each in visit.detectors.items()
    ]  # fmt: skip
    counts = dict.fromkeys(_WORDS, 0)
    for each in visit.detectors.values():
        counts[each.decision] = counts.get(each.decision, 0) + 1
    words = ", ".join(f"{n} {_WORDS.get(key, key)}" for key, n in counts.items() if n)
    label = f"focal plane: {words or 'no detectors'}"
    box = view_box(camera or places.values())
    return tag("svg", *holes, *drawn, viewBox=box, role="img", class_="focal",
               aria_label=label)  # fmt: skip


def _square(place: Place, class_: str, transform: str | None = None) -> Markup:
    width, height = place.width, place.height
    return tag("rect", x=round(-width / 2, 3), y=round(-height / 2, 3), width=width, height=height,
               class_=class_, transform=transform)  # fmt: skip


def _angle(place: Place, each: Detector, by: str) -> Markup:
    """A line along the stars' elongation, where there is one; a cross where nobody can tell."""
    half = round(0.35 * min(place.width, place.height) / 0.92, 3)
    if each.decision == "cannot_tell":
        side = 2 * half
        d = f"M{-half:g} {-half:g}l{side:g} {side:g}m0 {-side:g}l{-side:g} {side:g}"
        return tag("path", d=d, class_="unknown")
    if each.angle_deg is None or each.elongation is None or each.elongation < 1.1:
        return joined()
    return tag("line", x1=-half, x2=half, y1=0, y2=0, transform=f"rotate({-each.angle_deg:.0f})",
               class_="angle on-strong" if _class_of(each, by) in STRONG else "angle")  # fmt: skip


def _class_of(each: Detector, by: str) -> str:
    if by not in _RANGES:
        return f"q-{each.decision}"
    value = getattr(each, by)
    if value is None:
        return "q-unknown"
    low, high = _RANGES[by]
    step = int((value - low) / (high - low) * _STEPS)
    return f"s-{min(max(step, 0), _STEPS - 1)}"


def _colours(by: str, path: str) -> Markup:
    links = [
        tag("a", name, href=f"{path}?by={name}", aria_current="true" if name == by else None)
        for name in COLOURED_BY
    ]
    if by not in _RANGES:
        words = "Blue: tracked. Red: tracking error. Grey with a cross: cannot tell."
        legend = tag("span", words)
    else:
        low, high = _RANGES[by]
        top = f"{high:g}" if by == "probability" else f"{high:g} or more"
        legend = tag("span", scale(f"{low:g}", top), "; grey: not known.")
    return tag("nav", "Coloured by ", *links, legend, class_="by",
               aria_label="colours")  # fmt: skip


def _sentence(visit: Visit) -> str:
    parts = [f"{_WORDS.get(visit.decision, visit.decision)}"]
    if visit.why:
        parts.append(f"not judged: {visit.why.replace('_', ' ')}")
    if visit.probability is not None:
        parts.append(f"probability of a tracking error {visit.probability:.3f}")
    if visit.elongation is not None:
        parts.append(f"elongation {visit.elongation:.2f}")
    if visit.filter:
        parts.append(f"filter {visit.filter}")
    expected = "" if visit.expected is None else f" of {visit.expected}"
    parts.append(f"{len(visit.detectors)}{expected} detectors")
    parts += [word.replace("_", " ") for word in (visit.closing, *visit.irregularities) if word]
    return "; ".join(parts)


def _detector_words(each: Detector) -> str:
    parts = [each.name, _WORDS.get(each.decision, each.decision), each.why.replace("_", " ")]
    if each.probability is not None:
        parts.append(f"probability {each.probability:.3f}")
    if each.elongation is not None:
        parts.append(f"elongation {each.elongation:.2f}")
    if each.contaminated is not None:
        parts.append(f"contaminated {each.contaminated:.2%}")
    return ", ".join(filter(None, parts))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
