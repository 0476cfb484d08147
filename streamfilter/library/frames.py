"""Tracking and contaminants of frames without a broker: an array or a file in, a verdict out."""

import io
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from streamfilter import config as settings_room
from streamfilter.config import Settings
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures.frames import FrameRules, read_frame_file, read_frames
from streamfilter.exposures.masking import Bits, Masker, Unsearched, searchable
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    Frame,
    FrameRefused,
    Judgement,
    Mask,
)
from streamfilter.exposures.tracking import why_undecided
from streamfilter.exposures.watcher import Watcher
from streamfilter.inference.manifest import Per
from streamfilter.library.saying import say
from streamfilter.service.assembly.contaminants import (
    file_mask_rules,
    opened_for_cosmic_rays,
    uncut,
)
from streamfilter.service.assembly.engines import checked_engine, opened
from streamfilter.service.assembly.exposures import (
    file_frame_limits,
    mesh_of,
    open_watcher,
    tracking_rules,
)

IN_MEMORY = "array"
"""Source of a frame that is given as an array."""

Image = npt.NDArray[np.number]
Opened = TypeVar("Opened")
_OPENED: dict[tuple[str, str], object] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """The verdict on the tracking of one exposure, and the evidence behind it."""

    judgement: Judgement
    """Probabilities of network and stars, the stars' shapes, the prior."""
    detectors: tuple[DetectorEvidence, ...]
    """One for each image: its judgement and tiles, or why it was not evaluated."""
    why_undecided: str
    """In words; empty where it was decided."""

    @property
    def decision(self) -> Decision:
        """``ok``, ``tracking_error`` or ``cannot_tell``."""
        return self.judgement.decision

    @property
    def probability(self) -> float | None:
        """Of a tracking error, under the prior; None where nothing speaks."""
        return self.judgement.probability


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """Which pixels of a frame are contaminated, and by what."""

    bits: Bits
    """(height, width), int16: the sum of the bits of a pixel's classes, 0 where it is clean."""
    areas: Mapping[str, float]
    """Share of the frame's pixels by class code, in [0, 1]."""
    codes: tuple[str, ...]
    """The classes that ``bits`` tells."""

    def __getitem__(self, code: str) -> Mask:
        """Returns the mask (height, width) of a class, True where a pixel is of it.

        Raises
        ------
        KeyError
            The mask does not tell this class.
        """
        if code not in self.codes:
            raise KeyError(f"no class {code!r}; there are {', '.join(self.codes)}")
        mask: Mask = (self.bits & BY_CODE[code].bit) != 0
        return mask

    @property
    def contaminated(self) -> Mask:
        """The mask (height, width) of all contaminants; a source's own pixels are none."""
        bad = sum(BY_CODE[code].bit for code in self.codes if not BY_CODE[code].normal)
        mask: Mask = (self.bits & bad) != 0
        return mask


def track(
    image: Image | str | os.PathLike[str],
    *,
    masked: Mask | None = None,
    saturation: float | None = None,
    config: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
) -> Tracked:
    """Returns whether the telescope tracked, as ``streamfilter track`` says it of a file.

    The network is fetched at first use and stays open for later calls; threads may share it.

    Parameters
    ----------
    image
        (height, width), a detector's image in any linear unit, NaN where there are no data; or the
        path of a FITS file, whose images are the detectors of one exposure (``x.fits[2]`` is one).
    masked
        (height, width), True where a pixel is not to be used; of an array only.
    saturation
        Level in the image's unit from which on pixels are saturated; of an array only.
    config, overrides
        Settings, as for ``Filter``; ``exposures.prior=0.1`` changes the prior.

    Returns
    -------
    Tracked
        Also of a file that cannot be read: its evidence says why, and it is ``cannot_tell``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        An array has other axes than two, or ``masked`` another shape.
    ConfigurationInvalid, EngineUnavailable
        A setting is wrong; the network cannot be had.
    """
    settings = _settings(config, overrides)
    key = "exposures.engine"
    watcher = _kept(key, settings, partial(_watcher, settings, key))
    rules = file_frame_limits(settings.exposures)
    read = _read(image, rules, masked, saturation)
    detectors = tuple(watcher.judge_frame(each).evidence for each in read)
    judgement = watcher.judge(detectors)
    aside = next((each.not_judged for each in detectors if each.not_judged is not None), None)
    why = aside or why_undecided(judgement, tracking_rules(settings.exposures))
    return Tracked(judgement, detectors, str(why))


def mask(
    image: Image | str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    config: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
) -> Masked:
    """Returns which pixels of a frame are contaminated, as ``streamfilter mask`` writes it.

    deepcr finds the cosmic rays and MaxiMask the other classes. The networks are fetched at first
    use and stay open for later calls.

    Parameters
    ----------
    image
        As for ``track``; of a file with several images name one, such as ``x.fits[2]``.
    classes
        Tell these alone, by their codes; empty: all, or those of the settings.
    config, overrides
        Settings, as for ``Filter``: priors and thresholds stand in ``exposures.contaminants``; with
        ``exposures.contaminants.cosmic_rays=`` (empty) MaxiMask finds all, as its program does.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    MessageRejected
        The frame cannot be read or searched; ``detail`` says why.
    ValueError
        An array has other axes than two, or the file has several images.
    ConfigurationInvalid, EngineUnavailable
        A setting or class is wrong; the network cannot be had.
    """
    more = [f"exposures.contaminants.classes={list(classes)}"] if classes else []
    settings = _settings(config, [*overrides, *more])
    key = "exposures.contaminants.engine"
    masker = _kept(key, settings, partial(_masker, settings, key))
    rules = uncut(file_frame_limits(settings.exposures))
    frames = list(_read(image, rules, None, None))
    if len(frames) > 1:
        names = ", ".join(each.detector for each in frames)
        raise ValueError(
            f"{image} has {len(frames)} images ({names}): name one, such as "
            f"{image}[{frames[0].hdu}]"
        )
    (frame,) = frames
    found: Frame | FrameRefused | Unsearched = frame
    if isinstance(frame, Frame):
        searched = searchable(frame.image, mesh_of(settings))
        if not isinstance(searched, Unsearched):
            result = masker.mask(searched)
            return Masked(result.bits, result.areas, masker.codes)
        found = searched
    assert isinstance(found, FrameRefused | Unsearched)
    raise MessageRejected(
        Reason.FRAME_UNREADABLE, f"{frame.source}: {found.reason}: {found.detail}"
    )


def _settings(config: str | os.PathLike[str] | None, overrides: Iterable[str]) -> Settings:
    return settings_room.load(None if config is None else Path(config), overrides=overrides)


def _kept(key: str, settings: Settings, make: Callable[[], Opened]) -> Opened:
    """Returns what was made before with the same settings, or makes it and keeps it."""
    with _LOCK:
        place = key, settings_room.fingerprint(settings)
        if place not in _OPENED:
            _OPENED[place] = make()
        return cast("Opened", _OPENED[place])


def _watcher(settings: Settings, key: str) -> Watcher:
    checked_engine(key, settings.exposures.engine, Per.TILE)
    return open_watcher(settings, say, threads=os.cpu_count() or 1)


def _masker(settings: Settings, key: str) -> Masker:
    chosen = settings.exposures.contaminants
    checked_engine(key, chosen.engine, Per.PIXEL)
    threads = os.cpu_count() or 1
    engine = opened(settings, chosen.engine, say, threads=threads)
    cosmic_rays = opened_for_cosmic_rays(settings, engine, say, threads)
    by = None if cosmic_rays is None else cosmic_rays.manifest
    return Masker(engine, file_mask_rules(chosen, engine.manifest, by), cosmic_rays)


def _read(
    image: Image | str | os.PathLike[str],
    rules: FrameRules,
    masked: Mask | None,
    saturation: float | None,
) -> "Iterable[Frame | FrameRefused]":
    """Returns the frames of a file or an array."""
    if isinstance(image, str | os.PathLike):
        if masked is not None or saturation is not None:
            raise ValueError("masked and saturation are for an array; a file has its own")
        return read_frame_file(os.fspath(image), rules)
    return read_frames(_as_fits(np.asarray(image), masked, saturation), IN_MEMORY, rules)


def _as_fits(image: Image, masked: Mask | None, saturation: float | None) -> bytes:
    """Returns an array as the file that a camera would write: both are then read alike."""
    from astropy.io import fits

    if image.ndim != 2 or image.dtype.kind not in "iuf":
        raise ValueError(
            f"an array of {image.dtype} and shape {image.shape}; expected numbers (height, width)"
        )
    if image.dtype.kind == "f" and image.dtype.itemsize != 8:
        image = image.astype(np.float32, copy=False)
    hdus = fits.HDUList([fits.PrimaryHDU(image)])
    if saturation is not None:
        hdus[0].header["SATURATE"] = saturation
    if masked is not None:
        if masked.shape != image.shape:
            raise ValueError(f"masked has shape {masked.shape}; the image has {image.shape}")
        hdus.append(fits.ImageHDU(np.asarray(masked, np.bool_).astype(np.uint8), name="BPM"))
    out = io.BytesIO()
    hdus.writeto(out)
    return out.getvalue()
