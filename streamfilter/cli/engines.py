"""``streamfilter engines``: lists, fetches, checks and times the published networks."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from streamfilter.cli.command_group import CommandGroup
from streamfilter.errors import EngineUnavailable
from streamfilter.inference import bench as speeds
from streamfilter.inference import cache, golden, gpus, manifest, plan_cache, plans, runtimes
from streamfilter.inference.engine import Running
from streamfilter.inference.fetch import fetch as fetched
from streamfilter.inference.manifest import Manifest, Precision, Tolerance

# The runtime that all others are compared with.
_REFERENCE = "onnxruntime"

_name = click.argument("name", type=click.Choice(manifest.names()))
_precision = click.option(
    "--precision", type=click.Choice([each.value for each in Precision]), help="Of the runtime."
)
_some = click.argument("name", type=click.Choice(manifest.names()), required=False)


@click.group(cls=CommandGroup)
def engines() -> None:
    """The networks: fetch them from their authors' release, check them, time them.

    They are kept in STREAMFILTER_HOME, by default in your cache directory.
    """


@engines.command("list")
def list_() -> None:
    """Show every engine: version, weights, sides, whether it is cached; then runtimes and plans."""
    home = cache.default_home(os.environ)
    rows = [_row(one, home) for one in _chosen(None)]
    _show(("engine", "version", "weights", "takes", "cached"), rows)
    states = runtimes.states()
    _show(
        ("runtime", "version", "precisions here"),
        [(one.runtime, one.version or "-", ", ".join(one.precisions) or "-") for one in states],
    )
    for one in states:
        if one.why_not:
            click.echo(one.why_not)
    _show_plans(_chosen(None), home)
    click.echo(f"cache: {home}")


@engines.command()
@_name
@click.option(
    "--wheel",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The release's file, a wheel or source archive, for a machine that reaches no index.",
)
def fetch(name: str, wheel: Path | None) -> None:
    """Put an engine into the cache: wheel by pip, weights, ONNX; nothing is installed.

    By default alerts want maximask, exposures maxitrack, and masks of frames maximask and deepcr.

    Every step is checked against a pinned sha256. TensorFlow is not needed. Of an engine whose
    weights come with streamfilter nothing is fetched: only its ONNX is made.
    """
    if manifest.load(name).release is None:
        click.echo(f"{name}: nothing to fetch, its weights come with streamfilter")
    path = fetched(name, cache.default_home(os.environ), wheel=wheel, progress=click.echo)
    click.echo(f"{name}: ready ({path})")


@engines.command()
@_some
@click.option(
    "--runtime",
    type=click.Choice((runtimes.AUTO, *runtimes.RUNTIMES)),
    default=_REFERENCE,
    show_default=True,
    help="The runtime to hold against them.",
)
@_precision
def verify(name: str | None, runtime: str, precision: str | None) -> None:
    """Hold cached engines against their sha256, the authors' own numbers, and ONNX Runtime.

    Exit code 1 where a file is not what it should be, ONNX Runtime's numbers differ by more than
    1e-5 from the authors', or another's by more than the engine's manifest allows from ONNX
    Runtime's at float32.
    """
    home = cache.default_home(os.environ)
    cached = [one for one in _chosen(name) if cache.onnx_path(one, home).exists()]
    if not cached:
        raise EngineUnavailable(
            f"{name or 'an engine'} is not in the cache {home}: "
            f"`streamfilter engines fetch {name or 'NAME'}` first"
        )
    checks = [_check(one, home, runtime, precision or Precision.FLOAT32) for one in cached]
    head = ("engine", "weights", "takes", "runtime", "precision", "file")
    _show((*head, "from the authors'", "from ONNX Runtime", "verdict"), [one.row for one in checks])
    wrong = [check.engine.name for check in checks if not check.right]
    if wrong:
        raise EngineUnavailable(
            f"{', '.join(wrong)}: not what it should be; `streamfilter engines fetch NAME` makes "
            "a damaged file anew, a difference is for a report"
        )


@engines.command()
@_some
@_precision
def build(name: str | None, precision: str | None) -> None:
    """Build plans for this host's GPU by TensorRT, at float32 and, where it is offered, fp16.

    Takes minutes each; a plan that matches is left as it is. An engine that is not in the cache is
    fetched first.
    """
    trt, gpu = plans.builder(), gpus.here()
    home = cache.default_home(os.environ)
    for one in _chosen(name):
        path = fetched(one.name, home, progress=_say)
        offered = [each for each in plan_cache.PRECISIONS if each in one.precisions]
        for each in (Precision(precision),) if precision else offered:
            plan_cache.plan_for(trt, one, path, gpu, Running(precision=each, progress=_say))
    _show_plans(_chosen(name), home)


@engines.command()
@_some
@click.option(
    "--runtime",
    "chosen",
    type=click.Choice(tuple(runtimes.RUNTIMES)),
    multiple=True,
    help="May be given several times; default: all that work here.",
)
@_precision
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
def bench(
    name: str | None,
    chosen: tuple[str, ...],
    precision: str | None,
    threads: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure images per second and the latency of a batch, by batch size and side.

    Runtimes and precisions take turns, batch by batch, so that their numbers compare.
    """
    home = cache.default_home(os.environ)
    ways = _ways(chosen, precision)
    measured = [row for one in _chosen(name) for row in _measure(one, home, ways, threads, seconds)]
    if as_json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "threads": threads}
        engines = [asdict(one) for one in measured]
        click.echo(json.dumps({"machine": machine, "engines": engines}, indent=2))
        return
    for one in measured:
        click.echo(
            f"{one.engine} (weights {one.weights_sha256[:12]}) on {one.runtime}, {one.precision}, "
            f"threads: {threads}"
        )
        rows = [_speed_row(speed) for speed in one.speeds]
        _show(("side", "batch", "images/s", "p50 of a batch", "p99"), rows)


@dataclass(frozen=True, slots=True)
class _Check:
    """The result of comparing one cached engine with its pinned and expected numbers."""

    engine: Manifest
    runtime: str
    differences: tuple[float, golden.Difference] | None
    """From the authors' numbers and from ONNX Runtime's; None where the file is damaged."""
    allowed: Tolerance

    @property
    def right(self) -> bool:
        if self.differences is None:
            return False
        authors, reference = self.differences
        exact = self.runtime.startswith(_REFERENCE)
        bound = golden.TOLERANCE if exact else self.allowed.largest
        return authors <= bound and reference.within(self.allowed)

    @property
    def row(self) -> tuple[str, ...]:
        verdict = "right" if self.right else "WRONG"
        one = self.engine
        facts = (one.name, one.weights_sha256[:12], str(one.shape))
        way = (self.runtime, str(self.allowed.precision))
        if self.differences is None:
            return *facts, *way, "damaged", "not run", "not run", verdict
        authors, reference = self.differences
        apart = f"{reference.largest:.1e}, mean {reference.mean:.1e}"
        return *facts, *way, "sha256 as pinned", f"{authors:.1e}", apart, verdict


@dataclass(frozen=True, slots=True)
class _EngineSpeeds:
    """The measured speeds of one engine."""

    engine: str
    weights_sha256: str
    onnx_sha256: str
    runtime: str
    precision: str
    speeds: tuple[speeds.Speed, ...]


def _chosen(name: str | None) -> tuple[Manifest, ...]:
    """Returns the manifest of the named engine, or those of all."""
    return tuple(manifest.load(one) for one in ((name,) if name else manifest.names()))


def _check(one: Manifest, home: Path, runtime: str, precision: str) -> _Check:
    """Hash the cached file, and run it only if it is undamaged."""
    allowed = one.tolerance(Precision(precision))
    if cache.sha256_of(cache.onnx_path(one, home)) != one.onnx_sha256:
        return _Check(one, runtime, None, allowed)
    engine = runtimes.open_engine(one.name, runtime, home, 0, precision=precision, progress=_say)
    reference = runtimes.open_engine(one.name, _REFERENCE, home, 0)
    apart = golden.largest_difference(engine), golden.difference(engine, reference)
    return _Check(one, engine.runtime, apart, allowed)


def _ways(chosen: Sequence[str], precision: str | None) -> list[tuple[str, str]]:
    """Returns runtimes and precisions to time: the named ones, or all that work here.

    A named one may fail to open later.
    """
    here = {state.runtime: state.precisions for state in runtimes.states()}
    if chosen and precision:
        return [(runtime, precision) for runtime in chosen]
    ways = [
        (runtime, str(each))
        for runtime in chosen or here
        for each in here[runtime] or ((Precision.FLOAT32,) if chosen else ())
        if precision in (None, each)
    ]
    if not ways:
        raise EngineUnavailable(
            f"no runtime here runs at {precision}; `streamfilter engines list` shows what does"
        )
    return ways


def _measure(
    one: Manifest, home: Path, ways: Sequence[tuple[str, str]], threads: int, seconds: float
) -> list[_EngineSpeeds]:
    """Open an engine on every runtime, and time them together; fetches an engine not cached."""
    engines = [
        runtimes.open_engine(one.name, runtime, home, threads, precision=each, progress=_say)
        for runtime, each in ways
    ]
    cells = zip(*speeds.measure(engines, cell_s=seconds), strict=True)
    return [
        _EngineSpeeds(
            one.name, one.weights_sha256, one.onnx_sha256, engine.runtime, way[1], cell_speeds
        )
        for engine, way, cell_speeds in zip(engines, ways, cells, strict=True)
    ]


def _say(line: str) -> None:
    click.echo(line, err=True)


def _row(one: Manifest, home: Path) -> tuple[str, ...]:
    """Returns an engine's line in the list."""
    sha256 = cache.sha256_of(cache.onnx_path(one, home))
    cached = "no" if sha256 is None else "yes" if sha256 == one.onnx_sha256 else "damaged"
    return one.name, one.version, one.weights_sha256[:12], str(one.shape), cached


def _show_plans(chosen: Sequence[Manifest], home: Path) -> None:
    """Print a line for each kept plan, if any."""
    rows = [
        (
            one.name,
            each.key.precision,
            each.key.builder,
            f"{each.key.gpu} ({each.key.capability})",
            f"{each.size_bytes / 2**20:.0f} MiB",
            "this" if each.key.network == one.onnx_sha256 else "another",
        )
        for one in chosen
        for each in plan_cache.cached_plans(cache.onnx_path(one, home))
    ]
    if rows:
        _show(("plan of", "precision", "built by", "for", "size", "release"), rows)


def _speed_row(speed: speeds.Speed) -> tuple[str, ...]:
    """Returns a table row with a speed in units for people."""
    return (
        f"{speed.side_px} px",
        str(speed.batch),
        f"{speed.images_per_s:.1f}",
        f"{1e3 * speed.p50_s:.1f} ms",
        f"{1e3 * speed.p99_s:.1f} ms",
    )


def _show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; in a pipe, it is as wide as needed."""
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table)
