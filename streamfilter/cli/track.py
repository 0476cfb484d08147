"""``streamfilter track``: judges the tracking of exposures in files, without Kafka."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamfilter.cli import frame_files, options
from streamfilter.cli.frame_files import SOME_LEFT, FileProgress
from streamfilter.exposures import figures, frames
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    Frame,
    FrameReason,
    FrameRefused,
    Judgement,
)
from streamfilter.exposures.sections import is_section
from streamfilter.exposures.tracking import TrackingRules, is_judged, why_undecided
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.manifest import Per
from streamfilter.service.assembly.exposures import file_frame_limits, mesh_of, tracking_rules

FAILED = 4
"""Exit code, where it is asked for: an exposure has a tracking error."""

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


@dataclass(slots=True)
class _Totals:
    """What was decided of all exposures."""

    decisions: Counter[Decision] = field(default_factory=Counter)
    without: Counter[FrameReason] = field(default_factory=Counter)
    """Detectors that were not evaluated, by reason."""

    def add(self, exposure: _Exposure, judgement: Judgement) -> None:
        """Count an exposure."""
        self.decisions[judgement.decision] += 1
        reasons = (each.not_evaluated for each in exposure.detectors)
        self.without.update(reason for reason in reasons if reason is not None)

    def line(self, took_s: float) -> str:
        """Returns all of it in one line."""
        counts = ", ".join(f"{self.decisions[each]} {each}" for each in Decision)
        reasons = f"; detectors not judged: {frame_files.counted(self.without)}"
        return f"exposures: {counts}, in {took_s:.1f} s{reasons if self.without else ''}"

    def exit_code(self) -> int:
        """Returns what a script is told of the exposures."""
        if self.decisions[Decision.TRACKING_ERROR]:
            return FAILED
        return SOME_LEFT if self.decisions[Decision.CANNOT_TELL] or self.without else 0


def _section(_context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    if given is not None and not is_section(given):
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
    help="Of a tracking error, before looking.  "
    f"[default: {TrackingRules().prior}, or exposures.prior of the settings]",
)
@click.option("--together", is_flag=True, help="All files are detectors of one exposure.")
@frame_files.background
@click.option(
    "--section",
    callback=_section,
    help="Keep only [x1:x2,y1:y2] of each frame (from 1, inclusive).",
)
@click.option(
    "--exit-code",
    "tell",
    is_flag=True,
    help=f"End with {FAILED} where an exposure has a tracking error, with {SOME_LEFT} where none "
    "has and one could not be judged.",
)
@frame_files.jobs
@options.settings
def track(
    files: tuple[str, ...],
    as_json: bool,
    figure: Path | None,
    prior: float | None,
    together: bool,
    background: str | None,
    section: str | None,
    tell: bool,
    jobs: int,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Judge the tracking of the exposures in FILES with MaxiTrack and the shapes of their stars.

    FILES are FITS images (.fits, also .fz, .gz, .bz2, .xz, .Z; file.fits[2] for one HDU), folders,
    or .list and .txt files with a path in each line; what is left out of folders is told. Each file
    is an exposure and each of its images a detector, of a cube each plane.

    Prior, limits and what counts as round are those of the stream: [exposures] in --config and
    --set.

    \b
    Examples:
      streamfilter track night/ --figure night.png --jobs 2
      streamfilter track x.fits --exit-code || echo "look at x.fits"

    Exit code 0: done, also where an exposure fails or cannot be read, which is a finding; see
    --exit-code. 1: none of the files is there, or the engine cannot be had. 2: wrong arguments or
    settings.
    """
    started = time.monotonic()
    settings = frame_files.load(config, overrides, background=background, prior=prior)
    paths = frame_files.paths(files)
    key = "exposures.engine"
    engine = frame_files.engine(settings, key, settings.exposures.engine, Per.TILE)
    tracking = tracking_rules(settings.exposures)
    watcher = Watcher(engine, ExposureRules(mesh=mesh_of(settings), tracking=tracking))
    reading = replace(file_frame_limits(settings.exposures, jobs), section=section)
    progress, totals = FileProgress(paths), _Totals()

    def work(path: str) -> _Exposure:
        return _judged(watcher, path, reading, progress, draw=figure is not None)

    with progress.shown():
        exposures = frame_files.in_order(paths, work, jobs)
        shown = _Shown(tracking, as_json, figure is not None)
        for exposure in _together(exposures) if together else exposures:
            judgement = watcher.judge(exposure.detectors)
            totals.add(exposure, judgement)
            shown.add(exposure, judgement)
    engine.close()
    shown.finish(figure)
    frame_files.say(totals.line(time.monotonic() - started))
    if tell and totals.exit_code():
        raise click.exceptions.Exit(totals.exit_code())


class _Shown:
    """What is printed and drawn of exposures: JSON lines at once, a table and a figure at the end.

    Parameters
    ----------
    rules
        By which they were judged.
    drawn
        Whether a figure is asked for.
    """

    def __init__(self, rules: TrackingRules, as_json: bool, drawn: bool) -> None:
        self._rules, self._as_json, self._drawn = rules, as_json, drawn
        self._table, self._rows = Table(*_HEAD), list[figures.Row]()

    def add(self, exposure: _Exposure, judgement: Judgement) -> None:
        """Show one more."""
        if self._as_json:
            click.echo(json.dumps(_line(exposure, judgement, self._rules)))
        else:
            _add(self._table, exposure, judgement, self._rules)
        if self._drawn:
            pictures = tuple(exposure.pictures)
            self._rows.append(figures.Row(Path(exposure.name).name, judgement, pictures))

    def finish(self, figure: Path | None) -> None:
        """Print the table and draw the figure."""
        if not self._as_json:
            out = Console()
            (out if out.is_terminal else Console(width=170)).print(self._table)
        if figure is not None:
            worst = sorted(self._rows, key=lambda row: -_badness(row.judgement))
            figures.draw(worst, figure)
            frame_files.say(f"figure: {figure}")


def _judged(
    watcher: Watcher, path: str, rules: frames.FrameRules, progress: FileProgress, *, draw: bool
) -> _Exposure:
    """Returns a file's detectors, judged one after the other: one image is in memory at a time."""
    exposure = _Exposure(path)
    with progress.file(path) as counting:
        file = frames.open_file(path, rules)
        read: Iterable[Frame | FrameRefused]
        read, pixels = (
            ((file,), 0) if isinstance(file, FrameRefused) else (file.frames(), file.pixels)
        )
        done = counting.of(pixels)
        for frame in read:
            judged = watcher.judge_frame(frame)
            exposure.detectors.append(judged.evidence)
            if draw:
                exposure.pictures.append(figures.picture_of(judged))
            if isinstance(frame, Frame):
                done(frame.image.size)
    return exposure


def _together(exposures: Iterable[_Exposure]) -> Iterator[_Exposure]:
    """Yields one exposure whose detectors are those of all files."""
    whole = _Exposure("together")
    for exposure in exposures:
        name = Path(exposure.name).name
        renamed = [replace(each, detector=f"{name}:{each.detector}") for each in exposure.detectors]
        whole.detectors.extend(renamed)
        if exposure.pictures:
            pairs = zip(exposure.pictures, renamed, strict=True)
            whole.pictures.extend(replace(picture, evidence=each) for picture, each in pairs)
    yield whole


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
    used = judgement.tiles_used
    every = used + judgement.tiles_abstained + judgement.tiles_not_needed
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
