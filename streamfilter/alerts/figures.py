"""Draws a page of alerts: stamps, masks in colour, and the verdict in words.

matplotlib comes with the extra ``figures`` and is imported only when a figure is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from streamfilter import pages
from streamfilter.alerts.maps import Mask, StampMaps, stamp_maps
from streamfilter.alerts.normalise import has_data
from streamfilter.alerts.pipeline import Pipeline, Prepared
from streamfilter.alerts.stamp_views import COLOURS, DARKEST, edges, stretched
from streamfilter.contaminants import BY_CODE, CODES
from streamfilter.errors import ConfigurationInvalid, printable
from streamfilter.inference.engine import Engine
from streamfilter.records import (
    Annotation,
    ClassEvidence,
    FieldValue,
    Image,
    Label,
    Plane,
    StampEvidence,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_COLOURS = {
    Label.CLEAN: "#00734F",
    Label.CONTAMINATED: "#B34700",
    Label.SUSPECT: "#8A6A00",
    Label.NOT_EVALUATED: "#666666",
}
_INK, _FAINT, _NO_DATA = "#222222", "#777777", "#9FB0C8"
# Core posteriors below this are not listed.
_LISTED_ABOVE = 0.01
_LONGEST = 40  # characters of a text of the packet
_ROW_IN, _TEXT_IN, _HEAD_IN = 2.05, 4.5, 1.0
_LINE, _MOST_LINES = 56, 9
"""Characters of a line of text, and lines, for which a row has room."""


@dataclass(frozen=True, slots=True, eq=False)
class InspectedAlert:
    """One alert of the page.

    ``maps`` are those of the science stamp; None where it was not evaluated.
    """

    annotation: Annotation
    maps: StampMaps | None


def inspect_alert(
    pipeline: Pipeline, engine: Engine, prepared: Prepared, annotation: Annotation
) -> InspectedAlert:
    """Run the network again for the whole maps of a science stamp: annotations do not keep them.

    Stamps of planes that are not judged are read as well, to be drawn.
    """
    annotation = replace(annotation, alert=pipeline.with_all_stamps(annotation.alert))
    return InspectedAlert(annotation, stamp_maps(engine, prepared, Plane.SCIENCE))


def draw(
    inspected: Sequence[InspectedAlert], path: Path, *, most_rows: int = 12, others: int = 0
) -> None:
    """Write a page with one alert per row, in the order given, and the number of omitted alerts.

    Parameters
    ----------
    path
        The file; its ending chooses the format (.png, .pdf, .svg).
    others
        Number of further alerts, which count as omitted.

    Raises
    ------
    ConfigurationInvalid
        matplotlib is not installed, there is nothing to draw, or the file cannot be written.
    """
    if not inspected:
        raise ConfigurationInvalid(f"no alert to draw in {path}: every packet was rejected")
    rows = inspected[:most_rows]
    pages.save(page(rows, left_out=len(inspected) - len(rows) + others), path)


def page(rows: Sequence[InspectedAlert], *, left_out: int = 0) -> "Figure":
    """Returns a page with one alert per row; it names the number of alerts that are left out.

    Raises
    ------
    ConfigurationInvalid
        matplotlib is not installed.
    """
    height = _HEAD_IN + _ROW_IN * len(rows)
    width = 4 * _ROW_IN + _TEXT_IN
    figure = pages.blank(width, height)
    for number, row in enumerate(rows):
        top = 1 - (_HEAD_IN + number * _ROW_IN) / height
        panels = [
            figure.add_axes(
                (
                    (0.06 + column * _ROW_IN) / width,
                    top - (_ROW_IN - 0.06) / height,
                    (_ROW_IN - 0.09) / width,
                    (_ROW_IN - 0.09) / height,
                )
            )
            for column in range(4)
        ]
        _draw_stamps(panels, row)
        _write_verdict(figure, row, (4 * _ROW_IN + 0.12) / width, top - 0.06 / height, height)
    _write_head(figure, rows, left_out, height)
    return figure


def _draw_stamps(panels: "Sequence[Axes]", row: InspectedAlert) -> None:
    """Draw the stamps of a row: science, science with masks, template, difference."""
    alert = row.annotation.alert
    stamps = alert.stamps
    planes = (Plane.SCIENCE, Plane.SCIENCE, Plane.TEMPLATE, Plane.DIFFERENCE)
    for panel, plane in zip(panels, planes, strict=True):
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_visible(False)
        if plane in stamps:
            _draw_image(panel, stamps[plane].image)
        else:
            panel.set_facecolor("#EEEEEE")
            missing = "not readable" if plane in alert.unreadable else "not sent"
            panel.text(0.5, 0.5, missing, ha="center", va="center", color=_FAINT)
    if row.maps is not None:
        for code, mask in _masks(row):
            _draw_mask(panels[1], mask, COLOURS[code])
    elif Plane.SCIENCE in stamps:
        panels[1].set_title("not evaluated", y=0.02, fontsize=9, color=pages.PAPER)


def _draw_image(panel: "Axes", image: Image) -> None:
    """Draw an image in units of its noise, asinh-stretched from -2 sigma to its bright pixels."""
    view = stretched(image)
    if view is None:
        panel.set_facecolor(_NO_DATA)
        panel.text(0.5, 0.5, "no data", ha="center", va="center", transform=panel.transAxes)
        return
    values, brightest = view
    panel.set_facecolor(_NO_DATA)
    panel.imshow(
        np.ma.masked_invalid(values),
        cmap="gray",
        origin="lower",
        interpolation="nearest",
        vmin=DARKEST,
        vmax=brightest,
    )


def _masks(row: InspectedAlert) -> list[tuple[str, Mask]]:
    """Returns the contaminants with pixels above their threshold, and masks of these pixels."""
    masks = {} if row.maps is None else row.maps.masks
    return [(c, mask) for c, mask in masks.items() if not BY_CODE[c].normal and mask.any()]


def _draw_mask(panel: "Axes", mask: Mask, colour: str) -> None:
    """Tint the pixels of a mask and outline them along their edges."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    tint = np.zeros((*mask.shape, 4))
    tint[mask] = to_rgba(colour, 0.4)
    panel.imshow(tint, origin="lower", interpolation="nearest")
    # A pixel's middle is at its whole number.
    lines = [((x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5)) for (x0, y0), (x1, y1) in edges(mask)]
    panel.add_collection(LineCollection(lines, colors=colour, linewidths=1.3))


def _write_verdict(
    figure: "Figure", row: InspectedAlert, x: float, y: float, height_in: float
) -> None:
    """Write the verdict as a headline, and the evidence below it."""
    verdict = row.annotation.verdict
    headline = verdict.label.replace("_", " ").upper()
    if verdict.contaminant is not None:
        headline += f": {BY_CODE[verdict.contaminant].meaning}"
    figure.text(
        x, y, headline, va="top", size=12, weight="bold", color=_LABEL_COLOURS[verdict.label]
    )
    text = "\n".join(_wrapped(_words(row.annotation)))
    y -= 0.29 / height_in
    # Dollar signs in a name do not begin a formula.
    figure.text(x, y, text, va="top", size=9, color=_INK, linespacing=1.45, parse_math=False)


def _words(annotation: Annotation) -> list[str]:
    """Returns the lines of text under the headline."""
    alert, verdict = annotation.alert, annotation.verdict
    named = f"{alert.survey}  {printable(alert.alert_id)}"
    lines = [f"{named}  ({printable(alert.object_id)})" if alert.object_id else named]
    rule = f"rule {verdict.rule}" if verdict.rule else "no rule spoke"
    lines.append(f"{rule}, action {verdict.action}")
    science = next((e for e in annotation.stamps if e.plane is Plane.SCIENCE), None)
    lines += _evidence_words(science)
    for opinion in annotation.also:
        its = next((e for e in opinion.stamps if e.plane is Plane.SCIENCE), None)
        lines.append(f"{opinion.engine.name}: {_core_words(its)}")
    if alert.flagged:
        lines.append(f"the survey flags {_listed(alert.flagged)}")
    elif alert.flaggable:
        lines.append(f"the survey flags none of {_listed(alert.flaggable)}")
    else:
        lines.append("the survey has no flag for any class")
    return [*lines, fields_in_words(alert.fields)]


def fields_in_words(fields: Mapping[str, FieldValue]) -> str:
    """Returns names and values on one printable line: numbers with six digits, short texts."""
    return ", ".join(
        f"{name} {value:.6g}"
        if isinstance(value, float)
        else f"{name} {printable(str(value)[:_LONGEST])}"
        for name, value in fields.items()
    )


def _wrapped(lines: Sequence[str]) -> list[str]:
    """Returns the lines, long ones in several; what a row has no room for is left out."""
    wrapped = [part for line in lines for part in wrap(line, _LINE, subsequent_indent="   ")]
    return wrapped if len(wrapped) <= _MOST_LINES else [*wrapped[: _MOST_LINES - 1], "..."]


def _evidence_words(science: StampEvidence | None) -> list[str]:
    """Returns the network's results for the science stamp, in words."""
    if science is None:
        return ["science stamp: not asked for"]
    if science.not_evaluated is not None:
        return [f"science stamp {_core_words(science)}"]
    lines = [f"core posterior: {_core_words(science)}"]
    found = [each for each in science.classes.items() if not BY_CODE[each[0]].normal]
    lines += [_extent(code, evidence) for code, evidence in found if evidence.pixels][:3]
    if len(science.planes) > 1:
        lines.append(f"judged by {', '.join(science.planes)}")
    if science.filled_px:
        lines.append(f"{science.filled_px} px without data")
    return lines


def _core_words(science: StampEvidence | None) -> str:
    """Returns the highest core posteriors of contaminants in one stamp, or why there are none."""
    if science is None:
        return "not asked for"
    if science.not_evaluated is not None:
        return f"not evaluated: {science.not_evaluated.replace('_', ' ')}"
    found = [each for each in science.classes.items() if not BY_CODE[each[0]].normal]
    highest = sorted(found, key=lambda item: -item[1].core)[:4]
    listed = [(code, evidence.core) for code, evidence in highest if evidence.core > _LISTED_ABOVE]
    cores = [f"{code} {core:.2f}" for code, core in listed]
    return ", ".join(cores) or f"no class above {_LISTED_ABOVE}"


def _extent(code: str, evidence: ClassEvidence) -> str:
    away = (
        "" if evidence.distance_px is None else f", {evidence.distance_px:.1f} px from the centre"
    )
    return f"{code} mask: {evidence.pixels} px{away}, peak {evidence.peak:.2f}"


def _listed(codes: frozenset[str]) -> str:
    """Returns the codes as one text, in the table's order."""
    return ", ".join(code for code in CODES if code in codes)


def _write_head(
    figure: "Figure", rows: Sequence[InspectedAlert], left_out: int, height_in: float
) -> None:
    """Write the title, the legend of the classes on this page, and the columns' names."""
    from matplotlib.patches import Patch

    width_in = float(figure.get_figwidth())
    engine = rows[0].annotation.engine
    title = f"streamfilter, {engine.name} {engine.sha256[:8]} on {engine.runtime}"
    asked = dict.fromkeys(each.engine for row in rows for each in row.annotation.also)
    title += "".join(f", also {each.name} {each.sha256[:8]}" for each in asked)
    if left_out:
        title += f"    {len(rows)} of {len(rows) + left_out} alerts"
    figure.text(0.06 / width_in, 1 - 0.12 / height_in, title, va="top", size=10, color=_FAINT)
    names = ("science", "contaminated pixels", "template", "difference")
    for column, name in enumerate(names):
        x = (0.06 + column * _ROW_IN) / width_in
        y = 1 - (_HEAD_IN - 0.05) / height_in
        figure.text(x, y, name, va="bottom", size=9.5, color=_INK)
    present = {code for row in rows for code, _ in _masks(row)}
    handles = [
        Patch(
            facecolor=(*_rgb(COLOURS[code]), 0.45),
            edgecolor=COLOURS[code],
            linewidth=1.3,
            label=f"{code}  {BY_CODE[code].meaning}",
        )
        for code in CODES
        if code in present
    ]
    if any(_has_gaps(row) for row in rows):
        handles.append(Patch(facecolor=_NO_DATA, label="no data"))
    if handles:
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.0, 1 - 0.3 / height_in),
            ncols=6,
            frameon=False,
            fontsize=9.5,
            columnspacing=1.6,
            handlelength=1.4,
        )


def _has_gaps(row: InspectedAlert) -> bool:
    """Returns whether one of the drawn stamps has pixels without data."""
    return any(not has_data(stamp.image).all() for stamp in row.annotation.alert.stamps.values())


def _rgb(colour: str) -> tuple[float, float, float]:
    """Returns red, green and blue in [0, 1] of ``#RRGGBB``."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue
