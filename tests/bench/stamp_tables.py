"""The figures of ``bench_stamps.py``, and the tables of a model card that they make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, with its 95 % interval."""

    measure: str
    stamps: str
    judge: str
    count: int
    share: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        return f"{short(self.share)} ({short(self.low)} to {short(self.high)})"


CLASSES = (
    "trails", "rows of glints", "hot columns", "dead columns", "hot pixels", "dead pixels",
    "saturated stars", "spikes",
)  # fmt: skip
SAID = ((0.01, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0))
"""Ranges of a probability, whose means are held against what is true."""


def short(share: float) -> str:
    """Two digits without the leading 0; 1 only for all."""
    return "1" if share >= 0.9995 else f"{share:.2f}".removeprefix("0")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *lines))


class Figures:
    """Figures by measure, stamps and judge."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._by_key = {(row.measure, row.stamps, row.judge): row for row in rows}

    def of(self, measure: str, stamps: str, judge: str) -> Row | None:
        return self._by_key.get((measure, stamps, judge))

    def interval(self, measure: str, stamps: str, judge: str) -> str:
        row = self.of(measure, stamps, judge)
        return "-" if row is None else row.interval

    def share(self, measure: str, stamps: str, judge: str) -> str:
        row = self.of(measure, stamps, judge)
        return "-" if row is None else short(row.share)

    def starting(self, measure: str) -> list[Row]:
        return [row for row in self.rows if row.measure.startswith(measure)]


def distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def markdown(rows: Sequence[Row]) -> str:
    """All tables of the card."""
    figures = Figures(rows)
    parts = (
        _hits, _hits_by_strength, _hits_by_width, _real, _rules, _residuals, _classes, _cost,
        _reliability,
    )  # fmt: skip
    return "\n\n".join(part(figures) for part in parts)


def _hits(figures: Figures) -> str:
    rows = figures.starting("cosmic rays, pixels")
    lines = []
    for judge in distinct(row.judge for row in rows):
        cells = []
        for survey in ("ztf", "lsst"):
            first, last = (
                figures.share(f"cosmic rays, pixels at {false}", survey, judge)
                for false in ("0.001", "1e-05")
            )
            middle = figures.interval("cosmic rays, pixels at 0.0001", survey, judge)
            cells.append(f"{first} / {middle} / {last}")
        lines.append([judge, *cells])
    return (
        f"Painted cosmic rays: recorded hits on real alerts, {rows[0].count} a survey; share of"
        " their pixels above 3 sigma found when so many clean pixels are called hits"
        " (1e-3 / 1e-4 / 1e-5; interval at 1e-4, each hit counted once):\n\n"
        + table(["judge", "ZTF", "LSST's schema"], lines)
    )


def _hits_by_strength(figures: Figures) -> str:
    rows = figures.starting("cosmic rays, brightest")
    measures = distinct(row.measure for row in rows)
    lines = [
        [judge, *(figures.interval(measure, survey, judge)
                  for survey in ("ztf", "lsst") for measure in measures)]
        for judge in distinct(row.judge for row in rows)
    ]  # fmt: skip
    names = [each.removeprefix("cosmic rays, brightest ") for each in measures]
    head = ["judge", *(f"{survey}, {name}" for survey in ("ZTF", "LSST") for name in names)]
    return "The same at 1e-4 by the hit's brightest pixel:\n\n" + table(head, lines)


def _hits_by_width(figures: Figures) -> str:
    rows = figures.starting("cosmic rays, width")
    measures = distinct(row.measure for row in rows)
    lines = [
        [judge, *(figures.interval(measure, "made fields", judge) for measure in measures)]
        for judge in distinct(row.judge for row in rows)
    ]
    head = ["judge", *(each.removeprefix("cosmic rays, width ") for each in measures)]
    return (
        "By the width of the stars, at 1e-4, science alone: recorded hits on made fields of 64 px,"
        f" {rows[0].count} of each width:\n\n" + table(head, lines)
    )


def _real(figures: Figures) -> str:
    rows = figures.starting("real ZTF")
    sets = distinct(row.stamps for row in rows)
    measures = distinct(row.measure for row in rows)
    lines = []
    for judge in distinct(row.judge for row in rows):
        cells = [judge]
        for name in sets:
            first, second, third = measures
            cells.append(
                f"{figures.share(first, name, judge)} / {figures.interval(second, name, judge)}"
                f" / {figures.share(third, name, judge)}"
            )
        lines.append(cells)
    counts = {row.stamps: row.count for row in rows}
    losses = measures[0].rpartition(" of ")[2]
    return (
        f"Real ZTF alerts, found at 0.1 / 1 / 5 % loss of {losses} by history (so few that the"
        " first means that none is lost):\n\n"
        + table(["judge", *(f"{name} ({counts[name]})" for name in sets)], lines)
    )


def _rules(figures: Figures) -> str:
    rows = figures.starting("default rules drop")
    lines = []
    for measure, name in dict.fromkeys((row.measure, row.stamps) for row in rows):
        found = [figures.of(measure, name, judge) for judge in ("MaxiMask", "all planes")]
        survey = measure.rpartition(", ")[2].upper()
        count = next(row.count for row in found if row is not None)
        lines.append(
            [f"{survey}, {name} ({count})", *("-" if r is None else r.interval for r in found)]
        )
    return "Dropped by the default rules of each engine:\n\n" + table(
        ["set", "MaxiMask", "stampmask, all planes"], lines
    )


def _residuals(figures: Figures) -> str:
    rows = [row for row in figures.starting("residuals") if "1.0%" in row.measure]
    sets = distinct(row.stamps for row in rows)
    lines = [
        [judge, *(figures.interval(rows[0].measure, name, judge) for name in sets)]
        for judge in distinct(row.judge for row in rows)
    ]
    counts = {row.stamps: row.count for row in rows}
    real = rows[0].measure.rpartition(" of ")[2].split()[0]
    return f"Residuals, found at 1 % loss of {real} real variables and transients:\n\n" + table(
        ["judge", *(f"{name} ({counts[name]})" for name in sets)], lines
    )


def _classes(figures: Figures) -> str:
    measure = "{}, pixels at 0.0001"
    judges = ("MaxiMask", "science", "all planes")
    lines = [
        [name, *(
            "; ".join(figures.interval(measure.format(name), s, judge) for s in ("ztf", "lsst"))
            for judge in judges
        )]
        for name in CLASSES
    ]  # fmt: skip
    count = figures.starting("trails")[0].count
    return (
        f"Other classes, painted on {count} alerts each: share of pixels found at 1e-4 false ones,"
        " ZTF; LSST's schema:\n\n" + table(["class", *judges], lines)
    )


def _cost(figures: Figures) -> str:
    lines = [
        [row.judge, f"{row.share:.2f}", row.stamps] for row in figures.starting("CPU ms a stamp")
    ]
    return (
        "Cost, CPU ms a stamp in batches of 16 on one thread of ONNX Runtime, in one run:\n\n"
        + table(["network", "ms", "of MaxiMask"], lines)
    )


def _reliability(figures: Figures) -> str:
    parts = []
    for survey, name in (("ztf", "ZTF"), ("lsst", "LSST's schema")):
        of_survey = [row for row in figures.starting("calibration error") if row.stamps == survey]
        lines = [
            [row.judge, f"{row.count}", row.interval, *(
                _said(figures.of(f"said {low:g} to {high:g}", survey, row.judge))
                for low, high in SAID
            )]
            for row in of_survey if row.measure.endswith("0.01")
        ]  # fmt: skip
        head = [f"class, {name}", "stamps with it", "error", *(
            f"{short(low)} to {short(high)}" for low, high in SAID
        )]  # fmt: skip
        parts.append(table(head, lines))
    overall = max(r.share for r in figures.rows if r.measure == "calibration error, p >= 0")
    return (
        "Calibration after the change of priors, painted on alerts of the test part: error over"
        " pixels above .01 (95 % of stamps drawn anew), and for pixels of which so much is said,"
        " what is said on the mean and what share of them is of the class. Over all pixels, which"
        f" empty sky makes small, the error is at most {overall:.3f}.\n\n" + "\n\n".join(parts)
    )


def _said(row: Row | None) -> str:
    return "-" if row is None else f"{short(row.low)}: {short(row.share)}"
