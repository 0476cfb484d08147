"""The table that a run writes, with the facts of its machine."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import confluent_kafka
from audit import Account, middle_and_longest
from kafka_node import HERE as KAFKA

from streamfilter import __version__

_HEAD = (
    "scenario", "delivery", "alerts", "faults", "recoveries", "s to recover", "missing", "twice",
    "may be twice", "rejected", "kept", "s in all", "remarks",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one scenario under one guarantee.

    Attributes
    ----------
    count
        Faults that happened.
    allowed
        Alerts that may stand twice: what was not committed when the faults happened.
    """

    scenario: str
    guarantee: str
    account: Account = field(default_factory=partial(Account, 0))
    count: int = 0
    recoveries_s: tuple[float, ...] = ()
    allowed: int = 0
    remarks: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    took_s: float = 0.0
    left_out: str = ""
    """Why it was not acted; empty where it was."""


def cells(outcome: Outcome) -> tuple[str, ...]:
    """One row of the table."""
    if outcome.left_out:
        return (outcome.scenario, outcome.guarantee, *["-"] * 8, "not run", "-", outcome.left_out)
    seen = outcome.account
    return (
        outcome.scenario,
        outcome.guarantee,
        str(seen.alerts),
        str(outcome.count),
        str(len(outcome.recoveries_s)),
        middle_and_longest(outcome.recoveries_s),
        str(len(seen.missing)),
        str(len(seen.repeated)),
        str(outcome.allowed),
        str(seen.copies.get("rejected", 0)),
        "no" if outcome.wrong else "yes",
        f"{outcome.took_s:.0f}",
        "; ".join((*outcome.wrong, *outcome.remarks)).replace("|", "/").replace("\n", " "),
    )


def line(outcome: Outcome) -> str:
    """A row for a terminal."""
    return ", ".join(f"{name} {cell}" for name, cell in zip(_HEAD, cells(outcome), strict=True))


def write(path: Path, outcome: Outcome, faults: Mapping[str, str]) -> None:
    """Write a scenario's row into the report; the other rows stay as they were.

    Parameters
    ----------
    faults
        What each scenario does, in the order of the report.
    """
    row = cells(outcome)
    rows = {each[:2]: each for each in _rows(path)} | {row[:2]: row}
    order = list(faults)
    known = (each for each in rows.values() if each[0] in order)
    kept = sorted(known, key=lambda each: order.index(each[0]))
    table = [f"| {' | '.join(each)} |" for each in (_HEAD, ["---"] * len(_HEAD), *kept)]
    parts = (
        "# Chaos report",
        "Written by `make chaos`; `tests/chaos/` says how. Real Kafka, real worker processes, "
        "the published weights, simulated packets. Each row is of the last run of its scenario.",
        _machine(),
        "\n".join(table),
        "`s to recover`: median / longest of the seconds from a fault until every partition that "
        "had alerts left was answered again, as a reader of committed messages sees it; starting "
        "the next worker, or the broker, counts. `twice`: alerts that stand more than once in an "
        "output; `may be twice`: those that were under way or not committed when the faults "
        "happened. `kept`: nothing missing, nothing twice beyond that, nothing where it is not "
        "due, and every offset committed at the end. No answer is due to what was deleted or "
        "stepped over before it was read: the remarks count it.",
        "What was done:",
        "\n".join(f"- **{name}**: {words}" for name, words in faults.items()),
    )
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _rows(path: Path) -> list[tuple[str, ...]]:
    """The rows of a report's table; none where there is no report."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [tuple(map(str.strip, each.strip("|").split("|"))) for each in lines if each[:1] == "|"]
    return [row for row in rows[2:] if len(row) == len(_HEAD)]


def _machine() -> str:
    """What the figures were taken on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    kafka = (KAFKA / "pom.xml").read_text().split("<version>")[2].partition("<")[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}, {memory:.0f} GB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"streamfilter {__version__}, Kafka {kafka}, librdkafka {confluent_kafka.libversion()[0]}; "
        "the machine may have had other work."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
