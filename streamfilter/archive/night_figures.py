"""A page of figures of nights; matplotlib is imported only when it is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamfilter import pages
from streamfilter.alerts.encode import Agreement
from streamfilter.alerts.stamp_views import COLOURS
from streamfilter.archive.durations import PERCENTS, Durations
from streamfilter.archive.nights import Night
from streamfilter.contaminants import BY_CODE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VERDICTS = {"contaminated": "#B34700", "suspect": "#D6A300", "not_evaluated": "#999999"}
_AGREEMENTS = {
    Agreement.AGREE: "#00734F",
    Agreement.STREAMFILTER_ONLY: "#0072B2",
    Agreement.SURVEY_ONLY: "#CC79A7",
    Agreement.OTHER_CLASS: "#E69F00",
}
_SHARES = tuple(f"{each}, % of alerts" for each in ("verdicts", "classes", "beside the flags"))
_LATENCIES = ("from light to annotation, s", "from receipt to annotation, s")
_MARKS = ("#0072B2", "#E69F00", "#B34700")
"""Colours of the median, 90 % and 99 %."""
_PANEL_IN, _WIDTH_IN, _MOST_NAMED = 2.6, 11.0, 40
_FEWEST = 6
"""Nights that there is room for: the bar of a single one does not fill the page."""


def page(nights: Sequence[Night], title: str) -> "Figure":
    """Returns panels over the nights: verdicts, classes, agreement with flags; latency if known.

    Raises
    ------
    ConfigurationInvalid
        matplotlib is not installed.
    """
    timed = any(each.from_light.count or each.from_receipt.count for each in nights)
    words = (*_SHARES, *(_LATENCIES if timed else ()))
    figure = pages.blank(_WIDTH_IN, len(words) * _PANEL_IN + 1.6)
    panels = figure.subplots(len(words), 1, sharex=True)
    figure.suptitle(title, fontsize=10)
    names = [f"{each.survey} {each.night} {each.value}".strip() for each in nights]
    classes = sorted({code for each in nights for code in each.counts.get("contaminant", {})})
    _bars(panels[0], nights, "verdict", {name: _VERDICTS[name] for name in _VERDICTS}, {})
    meanings = {code: f"{code}  {BY_CODE[code].meaning}" for code in classes}
    _bars(panels[1], nights, "contaminant", {code: COLOURS[code] for code in classes}, meanings)
    agreements = {each.value: colour for each, colour in _AGREEMENTS.items()}
    _bars(panels[2], nights, "agreement", agreements, {})
    if timed:
        _quantiles(panels[3], [each.from_light for each in nights])
        _quantiles(panels[4], [each.from_receipt for each in nights])
    for panel, word in zip(panels, words, strict=True):
        panel.set_ylabel(word, fontsize=8)
        panel.tick_params(labelsize=7)
    step = -(-len(names) // _MOST_NAMED)
    panels[-1].set_xticks(
        range(0, len(names), step), names[::step], rotation=60, ha="right", fontsize=7
    )
    panels[-1].set_xlim(-0.6, max(len(names), _FEWEST) - 0.4)
    figure.tight_layout()
    return figure


def _bars(
    panel: "Axes",
    nights: Sequence[Night],
    column: str,
    colours: dict[str, str],
    names: dict[str, str],
) -> None:
    """Draw stacked bars, in per cent of a night's alerts."""
    bottom = [0.0] * len(nights)
    for value, colour in colours.items():
        heights = [100 * each.number(column, value) / each.alerts for each in nights]
        if any(heights):
            panel.bar(
                range(len(nights)), heights, bottom=bottom, color=colour,
                label=names.get(value, value.replace("_", " ")),
            )  # fmt: skip
            bottom = [low + more for low, more in zip(bottom, heights, strict=True)]
    if any(bottom):
        panel.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _quantiles(panel: "Axes", found: Sequence[Durations]) -> None:
    """Draw quantiles of durations, one over the other, by their logarithm where all are above 0."""
    from matplotlib import ticker

    drawn: list[float] = []
    for percent, colour in zip(PERCENTS, _MARKS, strict=True):
        all_values = [each.quantile(percent / 100) for each in found]
        known = [(n, value) for n, value in enumerate(all_values) if value is not None]
        if known:
            places, values = zip(*known, strict=True)
            label = "median" if percent == 50 else f"{percent} %"
            panel.plot(places, values, "o", color=colour, label=label, markersize=5)
            drawn += values
    if drawn and min(drawn) > 0:
        panel.set_yscale("log")
        panel.set_ylim(min(drawn) / 1.5, max(drawn) * 1.5)
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(ticker.NullFormatter())
    panel.grid(axis="y", alpha=0.3)
    if drawn:
        panel.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
