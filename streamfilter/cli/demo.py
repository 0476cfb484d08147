"""``streamfilter demo``: see it work on this machine, without Kafka, Java or a GPU."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamfilter import logs
from streamfilter.cli.demo_page import live_page, stay
from streamfilter.contaminants import BY_CODE
from streamfilter.demo import exposures
from streamfilter.demo.alerts import ANNOTATIONS, DAMAGED, FIGURE, METRICS, Tally, run
from streamfilter.demo.side_by_side import DOUBT, REAL, SideBySide
from streamfilter.demo.site import open_broker, page_settings

_VERDICTS = ("clean", "suspect", "contaminated", "not_evaluated", "rejected", "lost")
_SLOW = 0.8
"""Share of the offered rate below which the queue decides the latency."""


@click.command()
@click.option(
    "--alerts",
    "count",
    default=1500,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many to simulate.",
)
@click.option(
    "--rate",
    default=50.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Alerts a second at most.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed, the same alerts.")
@click.option(
    "--out",
    default=Path("streamfilter-demo"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for annotations, metrics and figures.",
)
@click.option(
    "--console/--no-console",
    "with_page",
    default=None,
    help="Show it on the live page too; by default where the extra console is installed.",
)
def demo(count: int, rate: float, seed: int, out: Path, with_page: bool | None) -> None:
    """Filter a simulated survey on this machine and audit every alert.

    An embedded broker runs in a child process; ZTF-like and LSST-like packets come in their true
    wire forms, with cosmic rays, trails, bad columns and hot pixels put in at known places, and
    some packets cut short. Both networks for stamps judge the first 200 side by side. Then a camera
    of four detectors takes three exposures, and the telescope drifts in one of them. All of it is
    shown on a live page, which stays until the reader at this terminal leaves it (not with CI set).
    Exit code 0 means that every alert is accounted for, and every exposure judged rightly.
    """
    logs.configure(level="error")
    console = Console(highlight=False, markup=False)
    with open_broker() as broker:
        console.print(f"embedded broker at {broker.bootstrap}")
        shown = page_settings(broker.bootstrap, None)
        with live_page(shown, wanted=with_page, say=console.print) as url:
            faults = _alerts(console, broker.bootstrap, count=count, rate=rate, seed=seed, out=out)
            faults += _exposures(console, broker.bootstrap, seed=seed, out=out)
            for line in faults[:20]:
                click.echo(line, err=True)
            stay(url)
    if faults:
        raise SystemExit(1)


def _alerts(
    console: Console, bootstrap: str, *, count: int, rate: float, seed: int, out: Path
) -> list[str]:
    """Filter alerts and print what came of them; returns a line for each fault."""
    columns = (
        TextColumn("filtering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("filtering", total=count, note="")

        def progress(tally: Tally) -> None:
            note = f"p50 {tally.quantile_s(0.5) * 1000:.0f} ms"
            bar.update(task, completed=tally.done, note=note)

        tally, both = run(
            bootstrap, count=count, rate_per_s=rate, seed=seed, out=out, home=None,
            say=console.print, progress=progress,
        )  # fmt: skip
    _report(console, tally, rate)
    _report_networks(console, both)
    for what, name in (("annotations", ANNOTATIONS), ("metrics", METRICS), ("figure", FIGURE)):
        click.echo(f"{what}: {out / name}")
    return tally.errors()


def _exposures(console: Console, bootstrap: str, *, seed: int, out: Path) -> list[str]:
    """Watch exposures and print what came of them; returns a line for each fault."""
    click.echo("\nnow exposures: a camera of four detectors, three times; takes up to a minute")
    judged = exposures.run(bootstrap, seed=seed, out=out, home=None, say=console.print)
    _report_exposures(console, judged, out)
    return [
        f"exposure {each.exposure.exposure_id} is judged wrongly: {each.decision}"
        for each in judged
        if not each.right
    ]


def _report(console: Console, tally: Tally, rate: float) -> None:
    table = Table(title="What was put in, and what came out")
    table.add_column("injected")
    table.add_column("in", justify="right")
    shown = [v for v in _VERDICTS if any(row[v] for row in tally.table().values())]
    for verdict in shown:
        table.add_column(verdict, justify="right")
    for truth, row in tally.table().items():
        table.add_row(truth, str(row.total()), *(str(row[v] or "") for v in shown))
    console.print(table)
    for line in words(tally, rate):
        click.echo(line)


def _report_networks(console: Console, both: SideBySide) -> None:
    """Print what each network found and cost, on the same alerts."""
    first, further = both.networks
    table = Table(title="Both networks on the same alerts")
    table.add_column("injected")
    for name in ("in", further.name, first.name):
        table.add_column(name, justify="right")
    for truth, count in sorted(both.alerts.items(), key=lambda row: (row[0] != REAL, row[0])):
        cells = (str(count), str(further.found[truth]), str(first.found[truth]))
        table.add_row(truth, *cells)
    table.add_row("ms of a core", "", f"{further.ms:.1f}", f"{first.ms:.1f}")
    console.print(table)
    click.echo("counted: a contaminant is above its threshold at the alert's place")
    click.echo(
        f"{further.name} asked only where {first.name} is above {DOUBT.above}: "
        f"{both.doubted} of {both.alerts.total()} alerts, {both.doubted_ms:.1f} ms an alert "
        "(engine.also)"
    )


def words(tally: Tally, rate: float) -> list[str]:
    """Returns what the table's names mean, the totals, and whether the machine was too slow.

    Parameters
    ----------
    rate
        Alerts per second that were offered.
    """
    wrong = len(tally.errors())
    meanings = {REAL: "nothing was put in", DAMAGED: "a packet cut short"}
    meanings |= {code: row.meaning for code, row in BY_CODE.items()}
    lines = [
        "; ".join(f"{truth}: {meanings[truth]}" for truth in tally.table()),
        f"{len(tally.truth)} alerts in, {len(tally.truth) - wrong} accounted for exactly once; "
        f"{tally.per_s():.0f} alerts/s; from producer to consumer p50 "
        f"{tally.quantile_s(0.5) * 1000:.0f} ms, p99 {tally.quantile_s(0.99) * 1000:.0f} ms",
    ]
    if tally.per_s() < _SLOW * rate:
        lines.append(
            f"{rate:g} alerts/s were offered, more than this machine judges now: most of the "
            f"latency is waiting (--rate {max(int(tally.per_s() / 2), 1)} leaves room)"
        )
    return lines


def _report_exposures(console: Console, judged: list[exposures.SimulatedVisit], out: Path) -> None:
    table = Table(title="Exposures of four detectors, and the verdicts on them")
    for name in ("exposure", "telescope", "verdict"):
        table.add_column(name, no_wrap=True)
    for name in ("probability", "elongation", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in judged:
        drift_px = each.exposure.drift_px
        row = [each.exposure.exposure_id, f"drifted {drift_px:g} px" if drift_px else "tracked"]
        row.append(each.decision)
        if each.verdict is not None:
            judgement = each.verdict["judgement"]
            known = judgement["probability"]
            row.append("" if known is None else f"{known:.3f}")
            row.append(f"{judgement['shapes']['elongation']:.2f}")
            row.append(f"{each.seconds:.1f}")
        table.add_row(*row)
    console.print(table)
    click.echo("s: seconds from the first message of an exposure to its verdict")
    click.echo(f"figure: {out / exposures.FIGURE}")
