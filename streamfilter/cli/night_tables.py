"""What ``report`` prints of nights: tables, and lines of totals."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from streamfilter.alerts.encode import Agreement
from streamfilter.archive.durations import PERCENTS, Durations
from streamfilter.archive.nights import Night

_VERDICTS = ("alerts", "dropped", "suspect", "not evaluated", "classes", "rules")
_MOST = 3
"""Classes and rules of a row."""
_UNITS = ((1e-3, 1.0, "ms"), (1.0, 120.0, "s"), (60.0, 7_200.0, "min"), (3_600.0, 172_800.0, "h"))
"""Seconds of a unit, up to how many seconds it is used, and its name; beyond are days."""


def show_verdicts(nights: Sequence[Night], by: str) -> None:
    """Print a row for each night: shares of its alerts, most frequent classes and rules."""
    rows = (
        (
            str(each.alerts),
            share(each.number("action", "drop"), each.alerts),
            share(each.number("verdict", "suspect"), each.alerts),
            share(each.number("verdict", "not_evaluated"), each.alerts),
            _most(each, "contaminant"),
            _most(each, "rule"),
        )
        for each in nights
    )
    _show("", nights, ("night", *([by] if by else [])), _VERDICTS, rows)


def show_latency(nights: Sequence[Night]) -> None:
    """Print a row for each night with a known latency; no table where there is none."""
    known = [each for each in nights if each.from_light.count or each.from_receipt.count]
    if known:
        head = [f"from {what} p{each}" for what in ("light", "receipt") for each in PERCENTS]
        rows = ((*_quantiles(each.from_light), *_quantiles(each.from_receipt)) for each in known)
        _show("latency: until the annotation was written", known, ("night",), head, rows)


def show_agreement(totals: Sequence[Night], column: str, score: str | None) -> None:
    """Print how filter and survey agree, a row for each version of the survey's score."""
    head = ["alerts", *(each.value.replace("_", " ") for each in Agreement)]
    head += [f"real by {score}", "of them dropped"] if score else []
    rows = []
    for each in totals:
        cells = [str(each.alerts), *(str(each.number("agreement", a.value)) for a in Agreement)]
        rows.append([*cells, str(each.scored), str(each.scored_and_dropped)] if score else cells)
    _show("filter and survey", totals, (column,), head, rows)


def totals(nights: Sequence[Night], rejected: Mapping[str, int], score: str | None) -> list[str]:
    """Returns lines about all nights together."""
    alerts = sum(each.alerts for each in nights)
    dropped = sum(each.number("action", "drop") for each in nights)
    agreements: Counter[str] = Counter()
    for each in nights:
        agreements.update(each.counts.get("agreement", {}))
    words = ", ".join(
        f"{number} {name.replace('_', ' ')}"
        for name, number in sorted(agreements.items(), key=lambda each: (-each[1], each[0]))
    )
    lines = [f"{alerts} alerts, {dropped} dropped ({share(dropped, alerts)})", f"flags: {words}"]
    if score is not None:
        real = sum(each.scored for each in nights)
        lost = sum(each.scored_and_dropped for each in nights)
        lines.append(f"{score}: {real} alerts are real by it, {lost} of them are dropped")
    if rejected:
        lines.append("rejected: " + ", ".join(f"{n} {name}" for name, n in rejected.items()))
    return lines


def share(part: int, whole: int) -> str:
    """Returns a share in per cent, in two digits."""
    return f"{_rounded(100 * part / whole, 2)} %" if part else "0 %"


def duration(seconds: float) -> str:
    """Returns a duration in its unit, in three digits."""
    for unit_s, up_to_s, name in _UNITS:
        if abs(seconds) < up_to_s:
            return f"{_rounded(seconds / unit_s, 3)} {name}"
    days = seconds / 86_400
    return f"{_rounded(days, 3)} d" if abs(days) < 1000 else f"{days:.0f} d"


def _rounded(number: float, digits: int) -> str:
    """Returns a number in so many digits; one that rounds up to more keeps its zeros: 100."""
    return f"{float(f'{number:.{digits}g}'):g}"


def _show(
    title: str,
    nights: Sequence[Night],
    keys: Sequence[str],
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
) -> None:
    """Print a table; ``keys`` are ``night``, the name of the further column, or both."""
    table = Table(title=title or None, title_justify="left")
    for name in ("survey", *keys, *head):
        table.add_column(name, overflow="fold")
    for night, cells in zip(nights, rows, strict=True):
        own = [night.night if name == "night" else night.value for name in keys]
        table.add_row(night.survey, *own, *cells)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def _most(night: Night, column: str) -> str:
    found = night.counts.get(column)
    return ", ".join(f"{name} {n}" for name, n in found.most_common(_MOST)) if found else ""


def _quantiles(found: Durations) -> list[str]:
    values = (found.quantile(percent / 100) for percent in PERCENTS)
    return ["" if each is None else duration(each) for each in values]
