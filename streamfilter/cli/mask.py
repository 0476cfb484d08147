"""``streamfilter mask``: write MaxiMask's masks of frames in files."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import numpy.typing as npt

from streamfilter.cli import frame_files
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import plain_words
from streamfilter.exposures import frame_paths, frames, mask_files
from streamfilter.exposures.masking import Masker, MaskRules
from streamfilter.exposures.records import Frame, FrameReason, FrameRefused
from streamfilter.exposures.sky import Mesh, normalise

if TYPE_CHECKING:
    from astropy.io import fits

_FORMS = ("bits", "classes", "probabilities")
Pixels = npt.NDArray[np.number]


@dataclass(frozen=True, slots=True)
class _Job:
    """The options of the command."""

    masker: Masker
    rules: MaskRules
    mesh: Mesh
    form: str
    priors: bool
    rice: bool


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
    type=click.Choice(_FORMS),
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
@frame_files.background
@click.option("--rice", is_flag=True, help="Compress the masks' tiles (.fits.fz).")
def mask(
    files: tuple[str, ...], output: Path, form: str, priors: bool, background: str, rice: bool
) -> None:
    """Write which pixels of the frames in FILES are contaminated, and by what.

    FILES are as for `track`. x.fits gives x.mask.fits with the same HDUs: images of detectors
    become masks, everything else is copied, and the header names the classes, priors, thresholds
    and bits as the MaxiMask program does (that one's --single_mask is the default here).

    An HDU that cannot be copied is left out. The exit code is 1 when a file could not be masked;
    the other files are masked all the same. Files whose masks would have one name are refused
    before any is written.
    """
    targets = _targets(frame_files.paths(files), output, ".fz" if rice else "")
    engine = frame_files.engine("maximask")
    training = {row.code: row.training_prior for row in engine.manifest.classes}
    rules = MaskRules() if priors else MaskRules(priors=training)
    mesh = Mesh(as_reference=background == "reference")
    job = _Job(Masker(engine, rules), rules, mesh, form, priors, rice)
    output.mkdir(parents=True, exist_ok=True)
    failed = [path for path, target in targets.items() if not _mask_file(path, target, job)]
    engine.close()
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(targets)} files could not be masked")


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


def _mask_file(path: str, target: Path, job: _Job) -> bool:
    """Write one file's mask; returns False where it cannot be made."""
    from astropy.io import fits

    rules = frames.FrameRules(use_sections=False, mask_extensions=(), mask_planes=())
    masks: dict[int, fits.ImageHDU] = {}
    for frame in frames.read_frame_file(path, rules):
        if isinstance(frame, FrameRefused):
            click.echo(f"{path}: {frame.reason}: {frame.detail}", err=True)
            continue
        masks[frame.hdu] = _masked(frame, job)
    if not masks:
        return False
    # astropy warns of damaged cards in the copied headers; it repairs them, or raises.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            hdus = _among_copies(path, masks)
            whole = fits.HDUList([*_primary(hdus[0]), *hdus[1:]])
            whole.writeto(target, overwrite=True, output_verify="silentfix+ignore")
        except Exception as error:  # of many kinds, from whatever a copied HDU contains
            frame_files.say(f"{path}: the mask cannot be written: {_in_one_line(error)}")
            return False
    return True


def _among_copies(path: str, masks: "Mapping[int, fits.ImageHDU]") -> "list[fits.ImageHDU]":
    """Returns the file's HDUs with masks in place of frames; the mask alone for ``x.fits[2]``."""
    from astropy.io import fits

    file, only = frames.split_hdu(path)
    if only is not None:
        return list(masks.values())
    hdus = []
    with fits.open(file, memmap=False) as original:
        for index, hdu in enumerate(original):
            try:
                hdus.append(masks.get(index) or _copied(hdu))
            except Exception as error:  # the HDU is cut, or damaged in another way
                frame_files.say(f"{path}[{index}]: left out: {_in_one_line(error)}")
    return hdus


def _in_one_line(error: Exception) -> str:
    """Returns an error's words on one line."""
    return " ".join(plain_words(error).split())


def _masked(frame: Frame, job: _Job) -> "fits.ImageHDU":
    """Returns a detector's mask with the header of the MaxiMask program."""
    from astropy.io import fits

    codes = job.masker.codes
    normalised = normalise(frame.image, None, job.mesh)
    if isinstance(normalised, FrameReason):
        click.echo(f"{frame.source}[{frame.hdu}]: {normalised}: the mask is empty", err=True)
        shape = frame.image.shape if job.form == "bits" else (len(codes), *frame.image.shape)
        pixels: Pixels = np.zeros(shape, np.int16 if job.form == "bits" else np.uint8)
    elif job.form == "bits":
        result = job.masker.mask(normalised[0])
        pixels = result.bits
        click.echo(f"{frame.source}[{frame.hdu}]: {_shares(result.areas)}")
    else:
        pixels = job.masker.probabilities(normalised[0])
        if job.form == "classes":
            limits = [job.rules.thresholds[code] for code in codes]
            pixels = (pixels > np.array(limits, np.float32)[:, None, None]).astype(np.uint8)
    hdu = fits.ImageHDU(pixels)
    thresholded, single = job.form != "probabilities", job.form == "bits"
    mask_files.fill(
        hdu.header, codes, job.rules, priors=job.priors, thresholded=thresholded, single=single
    )
    return _compressed(hdu) if job.rice and single else hdu


def _shares(areas: Mapping[str, float]) -> str:
    """Returns the contaminants that have any pixel, as text, the largest share first."""
    bad = [(area, code) for code, area in areas.items() if area > 0 and not BY_CODE[code].normal]
    return ", ".join(f"{code} {share:.3%}" for share, code in sorted(bad, reverse=True)) or "clean"


def _copied(hdu: "fits.ImageHDU") -> "fits.ImageHDU":
    """Returns a copy of another HDU, uncompressed, as the MaxiMask program writes it."""
    from astropy.io import fits

    if isinstance(hdu, fits.CompImageHDU):
        return fits.ImageHDU(hdu.data, name=hdu.name)
    return hdu.copy()


def _compressed(hdu: "fits.ImageHDU") -> "fits.CompImageHDU":
    from astropy.io import fits

    return fits.CompImageHDU(hdu.data, hdu.header, compression_type="RICE_1")


def _primary(hdu: "fits.ImageHDU") -> "list[fits.PrimaryHDU]":
    """Returns the first HDU as a primary one; before a compressed one or a table, an empty one."""
    from astropy.io import fits

    if isinstance(hdu, fits.PrimaryHDU):
        return [hdu]
    if isinstance(hdu, fits.ImageHDU):
        return [fits.PrimaryHDU(hdu.data, hdu.header)]
    return [fits.PrimaryHDU(), hdu]
