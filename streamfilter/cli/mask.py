"""``streamfilter mask``: write masks of frames in files."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from streamfilter.cli import frame_files, options
from streamfilter.cli.frame_files import SOME_LEFT, FileProgress
from streamfilter.cli.masked_file import FORMS, MaskJob, MaskOutcome, mask_file
from streamfilter.contaminants import CODES
from streamfilter.exposures import frame_paths
from streamfilter.exposures.masking import Masker
from streamfilter.inference.manifest import Per
from streamfilter.service.assembly.contaminants import (
    file_mask_rules,
    opened_for_cosmic_rays,
    uncut,
)
from streamfilter.service.assembly.exposures import file_frame_limits, mesh_of


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the masks; made where it is not there.",
)
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default="bits",
    show_default=True,
    help="One image of bit codes, a cube of 0 and 1 per class, or a cube of probabilities.",
)
@click.option(
    "--priors/--no-priors",
    default=True,
    show_default=True,
    help="Change the network's output to the deployment priors, as MaxiMask does.",
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    type=click.Choice(CODES),
    help="Tell this class alone; may be given several times.  "
    "[default: all, or exposures.contaminants.classes of the settings]",
)
@frame_files.background
@click.option("--rice", is_flag=True, help="Compress the masks' tiles (.fits.fz).")
@frame_files.jobs
@options.settings
def mask(
    files: tuple[str, ...],
    output: Path,
    form: str,
    priors: bool,
    classes: tuple[str, ...],
    background: str | None,
    rice: bool,
    jobs: int,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Write which pixels of the frames in FILES are contaminated, and by what.

    FILES are as for `track`. x.fits gives x.mask.fits with the same HDUs: images of detectors
    become masks, everything else is copied. A cube becomes a mask of each of its planes. A mask's
    header has what the image's says of place and time, and names file, classes, priors, thresholds
    and bits as the MaxiMask program does (that one's --single_mask is the default here).

    deepcr finds the cosmic rays and MaxiMask the other classes, or MaxiMask all, as its program
    does, with exposures.contaminants.cosmic_rays empty. Networks, priors, thresholds, classes and
    limits are those of the stream: [exposures.contaminants] and exposures.max_frame_... in --config
    and --set.

    An image without a mask says why (NOMASK in its header); an HDU that cannot be copied is left
    out. Files whose masks would have one name are refused before any is written.

    \b
    Examples:
      streamfilter mask night/ -o masks --config site.toml --jobs 2
      streamfilter mask x.fits -o . --class CR --set exposures.contaminants.thresholds.CR=0.2
      streamfilter mask x.fits -o . --class CR --set exposures.contaminants.cosmic_rays=
      streamfilter mask big.fits -o . --set exposures.max_frame_pixels=400000000

    Exit code 0: every image has its mask. 3: some have none, the others have. 1: none has, or the
    engine cannot be had. 2: wrong arguments or settings.
    """
    settings = frame_files.load(config, overrides, background=background)
    targets = _targets(frame_files.paths(files), output, ".fz" if rice else "")
    chosen = settings.exposures.contaminants
    key = "exposures.contaminants.engine"
    engine = frame_files.engine(settings, key, chosen.engine, Per.PIXEL)
    cosmic_rays = opened_for_cosmic_rays(settings, engine, frame_files.say, os.cpu_count() or 1)
    by = None if cosmic_rays is None else cosmic_rays.manifest
    rules = file_mask_rules(chosen, engine.manifest, by, classes, priors=priors)
    job = MaskJob(
        masker=Masker(engine, rules, cosmic_rays, all_areas=False),
        rules=rules,
        reading=uncut(file_frame_limits(settings.exposures, jobs)),
        mesh=mesh_of(settings),
        form=form,
        priors=priors,
        rice=rice,
    )
    output.mkdir(parents=True, exist_ok=True)
    _mask_files(targets, job, jobs)
    for each in filter(None, (engine, cosmic_rays)):
        each.close()


def _targets(paths: Iterable[str], output: Path, ending: str) -> dict[str, Path]:
    """Returns the file of each frame's mask.

    Raises
    ------
    ClickException
        Two frames would have the same file.
    """
    frame_of: dict[Path, str] = {}
    for path in paths:
        target = output / (frame_paths.mask_name(path) + ending)
        other = frame_of.setdefault(target, path)
        if other != path:
            raise click.ClickException(
                f"{other} and {path} would both be masked in {target}; "
                "give each a folder of its own (-o)"
            )
    return {path: target for target, path in frame_of.items()}


def _mask_files(targets: Mapping[str, Path], job: MaskJob, jobs: int) -> None:
    """Write the masks of all files, and say what became of them."""
    started = time.monotonic()
    names = list(targets)
    progress, total = FileProgress(names), MaskOutcome()

    def work(path: str) -> MaskOutcome:
        return mask_file(path, targets[path], job, progress)

    with progress.shown():
        for outcome in frame_files.in_order(names, work, jobs):
            total.add(outcome)
    _summarise(total, len(names), time.monotonic() - started)


def _summarise(total: MaskOutcome, files: int, took_s: float) -> None:
    """Say what became of all files, and end with a code that a script can use."""
    megapixels = total.pixels / 1e6
    left = f"; without a mask: {frame_files.counted(total.without)}" if total.without else ""
    frame_files.say(
        f"masks: {total.written} of {files} files, {total.images} images of {megapixels:.1f} Mpx "
        f"in {took_s:.1f} s ({megapixels / max(took_s, 1e-3):.2f} Mpx/s){left}"
    )
    if not total.images or not total.written:
        raise click.ClickException("no image could be masked")
    if total.without or total.unwritten:
        raise click.exceptions.Exit(SOME_LEFT)
