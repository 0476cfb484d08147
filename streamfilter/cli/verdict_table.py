"""The output of ``inspect`` for a person: a row for each packet, the totals, the figure."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamfilter.alerts import figures
from streamfilter.alerts.figures import fields_in_words
from streamfilter.alerts.pipeline import Prepared
from streamfilter.errors import printable
from streamfilter.records import Annotation, Label, Plane, Rejected
from streamfilter.service.assembly.alerts import Parts

Outcome = tuple[Prepared, Annotation] | Rejected

REJECTED = "rejected"
KINDS = (*(each.value for each in Label), REJECTED)
"""Every possible outcome of a packet."""
MOST_DRAWN = 12

_STYLES = {
    Label.CLEAN: "green",
    Label.SUSPECT: "yellow",
    Label.CONTAMINATED: "red",
    Label.NOT_EVALUATED: "dim",
}
# The most interesting verdict comes first.
_ORDER = (Label.CONTAMINATED, Label.SUSPECT, Label.NOT_EVALUATED, Label.CLEAN)
_COLUMNS = (
    "packet", "survey", "alert", "verdict", "class", "rule", "core", "survey flags", "fields",
)  # fmt: skip
_WIDE = 160
_AT_BYTE = re.compile(r" at byte \d+$")


def kind_of(outcome: Outcome) -> str:
    """Returns the verdict of a packet, or ``rejected``."""
    return REJECTED if isinstance(outcome, Rejected) else outcome[1].verdict.label.value


class Totals:
    """Counts packets by verdict, rule and reason."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._unevaluated: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Counts one packet."""
        self._kinds[kind_of(outcome)] += 1
        if isinstance(outcome, Rejected):
            self._reasons[outcome.reason.value] += 1
            return
        annotation = outcome[1]
        if rule := annotation.verdict.rule:
            self._rules[rule] += 1
        for stamp in annotation.stamps:
            if stamp.not_evaluated:
                self._unevaluated[f"{stamp.plane}: {stamp.not_evaluated}"] += 1
        self._asked.update(opinion.engine.name for opinion in annotation.also)

    @property
    def packets(self) -> int:
        """The number of packets."""
        return self._kinds.total()

    def headline(self) -> str:
        """Returns the number of packets and of each verdict, on one line."""
        found = [f"{self._kinds[kind]} {kind}" for kind in KINDS if self._kinds[kind]]
        many = f"{self.packets} packet{'' if self.packets == 1 else 's'}"
        return f"{many}: {', '.join(found)}" if found else many

    def lines(self) -> list[str]:
        """Returns the headline, then a line each for rules and reasons, most frequent first."""
        named = {
            "by rule": self._rules,
            "rejected": self._reasons,
            "not evaluated": self._unevaluated,
            "also asked": self._asked,
        }
        return [self.headline()] + [
            f"{name}: {', '.join(f'{key} {n}' for key, n in counts.most_common())}"
            for name, counts in named.items()
            if counts
        ]


@dataclass(slots=True)
class _Row:
    name: str
    cells: tuple[str, ...]
    times: int = 1


class VerdictTable:
    """A table with one row for each packet.

    Rejections with the same words share a row, whatever byte they name.
    """

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._folded: dict[tuple[str, str], _Row] = {}

    def add(self, label: str, outcome: Outcome) -> bool:
        """Adds a packet, and returns whether it got a row of its own."""
        if isinstance(outcome, Rejected):
            same = outcome.reason.value, _AT_BYTE.sub("", outcome.detail)
            if same in self._folded:
                self._folded[same].times += 1
                return False
        row = _Row(escape(label), _cells(outcome))
        self._rows.append(row)
        if isinstance(outcome, Rejected):
            self._folded[same] = row
        return True

    def last_line(self) -> str:
        """Returns the last row as one line of text."""
        row = self._rows[-1]
        return "  ".join(cell for cell in (row.name, *row.cells) if cell)

    def show(self) -> None:
        """Prints the table; nothing if it has no row."""
        table = Table()
        columns = _COLUMNS if any(row.cells[-1] for row in self._rows) else _COLUMNS[:-1]
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in self._rows:
            many = f" ({row.times} times)" if row.times > 1 else ""
            table.add_row(row.name + many, *row.cells[: len(columns) - 1])
        if self._rows:
            printing().print(table)


def printing() -> Console:
    """Returns standard output, with a fixed width if it is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    """Returns the cells behind the name, with markup."""
    if isinstance(outcome, Rejected):
        why = escape(f"{outcome.reason}: {outcome.detail}")
        return "", "", "[magenta]rejected[/]", "", why, "", "", ""
    _, annotation = outcome
    verdict, alert = annotation.verdict, annotation.alert
    style = _STYLES[verdict.label]
    return (
        alert.survey,
        escape(printable(alert.alert_id)),
        f"[{style}]{verdict.label}[/]",
        verdict.contaminant or "",
        escape(verdict.rule or _why_not(annotation)),
        _core(annotation),
        " ".join(sorted(alert.flagged)),
        escape(fields_in_words(alert.fields)),
    )


def _why_not(annotation: Annotation) -> str:
    return ", ".join(
        f"{s.plane}: {s.not_evaluated}" + (f" ({s.detail})" if s.detail else "")
        for s in annotation.stamps
        if s.not_evaluated
    )


def _core(annotation: Annotation) -> str:
    """Returns the core posterior of the class that decided, of each engine; empty if none did."""
    code = annotation.verdict.contaminant
    stamps = {"": annotation.stamps, **{each.engine.name: each.stamps for each in annotation.also}}
    return ", ".join(
        f"{name} {stamp.classes[code].core:.2f}".strip()
        for name, of in stamps.items()
        for stamp in of
        if stamp.plane is Plane.SCIENCE and code is not None and code in stamp.classes
    )


class Gallery:
    """Keeps the alerts to draw, at most ``MOST_DRAWN`` of each verdict."""

    def __init__(self) -> None:
        self._kept: dict[Label, list[tuple[Prepared, Annotation]]] = {each: [] for each in _ORDER}
        self._alerts = 0

    def add(self, outcome: Outcome) -> None:
        """Keeps an alert; a rejected one has no picture."""
        if isinstance(outcome, Rejected):
            return
        self._alerts += 1
        kept = self._kept[outcome[1].verdict.label]
        if len(kept) < MOST_DRAWN:
            kept.append(outcome)

    def draw(self, parts: Parts, path: Path) -> bool:
        """Writes the figure, and returns whether there was an alert to draw."""
        rows = [row for label in _ORDER for row in self._kept[label]][:MOST_DRAWN]
        inspected = [figures.inspect_alert(parts.pipeline, parts.engine, *row) for row in rows]
        if inspected:
            figures.draw(inspected, path, most_rows=MOST_DRAWN, others=self._alerts - len(rows))
        return bool(inspected)
