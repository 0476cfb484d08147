"""``streamfilter engines``: the published networks, where they are and how they do here."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import bench as speeds
from streamfilter.inference import cache, golden, manifest, runtimes
from streamfilter.inference.fetch import fetch as fetched
from streamfilter.inference.manifest import Manifest

_RUNTIME = "onnxruntime"

_name = click.argument("name", type=click.Choice(manifest.names()))
_some = click.argument("name", type=click.Choice(manifest.names()), required=False)


@click.group()
def engines() -> None:
    """The networks: fetch them from their authors' release, check them, time them.

    They are kept in STREAMFILTER_HOME, by default in your cache directory.
    """


@engines.command("list")
def list_() -> None:
    """Show every engine: version, weights, sides, and whether it is in the cache."""
    home = cache.default_home(os.environ)
    rows = [_row(one, home) for one in _chosen(None)]
    _show(("engine", "version", "weights", "takes", "runtime", "cached"), rows)
    click.echo(f"cache: {home}")


@engines.command()
@_name
@click.option(
    "--wheel",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The release's wheel, for a machine that reaches no package index.",
)
def fetch(name: str, wheel: Path | None) -> None:
    """Put an engine into the cache: wheel by pip, weights, ONNX; nothing is installed.

    Every step is checked against a pinned sha256. TensorFlow is not needed.
    """
    path = fetched(name, cache.default_home(os.environ), wheel=wheel, progress=click.echo)
    click.echo(f"{name}: ready ({path})")


@engines.command()
@_some
def verify(name: str | None) -> None:
    """Hold cached engines against their sha256 and the authors' own numbers.

    Exit code 1 where a file is not what it should be or a number differs by more than 1e-5.
    """
    home = cache.default_home(os.environ)
    cached = [one for one in _chosen(name) if cache.onnx_path(one, home).exists()]
    if not cached:
        raise EngineUnavailable(
            f"{name or 'an engine'} is not in the cache {home}: "
            f"`streamfilter engines fetch {name or 'NAME'}` first"
        )
    checks = [_check(one, home) for one in cached]
    _show(("engine", "file", "largest difference", "verdict"), [check.row for check in checks])
    wrong = [check.engine for check in checks if not check.right]
    if wrong:
        raise EngineUnavailable(
            f"{', '.join(wrong)}: not what it should be; `streamfilter engines fetch NAME` makes "
            "a damaged file anew, a difference is for a report"
        )


@engines.command()
@_some
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of the runtime within one batch; 0 takes every core.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=600),
    default=1.0,
    show_default=True,
    help="For each batch size and side; five batches at least.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def bench(name: str | None, threads: int, seconds: float, as_json: bool) -> None:
    """Measure images per second and the latency of a batch, by batch size and side."""
    home = cache.default_home(os.environ)
    measured = [_measure(one, home, threads, seconds) for one in _chosen(name)]
    if as_json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "threads": threads}
        engines = [asdict(one) for one in measured]
        click.echo(json.dumps({"machine": machine, "engines": engines}, indent=2))
        return
    for one in measured:
        click.echo(f"{one.engine} on {one.runtime}, threads: {threads}")
        rows = [_speed_row(speed) for speed in one.speeds]
        _show(("side", "batch", "images/s", "p50 of a batch", "p99"), rows)


@dataclass(frozen=True, slots=True)
class _Check:
    """What came of holding one cached engine against the facts."""

    engine: str
    whole: bool
    difference: float | None
    """None where the file is not whole, and so was not run."""

    @property
    def right(self) -> bool:
        return self.whole and self.difference is not None and self.difference <= golden.TOLERANCE

    @property
    def row(self) -> tuple[str, ...]:
        return (
            self.engine,
            "sha256 as pinned" if self.whole else "damaged",
            "not run" if self.difference is None else f"{self.difference:.1e}",
            "right" if self.right else "WRONG",
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """The speeds of one engine."""

    engine: str
    onnx_sha256: str
    runtime: str
    speeds: tuple[speeds.Speed, ...]


def _chosen(name: str | None) -> tuple[Manifest, ...]:
    """The manifest of the named engine, or of all."""
    return tuple(manifest.load(one) for one in ((name,) if name else manifest.names()))


def _check(one: Manifest, home: Path) -> _Check:
    """Hash the cached file; run it only where it is whole."""
    if cache.sha256_of(cache.onnx_path(one, home)) != one.onnx_sha256:
        return _Check(one.name, whole=False, difference=None)
    engine = runtimes.open_engine(one.name, _RUNTIME, home, threads=0)
    return _Check(one.name, whole=True, difference=golden.largest_difference(engine))


def _measure(one: Manifest, home: Path, threads: int, seconds: float) -> _Measured:
    """Open an engine, fetched where it is not cached, and time it."""

    def say(line: str) -> None:
        click.echo(line, err=True)

    engine = runtimes.open_engine(one.name, _RUNTIME, home, threads, progress=say)
    found = tuple(speeds.measure(engine, cell_s=seconds))
    return _Measured(one.name, one.onnx_sha256, engine.runtime, found)


def _row(one: Manifest, home: Path) -> tuple[str, ...]:
    """An engine's line in the list."""
    found = cache.sha256_of(cache.onnx_path(one, home))
    cached = "no" if found is None else "yes" if found == one.onnx_sha256 else "damaged"
    return one.name, one.version, one.weights_sha256[:12], str(one.shape), _RUNTIME, cached


def _speed_row(speed: speeds.Speed) -> tuple[str, ...]:
    """A speed for humans."""
    return (
        f"{speed.side_px} px",
        str(speed.batch),
        f"{speed.images_per_s:.1f}",
        f"{1e3 * speed.p50_s:.1f} ms",
        f"{1e3 * speed.p99_s:.1f} ms",
    )


def _show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, in a pipe as wide as it needs."""
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    console = Console()
    Console(width=None if console.is_terminal else 120).print(table)
