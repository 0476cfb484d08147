"""``streamfilter annotate``: judge archives of alerts, into Parquet."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from streamfilter.cli import options
from streamfilter.cli.frame_files import SOME_LEFT
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.files import write_whole
from streamfilter.records import Plane

if TYPE_CHECKING:
    from streamfilter.archive.annotator import Topics
    from streamfilter.archive.driver import Estimate, Order, Report
    from streamfilter.archive.events import Event

_SAID_EVERY_S = 30.0
_GIB = 2**30


def _planes(
    _context: click.Context, option: click.Parameter, given: str | None
) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = options.listed(given)
    if unknown := [name for name in names if name not in list(Plane)]:
        raise click.BadParameter(f"{unknown[0]!r}; there are {', '.join(Plane)}", param=option)
    return names


def _folder(_context: click.Context, option: click.Parameter, given: Path) -> Path:
    if ":/" in str(given):
        raise click.BadParameter(
            f"{given}: the output is a folder of a file system. An object store renames nothing at "
            "once, so a file that is half written could be read there: copy the output when its "
            "audit is done",
            param=option,
        )
    return given


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--out",
    required=True,
    callback=_folder,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the output and its ledger; made where it is not there.",
)
@click.option("--topic", metavar="NAME", help="Publish annotations there instead of Parquet.")
@click.option("--rejected", metavar="NAME", help="With --topic: where rejected messages go.")
@click.option("--resume", is_flag=True, help="Go on with an output that was begun.")
@click.option(
    "--planes",
    callback=_planes,
    metavar="PLANE,...",
    help="Stamps to judge: science, template, difference.  [default: alerts.planes]",
)
@click.option(
    "--columns",
    default="",
    callback=lambda _context, _option, given: options.listed(given),
    metavar="NAME,...",
    help="Fields of the alerts to keep, by their names in the survey's map; NAME:text for texts.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many packets.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and write nothing.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A JSON file of what was done, and of the audit.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Who does it: processes of this machine, or a Dask cluster that runs (--scheduler).",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of the Dask cluster: tcp://host:8786.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes of this machine, each with the network on one core.  [default: one for each "
    "core]",
)
@options.settings
def annotate(
    files: tuple[str, ...],
    out: Path,
    topic: str | None,
    rejected: str | None,
    resume: bool,
    planes: tuple[str, ...] | None,
    columns: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    report: Path | None,
    engine: str,
    scheduler: str | None,
    workers: int | None,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Judge alerts of an archive as `run` would, and write or publish their annotations.

    FILES are containers, packets, tar archives (also in gzip, bzip2 or xz), Parquet with stamps or
    with a column `packet`, folders and patterns of these, addresses of object stores, or .list
    files with a path or an address in each line. Stamps are not copied.

    Below --out, annotations/night=DATE/ has a row for each alert, rejects/ one for each packet or
    file that cannot be used, and ledger.jsonl a line for each finished task. A run that was ended
    in whatever way goes on with --resume; nothing is lost, and nothing written twice.

    With --topic and --rejected, they are published there as `run` does. A task has its line once
    brokers have acknowledged all of it; what --resume does again is published again.

    \b
    Examples:
      streamfilter annotate ztf_public_20231012.tar.gz --out annotations --columns drb,magpsf
      streamfilter annotate 's3://archive/night=*/' --out annotations --resume --report report.json
      streamfilter annotate night/ --out annotations --engine dask --scheduler tcp://host:8786
      streamfilter annotate night/ --out state --topic notes.2023 --rejected rejected.2023

    Exit code 0: all is annotated or rejected. 3: some files were given up, or the audit found
    something wrong; the report says what. 1: the run ended early. 2: wrong arguments or settings.
    """
    _refuse_other_engine(engine, scheduler, workers)
    driver, topics = _driver(), _topics(topic, rejected, columns)
    order = driver.Order(
        paths=files,
        out=out,
        judging=driver.Judging(
            config=config, overrides=overrides, planes=planes, columns=columns, topics=topics
        ),
        workers=workers or os.cpu_count() or 1,
        scheduler=scheduler,
        resume=resume,
        limit=limit,
    )
    try:
        if dry_run:
            _say_estimate(driver.estimate(order), None if scheduler else order.workers)
            return
        _annotate(driver, order, report)
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from error


def _refuse_other_engine(engine: str, scheduler: str | None, workers: int | None) -> None:
    if (engine == "dask") != (scheduler is not None):
        raise click.UsageError("--engine dask and --scheduler ADDRESS go together")
    if workers is not None and scheduler is not None:
        raise click.UsageError("--workers is of --engine local: a cluster has workers of its own")


def _driver() -> Any:
    """Returns the module that annotates, which needs pyarrow."""
    try:
        from streamfilter.archive import driver
    except ImportError as error:
        raise ConfigurationInvalid(
            f"`annotate` needs pyarrow: {how_to_install('archive')}"
        ) from error
    return driver


def _topics(
    annotations: str | None, rejected: str | None, columns: tuple[str, ...]
) -> "Topics | None":
    from streamfilter.archive.annotator import Topics

    if (annotations is None) != (rejected is None):
        raise click.UsageError("--topic and --rejected go together: nothing is to be lost")
    if annotations is not None and columns:
        raise click.UsageError("--columns are of Parquet: published annotations have no others")
    return Topics(annotations, rejected) if annotations and rejected else None


def _annotate(driver: Any, order: "Order", path: Path | None) -> None:
    _, _, size = driver.sizes(order.paths)
    with _Shown(size) as shown:
        done: Report = driver.annotate(order, shown.hear)
    if path is not None:
        write_whole(path, (json.dumps(done.as_json(), indent=1) + "\n").encode())
    for line in _lines(done):
        click.echo(line)
    if done.given_up or done.audit.wrong:
        raise click.exceptions.Exit(SOME_LEFT)


class _Shown:
    """The progress: a bar on a terminal, else a line every half minute, on standard error."""

    def __init__(self, size: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("opening the network", total=size)
        self._size, self._done = size, 0
        self._rows = self._rejected = 0
        self._started = self._said = time.monotonic()

    def __enter__(self) -> "_Shown":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def hear(self, event: "Event", size: int) -> None:
        """Show an event."""
        from streamfilter.archive.events import Advanced, GivenUp

        if isinstance(event, Advanced):
            self._rows += event.annotated + event.rejected
            self._rejected += event.rejected
        elif isinstance(event, GivenUp):
            self._console.print(f"given up: {event.task.files[0].path}: {event.why}", markup=False)
        self._done += size
        self._bar.update(self._task, completed=self._done, description=self._words())
        if not self._console.is_terminal and time.monotonic() - self._said > _SAID_EVERY_S:
            self._said = time.monotonic()
            print(f"{self._words()}, {self._share()}", file=sys.stderr, flush=True)

    def _words(self) -> str:
        took = max(time.monotonic() - self._started, 1e-3)
        return f"{self._rows} rows, {self._rows / took:.0f}/s, {self._rejected} rejected"

    def _share(self) -> str:
        took, share = time.monotonic() - self._started, self._done / max(self._size, 1)
        if not share:
            return "no task is done yet"
        return f"{share:.0%}, {took * (1 - share) / share / 60:.0f} min to go"


def _lines(done: "Report") -> list[str]:
    """Returns what was done, for a person."""
    audit = done.audit
    verdicts = ", ".join(f"{number} {name}" for name, number in done.verdicts.items())
    rate = f" ({done.rows / done.seconds:.0f}/s)" if done.seconds else ""
    lines = [
        f"{done.rows} packets in {done.seconds:.0f} s{rate}; in all {audit.rows}: "
        f"{audit.annotated} annotated, {audit.rejected} rejected",
    ]
    if verdicts:
        lines.append(f"verdicts: {verdicts}")
    if done.rejected:
        reasons = ", ".join(f"{number} {name}" for name, number in done.rejected.items())
        lines.append(f"rejected: {reasons}")
    if audit.refused:
        lines.append(f"{audit.refused} files or members are no packets: see rejects/")
    if audit.repeated:
        named = ", ".join(audit.repeated_keys)
        lines.append(f"{audit.repeated} alerts are in the input more than once: {named}")
    lines += [f"given up: {each['file']}: {each['why']}" for each in done.given_up]
    good = "all acknowledged" if done.topics else "all there, once each"
    lines += [f"wrong: {each}" for each in audit.wrong] or [f"audit: {good}"]
    return lines


def _say_estimate(found: "Estimate", workers: int | None) -> None:
    hours = found.core_hours
    here = f", {hours / workers:.2f} hours with {workers} workers" if workers else ""
    click.echo(f"{found.files} files, {found.size / _GIB:.2f} GiB, {found.tasks} tasks")
    click.echo(
        f"about {found.rows} packets at {found.seconds_a_row * 1e3:.1f} ms on a core: "
        f"{hours:.2f} core-hours{here}"
    )
