"""``streamfilter track``: judges the tracking of exposures in files, without Kafka."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamfilter.cli import frame_files
from streamfilter.exposures import figures, frames
from streamfilter.exposures.purposes import MAPS
from streamfilter.exposures.records import Decision, DetectorEvidence, Judgement
from streamfilter.exposures.sky import Mesh
from streamfilter.exposures.tracking import TrackingRules, is_judged, why_undecided
from streamfilter.exposures.watcher import ExposureRules, Watcher

_STYLES = {Decision.OK: "green", Decision.TRACKING_ERROR: "red", Decision.CANNOT_TELL: "yellow"}
_HEAD = (
    "exposure", "detector", "decision", "decided by", "probability", "mean", "tiles", "stars",
    "elongation", "angle", "coherence", "FWHM",
)  # fmt: skip


@dataclass(slots=True)
class _Exposure:
    """The judged detectors of one exposure, and their pictures if a figure is drawn."""

    name: str
    detectors: list[DetectorEvidence] = field(default_factory=list)
    pictures: list[figures.DetectorPicture] = field(default_factory=list)


def _section(_context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    if given is not None and not frames.is_section(given):
        raise click.BadParameter(f"{given!r}: expected [x1:x2,y1:y2]", param=option)
    return given


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON line an exposure, all of it.")
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A PNG: tile maps, the worst cut-outs, the verdicts.",
)
@click.option(
    "--prior",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=TrackingRules().prior,
    show_default=True,
    help="Of a tracking error, before looking.",
)
@click.option("--together", is_flag=True, help="All files are detectors of one exposure.")
@frame_files.background
@click.option(
    "--section",
    callback=_section,
    help="Keep only [x1:x2,y1:y2] of each frame (from 1, inclusive).",
)
def track(
    files: tuple[str, ...],
    as_json: bool,
    figure: Path | None,
    prior: float,
    together: bool,
    background: str,
    section: str | None,
) -> None:
    """Judge the tracking of the exposures in FILES with MaxiTrack and the shapes of their stars.

    FILES are FITS images (.fits, .fits.fz, .fits.gz, file.fits[2] for one HDU), folders, or
    .list and .txt files with a path in each line. Each file is an exposure and each of its images
    a detector.

    The exit code is 0 also when an exposure fails or cannot be read: that is a finding; it is 1
    when none of the files is there or the engine cannot be had.
    """
    paths = frame_files.paths(files)
    engine = frame_files.engine("maxitrack")
    mesh = Mesh(as_reference=background == "reference")
    tracking = TrackingRules(prior=prior)
    watcher = Watcher(engine, ExposureRules(mesh=mesh, tracking=tracking))
    rules = frames.FrameRules(section=section, purposes=MAPS["generic"])
    table, rows = Table(*_HEAD), []
    for exposure in _judged_exposures(watcher, paths, rules, together, draw=figure is not None):
        judgement = watcher.judge(exposure.detectors)
        if as_json:
            click.echo(json.dumps(_line(exposure, judgement, tracking)))
        else:
            _add(table, exposure, judgement, tracking)
        if figure is not None:
            pictures = tuple(exposure.pictures)
            rows.append(figures.Row(Path(exposure.name).name, judgement, pictures))
    engine.close()
    if not as_json:
        out = Console()
        (out if out.is_terminal else Console(width=170)).print(table)
    if figure is not None:
        worst = sorted(rows, key=lambda row: -_badness(row.judgement))
        figures.draw(worst, figure)
        frame_files.say(f"figure: {figure}")


def _judged_exposures(
    watcher: Watcher, paths: list[str], rules: frames.FrameRules, together: bool, *, draw: bool
) -> Iterator[_Exposure]:
    """Yields the exposures in order; one detector's image is in memory at a time."""
    exposure = _Exposure("together")
    for path in paths:
        if not together:
            exposure = _Exposure(path)
        for frame in frames.read_frame_file(path, rules):
            judged = watcher.judge_frame(frame)
            evidence = judged.evidence
            if together:
                evidence = replace(evidence, detector=f"{Path(path).name}:{evidence.detector}")
            exposure.detectors.append(evidence)
            if draw:
                exposure.pictures.append(figures.picture_of(replace(judged, evidence=evidence)))
        if not together:
            yield exposure
    if together:
        yield exposure


def _badness(judgement: Judgement) -> float:
    """Returns a sort key: tracking errors are highest, then exposures that cannot be judged."""
    order = {Decision.TRACKING_ERROR: 2.0, Decision.CANNOT_TELL: 1.0, Decision.OK: 0.0}
    return order[judgement.decision] + (judgement.probability or 0.0) / 2


def _line(exposure: _Exposure, judgement: Judgement, rules: TrackingRules) -> dict[str, Any]:
    """Returns all facts of an exposure, with the field names of the records."""
    detectors = [asdict(evidence) for evidence in exposure.detectors]
    set_aside = [each.not_judged for each in exposure.detectors if each.not_judged is not None]
    why = (set_aside[0] if set_aside else why_undecided(judgement, rules)) or None
    said = {"exposure": exposure.name, "judgement": asdict(judgement), "why_undecided": why}
    return said | {"detectors": detectors}


def _add(table: Table, exposure: _Exposure, judgement: Judgement, rules: TrackingRules) -> None:
    name = escape(Path(exposure.name).name)
    for evidence in exposure.detectors:
        table.add_row(name, escape(evidence.detector), *_cells(evidence.judgement, rules, evidence))
    if len(exposure.detectors) > 1:
        table.add_row(name, "[bold]all[/]", *_cells(judgement, rules))


def _cells(
    judgement: Judgement, rules: TrackingRules, evidence: DetectorEvidence | None = None
) -> tuple[str, ...]:
    style = _STYLES[judgement.decision]
    decision = f"[{style}]{judgement.decision}[/]"
    if evidence is not None and not is_judged(evidence):
        why = escape(f"{evidence.not_evaluated or evidence.not_judged}: {evidence.detail}")
        return decision, why, *[""] * (len(_HEAD) - 4)
    shapes = judgement.shapes
    used, every = judgement.tiles_used, judgement.tiles_used + judgement.tiles_abstained
    return (
        decision,
        why_undecided(judgement, rules) or str(judgement.voice),
        _number(judgement.probability, 3),
        _number(judgement.reference_mean, 3),
        f"{used}/{every}",
        str(shapes.stars),
        _number(shapes.elongation, 2),
        _number(shapes.position_angle_deg, 0),
        _number(shapes.coherence, 2),
        _number(shapes.fwhm_px, 1),
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
