"""Makes one file of masks from one file of frames, for ``streamfilter mask``."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import numpy.typing as npt

from streamfilter.cli import frame_files
from streamfilter.cli.frame_files import FileProgress
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import plain_words
from streamfilter.exposures import frames, mask_files
from streamfilter.exposures.frames import FrameFile, FrameRules
from streamfilter.exposures.masking import Done, Masker, MaskRules, Unsearched, searchable
from streamfilter.exposures.records import Frame, FrameReason, FrameRefused
from streamfilter.exposures.refusal import NO_MEMORY
from streamfilter.exposures.sky import Mesh

if TYPE_CHECKING:
    from astropy.io import fits

_TYPES = {"bits": np.int16, "classes": np.uint8, "probabilities": np.float32}
FORMS = tuple(_TYPES)
_MIB = 2**20
Pixels = npt.NDArray[np.number]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskJob:
    """How files are masked, and with what."""

    masker: Masker
    rules: MaskRules
    reading: FrameRules
    mesh: Mesh
    form: str
    """One of ``FORMS``."""
    priors: bool
    """Whether the network's output is changed to the priors of the rules."""
    rice: bool
    """Whether images of bits are compressed."""

    @property
    def single(self) -> bool:
        """Whether the classes are bits of one image."""
        return self.form == "bits"

    @property
    def pixel_bytes(self) -> int:
        """Memory of one pixel's mask while it is made."""
        return 2 if self.single else 4 * len(self.masker.codes)


@dataclass(slots=True)
class MaskOutcome:
    """What became of one file, or of all."""

    written: int = 0
    """Files with masks."""
    images: int = 0
    """Detectors and planes that were searched."""
    pixels: int = 0
    without: Counter[FrameReason] = field(default_factory=Counter)
    """Detectors, planes and whole files without a mask, by reason."""
    unwritten: int = 0
    """Files whose masks could not be written."""

    def add(self, other: "MaskOutcome") -> None:
        """Count another's too."""
        self.written += other.written
        self.images += other.images
        self.pixels += other.pixels
        self.without += other.without
        self.unwritten += other.unwritten

    def refuse(self, place: str, reason: FrameReason, detail: str) -> None:
        """Count and tell what has no mask."""
        self.without[reason] += 1
        frame_files.say(f"{place}: {reason}: {detail}")


def mask_file(path: str, target: Path, job: MaskJob, progress: FileProgress) -> MaskOutcome:
    """Writes one file's masks; tells what has none, and why. No content of a file raises."""
    outcome = MaskOutcome()
    with progress.file(path) as counting:
        file = frames.open_file(path, job.reading)
        if isinstance(file, FrameRefused):
            outcome.refuse(path, file.reason, file.detail)
            return outcome
        if (detail := _without_room(file, job)) is not None:
            outcome.refuse(path, FrameReason.TOO_LARGE, detail)
            return outcome
        alone = frames.split_hdu(path)[1] is not None
        done = counting.of(file.pixels)
        masks = {index: _mask(file, index, job, outcome, done, alone) for index in file.chosen}
        if all(hdu.data is None for hdu in masks.values()):
            return outcome
        try:
            hdus = list(masks.values()) if alone else _among_copies(file, masks)
            _write(hdus, target)
            outcome.written = 1
        except Exception as error:  # of many kinds, from whatever a copied HDU contains
            frame_files.say(f"{path}: the mask cannot be written: {_in_one_line(error)}")
            outcome.unwritten = 1
    return outcome


def _without_room(file: FrameFile, job: MaskJob) -> str | None:
    """Returns why a file's masks do not fit into memory; None where they do."""
    needed, free = file.pixels * job.pixel_bytes, job.reading.memory_bytes
    if free is None or needed <= free:
        return None
    return f"its masks take {needed // _MIB} MiB of memory; {free // _MIB} MiB are free"


def _mask(
    file: FrameFile, index: int, job: MaskJob, outcome: MaskOutcome, done: Done, alone: bool
) -> "fits.ImageHDU":
    """Returns the mask of one HDU: (height, width), with axes for planes and classes before them.

    It is 0 where no sky could be measured, and has no pixels where none of its planes was read.
    """
    from astropy.io import fits

    hdu, planes = fits.ImageHDU(), list[Pixels | None]()
    for frame in file.frames_of(index):
        if not planes:
            _describe(hdu.header, frame, job, alone=alone)
        planes.append(_plane(frame, hdu.header, job, outcome, done))
    made = next((each for each in planes if each is not None), None)
    if made is None:
        return hdu
    filled = [np.zeros_like(made) if each is None else each for each in planes]
    axes = file.shape(index)[:-2] if len(filled) > 1 else ()
    hdu.data = np.stack(filled).reshape(*axes, *made.shape)
    return _compressed(hdu) if job.rice and job.single else hdu


def _describe(
    header: "fits.Header", frame: Frame | FrameRefused, job: MaskJob, *, alone: bool
) -> None:
    mask_files.fill(
        header,
        job.masker.codes,
        job.rules,
        frame if isinstance(frame, Frame) else None,
        priors=job.priors,
        thresholded=job.form != "probabilities",
        single=job.single,
        standing_alone=alone,
    )


def _plane(
    frame: Frame | FrameRefused,
    header: "fits.Header",
    job: MaskJob,
    outcome: MaskOutcome,
    done: Done,
) -> Pixels | None:
    """Returns the mask of a frame; None where it was not read."""
    place = f"{frame.source}[{frame.hdu}]"
    if isinstance(frame, FrameRefused):
        outcome.refuse(place, frame.reason, frame.detail)
        mask_files.without_mask(header, frame.reason)
        return None
    place += "" if frame.plane is None else f" plane {frame.plane}"
    pixels = _searched(frame, place, job, done)
    if isinstance(pixels, Unsearched):
        outcome.refuse(place, pixels.reason, f"{pixels.detail}; the mask is 0 everywhere")
        mask_files.without_mask(header, pixels.reason)
        classes = () if job.single else (len(job.masker.codes),)
        return np.zeros((*classes, *frame.image.shape), _TYPES[job.form])
    outcome.images += 1
    outcome.pixels += frame.image.size
    return pixels


def _searched(frame: Frame, place: str, job: MaskJob, done: Done) -> Pixels | Unsearched:
    """Returns the mask of a frame, or why it was not searched."""
    try:
        image = searchable(frame.image, job.mesh)
        if isinstance(image, Unsearched):
            return image
        if job.single:
            result = job.masker.mask(image, done)
            click.echo(f"{place}: {_shares(result.areas, job.masker.codes)}")
            return result.bits
        planes: Pixels = job.masker.probabilities(image, done)
        if job.form == "classes":
            limits = [job.rules.thresholds[code] for code in job.masker.codes]
            planes = (planes > np.array(limits, np.float32)[:, None, None]).astype(np.uint8)
    except MemoryError:
        return Unsearched(FrameReason.TOO_LARGE, NO_MEMORY)
    return planes


def _shares(areas: Mapping[str, float], codes: Sequence[str]) -> str:
    """Returns the contaminants that have any pixel, as text, the largest share first."""
    bad = [(areas[code], code) for code in codes if areas[code] > 0 and not BY_CODE[code].normal]
    return ", ".join(f"{code} {share:.3%}" for share, code in sorted(bad, reverse=True)) or "clean"


def _among_copies(file: FrameFile, masks: "Mapping[int, fits.ImageHDU]") -> "list[fits.ImageHDU]":
    """Returns the file's HDUs, with masks in place of frames."""
    hdus = []
    for index in range(len(file)):
        hdu = masks[index] if index in masks else file.copy(index)
        if isinstance(hdu, FrameRefused):
            frame_files.say(f"{file.source}[{index}]: left out: {hdu.reason}: {hdu.detail}")
        else:
            hdus.append(hdu)
    return hdus


def _write(hdus: "list[fits.ImageHDU]", target: Path) -> None:
    from astropy.io import fits

    # astropy warns of damaged cards in the copied headers; it repairs them, or raises.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = fits.HDUList([*_primary(hdus[0]), *hdus[1:]])
        whole.writeto(target, overwrite=True, output_verify="silentfix+ignore")


def _in_one_line(error: Exception) -> str:
    """Returns an error's words on one line."""
    return " ".join(plain_words(error).split())


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
