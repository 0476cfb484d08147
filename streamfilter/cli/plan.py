"""``streamfilter plan``: how many partitions, workers and GPUs a survey needs."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from streamfilter.cli import capacity, frame_costs
from streamfilter.cli.capacity import (
    CAMERAS,
    Camera,
    ExposureWorkers,
    Fleet,
    FocalPlaneCosts,
    FrameCosts,
    Operation,
    Plan,
    Survey,
)
from streamfilter.config import FrameContaminants
from streamfilter.errors import plain_words
from streamfilter.exposures.masking import MaskRules
from streamfilter.inference import bench as speeds
from streamfilter.inference import cache, manifest, runtimes
from streamfilter.inference.manifest import Manifest, Per

_BATCH = 16
_UNKNOWN = (
    "unknown: no rate of a GPU was given; on a machine with one run `streamfilter engines bench "
    "{} --json` and give its images_per_s as --gpu-rate"
)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)
_CORES = (2, 16)
"""Of the machines whose time for a focal plane is told."""


@click.command()
@click.option("--alerts-per-visit", type=_COUNT, metavar="N", help="At the peak.")
@click.option("--cadence", type=_POSITIVE, metavar="S", help="From one visit to the next.")
@click.option(
    "--camera",
    type=click.Choice(list(CAMERAS)),
    help="Say what an exposure of its whole focal plane takes, tracking and masks; alone, or with "
    "the two above.",
)
@click.option(
    "--alert-bytes", type=_COUNT, default=120_000, show_default=True, help="Of one message."
)
@click.option(
    "--engine",
    "name",
    type=click.Choice(manifest.names()),
    default="maximask",
    show_default=True,
    help="The network (engine.name).",
)
@click.option(
    "--planes",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="Stamps of each alert that are judged one by one (alerts.planes).",
)
@click.option(
    "--side",
    type=_COUNT,
    default=64,
    show_default=True,
    help="Pixels to which stamps are reflected, one of the engine's sides: 64 for ZTF and LSST, "
    "for LSST 32 where the engine has that.",
)
@click.option(
    "--also",
    type=click.Choice(manifest.names()),
    help="A further network (engine.also), which is asked about some stamps.",
)
@click.option(
    "--also-share",
    "share",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Of the stamps about which it is asked: streamfilter_also_asked_total over "
    "streamfilter_alerts_total.",
)
@click.option("--rate", type=_POSITIVE, metavar="N", help="Stamps a second of one core.")
@click.option("--also-rate", type=_POSITIVE, metavar="N", help="The same of the further network.")
@click.option(
    "--bench",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Output of `streamfilter engines bench --json`, instead of --rate. Neither: it is "
    "measured here, which takes seconds.",
)
@click.option(
    "--cores", type=_COUNT, default=2, show_default=True, help="Of a worker (engine.workers)."
)
@click.option("--gpu-rate", type=_POSITIVE, metavar="N", help="Stamps a second of one GPU.")
@click.option(
    "--utilisation",
    type=click.FloatRange(0.05, 1.0),
    default=0.7,
    show_default=True,
    help="Share of the cadence in which a visit is to be judged; the rest is to catch up.",
)
@click.option(
    "--efficiency",
    type=click.FloatRange(0.05, 1.0),
    default=0.84,
    show_default=True,
    help="Of a whole worker beside its engine alone: `make bench` measures it.",
)
@click.option("--partitions", type=_COUNT, help="Of the topic, where the survey has decided.")
@click.option(
    "--detectors", type=_COUNT, metavar="N", help="Of an exposure, where they are watched."
)
@click.option("--frame-rate", type=_POSITIVE, metavar="N", help="Detectors a second of one worker.")
@click.option("--retention-days", type=_POSITIVE, default=7.0, show_default=True)
@click.option("--night-hours", type=_POSITIVE, default=10.0, show_default=True)
@click.option("--replication", type=_COUNT, default=3, show_default=True, help="Of each topic.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")
def plan(
    alerts_per_visit: int | None,
    cadence: float | None,
    camera: str | None,
    alert_bytes: int,
    name: str,
    planes: int,
    side: int,
    also: str | None,
    share: float,
    rate: float | None,
    also_rate: float | None,
    bench: Path | None,
    cores: int,
    gpu_rate: float | None,
    utilisation: float,
    efficiency: float,
    partitions: int | None,
    detectors: int | None,
    frame_rate: float | None,
    retention_days: float,
    night_hours: float,
    replication: int,
    as_json: bool,
) -> None:
    """Say how many partitions, workers and GPUs a survey needs, from measured rates.

    No rate is assumed: a core's is given, of a benchmark or measured; a GPU's given or unknown.

    \b
    Examples:
      streamfilter plan --camera lsst --cadence 37
      streamfilter plan --alerts-per-visit 10000 --cadence 37
      streamfilter engines bench maximask --json > bench.json
      streamfilter plan --alerts-per-visit 40000 --cadence 37 --bench bench.json --cores 4
      streamfilter plan --alerts-per-visit 10000 --cadence 37 --engine stampmask --also maximask
    """
    focal_plane = None if camera is None else _FocalPlane.measured(camera, cadence, utilisation)
    if alerts_per_visit is None or cadence is None:
        _alone(focal_plane, alerts_per_visit, as_json)
        return
    survey = Survey(
        alerts_per_visit=alerts_per_visit, cadence_s=cadence, alert_bytes=alert_bytes,
        planes=planes, also_share=share if also else 0.0,
    )  # fmt: skip
    operation = Operation(
        utilisation=utilisation, efficiency=efficiency, partitions=partitions,
        replication=replication, retention_days=retention_days, night_hours=night_hours,
    )  # fmt: skip
    first = _rate(_engine(name, planes, side), rate, bench, side)
    per_core, source = _with_further(first, also, share, also_rate, bench, side)
    made = capacity.plan(survey, operation, per_core * cores)
    gpus = None if gpu_rate is None else capacity.fleet(survey, operation, gpu_rate)
    exposures = _exposures(survey, operation, detectors, frame_rate)
    if as_json:
        click.echo(_document(per_core, source, made, gpus, exposures, focal_plane))
        return
    _show_alerts(survey, made, cores, f"{per_core:.1f} stamps/s of a core, {source}")
    _show("on GPUs, one a worker", _gpu_rows(gpus, name))
    _show_exposures(detectors, exposures, focal_plane)


@dataclass(frozen=True, slots=True)
class _FocalPlane:
    """What an exposure of a whole focal plane takes."""

    camera: Camera
    of_a_core: FrameCosts
    whole: FocalPlaneCosts
    cadence_s: float | None
    utilisation: float

    @classmethod
    def measured(cls, name: str, cadence_s: float | None, utilisation: float) -> "_FocalPlane":
        """Measures a core of this machine, on the stream's tiles."""
        camera, of_a_core = CAMERAS[name], frame_costs.measured(_say)
        rules = MaskRules(tile_px=FrameContaminants().tile_px)
        whole = capacity.focal_plane(camera, of_a_core, rules)
        return cls(camera, of_a_core, whole, cadence_s, utilisation)

    def rows(self) -> list[dict[str, str | float | None]]:
        """Returns a row of s for each task; of a GPU none is known."""
        tasks = {
            "tracking": self.whole.tracking,
            "masks of cosmic rays alone": self.whole.cosmic_rays,
            "masks of all classes": self.whole.masks,
        }
        allowed_s = None if self.cadence_s is None else self.cadence_s * self.utilisation
        return [
            {
                "task": task,
                **{f"s_on_{cores}_cores": round(one / cores, 1) for cores in _CORES},
                "s_on_a_gpu": None,
                "cores_for_the_cadence": None if allowed_s is None else math.ceil(one / allowed_s),
            }
            for task, one in tasks.items()
        ]

    def show(self) -> None:
        """Print the rows, and where they come from."""
        camera, core = self.camera, self.of_a_core
        title = (
            f"an exposure of {camera.name}: {camera.detectors} detectors of {camera.height_px} x "
            f"{camera.width_px} px, {camera.detectors * camera.mpix:.0f} Mpix"
        )
        columns = ["", *(f"{cores} cores" for cores in _CORES), "a GPU"]
        if self.cadence_s is not None:
            columns.append(f"cores for one every {self.cadence_s:g} s")
        table = Table(*columns, title=title, title_justify="left")
        for row in self.rows():
            spent = [f"{row[f's_on_{cores}_cores']} s" for cores in _CORES]
            more = [] if self.cadence_s is None else [str(row["cores_for_the_cadence"])]
            table.add_row(str(row["task"]), *spent, "not measured", *more)
        _print(table)
        click.echo(
            f"a core, measured here on onnxruntime: MaxiMask {1 / core.maximask_per_mpix:.2f} "
            f"Mpix/s, deepcr {1 / core.deepcr_per_mpix:.2f} Mpix/s, MaxiTrack "
            f"{1 / core.maxitrack_per_tile:.1f} tiles/s, sky and stars {1 / core.sky_per_mpix:.0f} "
            "Mpix/s. More cores: computed, as if they added up, a detector on each. Reading files "
            "is not in it. No GPU has searched frames."
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        camera, costs = dataclasses.asdict(self.camera), dataclasses.asdict(self.of_a_core)
        return {"camera": camera, "s_of_a_core": costs, "exposure": self.rows()}


def _alone(focal_plane: _FocalPlane | None, alerts_per_visit: int | None, as_json: bool) -> None:
    """Print a focal plane without a survey's alerts."""
    if focal_plane is None or alerts_per_visit is not None:
        raise click.UsageError("--alerts-per-visit and --cadence go together, or --camera is given")
    if as_json:
        click.echo(json.dumps({"focal_plane": focal_plane.as_dict()}, indent=2))
        return
    focal_plane.show()


def _engine(name: str, planes: int, side_px: int) -> Manifest:
    """Returns the facts of an engine that judges so many stamps of this side."""
    engine = manifest.load(name)
    if engine.per is not Per.PIXEL:
        raise click.UsageError(f"--engine {name} judges exposures; --frame-rate is for those")
    if side_px not in engine.sides_px:
        sides = ", ".join(map(str, engine.sides_px))
        raise click.UsageError(f"--side {side_px}: the sides of {name} are {sides}")
    if planes > 1 and len(engine.planes) > 1:
        raise click.UsageError(f"--planes {planes}: {name} takes all planes of an alert at once")
    return engine


def _rate(
    engine: Manifest, rate: float | None, bench: Path | None, side_px: int
) -> tuple[float, str]:
    """Returns the stamps per second of one core, and the source of this number."""
    if rate is not None and bench is not None:
        raise click.UsageError("--rate, or --also-rate, and --bench exclude each other")
    if rate is not None:
        return rate, "as given"
    if bench is not None:
        return _best_rate(engine.name, bench, side_px), f"of {bench}"
    opened = runtimes.open_engine(
        engine.name, "onnxruntime", cache.default_home(os.environ), 1, progress=_say
    )
    (speed,) = speeds.cell([opened], _BATCH, side_px)
    return speed.images_per_s, f"measured here on {opened.runtime}, batches of {_BATCH}"


def _with_further(
    first: tuple[float, str],
    name: str | None,
    share: float,
    rate: float | None,
    bench: Path | None,
    side_px: int,
) -> tuple[float, str]:
    """Returns the stamps per second of one core that runs a further network too, and the source."""
    if name is None:
        return first
    engine = manifest.load(name)
    side = next((each for each in engine.sides_px if each >= side_px), side_px)
    further, its_source = _rate(_engine(name, 1, side), rate, bench, side)
    both = 1 / (1 / first[0] + share / further)
    return both, (
        f"from {first[0]:.1f} of the first network, {first[1]}, and {further:.1f} of {name} for "
        f"{share:.0%} of them, {its_source}"
    )


def _best_rate(name: str, path: Path, side_px: int) -> float:
    """Returns one core's best rate at a side, over a benchmark's runtimes and batch sizes."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        threads = document["machine"]["threads"] or document["machine"]["cpus"]
        rates = [
            float(speed["images_per_s"])
            for engine in document["engines"]
            if engine["engine"] == name
            for speed in engine["speeds"]
            if speed["side_px"] == side_px
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"{path} is not the output of `streamfilter engines bench {name} --json > {path}`: "
            f"{plain_words(error)}"
        ) from error
    if not rates:
        raise click.ClickException(
            f"{path} has no speed of {name} at {side_px} px: `streamfilter engines bench "
            f"{name} --json` writes one"
        )
    return max(rates) / float(threads)


def _exposures(
    survey: Survey, operation: Operation, detectors: int | None, frames_per_s: float | None
) -> ExposureWorkers | None:
    """Returns what judging exposures needs; None where none are watched."""
    if detectors is not None and frames_per_s is not None:
        return capacity.exposure_workers(survey, operation, detectors, frames_per_s)
    if (detectors, frames_per_s) != (None, None):
        raise click.UsageError("--detectors and --frame-rate go together")
    return None


def _say(line: str) -> None:
    click.echo(line, err=True)


def _show_alerts(survey: Survey, made: Plan, cores: int, rate: str) -> None:
    title = f"{survey.alerts_per_visit} alerts every {survey.cadence_s:g} s"
    _show(title, _rows(survey, made, cores))
    click.echo(f"rate: {rate}")
    if not made.enough_partitions:
        click.echo(
            f"{made.partitions} partitions feed at most {made.partitions} workers, "
            f"{made.fleet.workers} are needed: give each more cores (--cores), or a GPU"
        )


def _rows(survey: Survey, made: Plan, cores: int) -> list[tuple[str, str]]:
    streams, fetch = made.streams, made.fetch_bytes
    return [
        ("alerts in, mean", f"{survey.mean_per_s:.0f}/s, {_size(streams.mean_in_per_s)}/s"),
        *_fleet_rows(made.fleet, f"workers of {cores} cores"),
        ("bytes in while a visit is judged", f"{_size(streams.peak_in_per_s)}/s"),
        ("annotations out, mean", f"{_size(streams.mean_out_per_s)}/s"),
        ("partitions", str(made.partitions)),
        ("kept on brokers: alerts, annotations",
         f"{_size(streams.input_kept)}, {_size(streams.output_kept)}"),
        ("kafka.consumer \"fetch.max.bytes\"", str(fetch)),
        ("kafka.consumer \"queued.max.messages.kbytes\"", str(2 * fetch // 1024)),
    ]  # fmt: skip


def _fleet_rows(fleet: Fleet, name: str) -> list[tuple[str, str]]:
    return [
        (name, str(fleet.workers)),
        ("alerts of one worker", f"{fleet.alerts_per_s:.0f}/s"),
        (
            "a visit is judged in",
            f"{fleet.drain_s:.1f} s ({100 * fleet.busy:.0f} % of the cadence)",
        ),
        ("after a stop of one minute all is caught up in", _minute(fleet)),
    ]


def _minute(fleet: Fleet) -> str:
    return "never" if math.isinf(fleet.catch_up) else f"{60 * fleet.catch_up:.0f} s"


def _gpu_rows(gpus: Fleet | None, name: str) -> list[tuple[str, str]]:
    return [("GPUs", _UNKNOWN.format(name))] if gpus is None else _fleet_rows(gpus, "GPUs")


def _show_exposures(
    detectors: int | None, exposures: ExposureWorkers | None, focal_plane: _FocalPlane | None
) -> None:
    if exposures is not None:
        _show(f"exposures of {detectors} detectors", _exposure_rows(exposures))
    if focal_plane is not None:
        focal_plane.show()


def _exposure_rows(exposures: ExposureWorkers) -> list[tuple[str, str]]:
    return [
        ("workers", str(exposures.workers)),
        ("an exposure is judged in", f"{exposures.judged_s:.1f} s, by the one worker that has it"),
        ("partitions", str(exposures.partitions)),
    ]


def _document(
    per_core: float,
    source: str,
    made: Plan,
    gpus: Fleet | None,
    exposures: ExposureWorkers | None,
    focal_plane: _FocalPlane | None,
) -> str:
    def as_dict(part: Plan | Fleet | ExposureWorkers | None) -> Any:
        return None if part is None else dataclasses.asdict(part)

    whole = {
        "rate": {"stamps_per_s_of_a_core": per_core, "source": source},
        "cpu": as_dict(made),
        "gpu": as_dict(gpus),
        "exposures": as_dict(exposures),
        "focal_plane": None if focal_plane is None else focal_plane.as_dict(),
    }
    return json.dumps(whole, indent=2)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if count < 999.5 else f"{count:.0f} {unit}"


def _show(title: str, rows: list[tuple[str, str]]) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    for row in rows:
        table.add_row(*row)
    _print(table)


def _print(table: Table) -> None:
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table)
