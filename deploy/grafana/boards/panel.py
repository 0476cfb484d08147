"""A panel as we speak of it: plain words, queries, and its section of the runbook."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a panel is drawn."""

    LINES = "lines"
    STACK = "stack"
    """Lines that add up."""
    NUMBER = "number"
    MAP = "map"
    """A coloured tile for each series: the focal plane."""
    TABLE = "table"
    """A row for each series, as of now."""


class Unit(StrEnum):
    """Of a panel's values, in Grafana's words."""

    COUNT = "short"
    PER_SECOND = "cps"
    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "percentunit"
    """From 0 to 1."""
    AGO = "dateTimeFromNow"
    """Unix milliseconds, shown as `5 minutes ago`."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and the name of its series: `{{label}}` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel.

    Attributes
    ----------
    text
        For someone who sees it for the first time: what it shows and what would be wrong.
    runbook
        The section of RUNBOOK.md that it links to; empty: its beginning.
    limits
        Values from which on it is orange and red.
    columns
        Of a table: the labels to show, in order, and what heads them.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    unit: Unit
    runbook: str
    kind: Kind = Kind.LINES
    width: int = 8
    height: int = 8
    limits: tuple[float, float] | None = None
    most: float | None = None
    """The highest value of the axis, where it is known."""
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """What can be chosen at the top of a dashboard: the values of a label."""

    name: str
    metric: str

    @property
    def query(self) -> str:
        """As Grafana asks for it."""
        return f"label_values({self.metric}, {self.name})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """One dashboard: rows of panels by their titles."""

    name: str
    title: str
    text: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def quantiles(
    histogram: str, by: str = "", *, of: tuple[float, ...] = (0.5, 0.99)
) -> tuple[Query, ...]:
    """A query for each quantile of a histogram, with selectors in its name.

    Parameters
    ----------
    histogram
        Its buckets with their selectors: `x_seconds_bucket{instance=~"$instance"}`.
    by
        A further label to keep.
    """
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}[$__rate_interval])))",
            f"{legend}p{100 * q:g}",
        )
        for q in of
    )
