"""Finds contaminants in the stream's frames: shares of their areas, and masks to keep or send."""

import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import structlog

from streamfilter.exposures.mask_files import packed
from streamfilter.exposures.masking import Masker, MaskRules, too_small
from streamfilter.exposures.noise import evened
from streamfilter.exposures.records import Announced, ContaminantAreas, Frame, FrameReason
from streamfilter.exposures.sky import Mesh, normalise, unusable
from streamfilter.files import write_whole
from streamfilter.records import Image

log = structlog.get_logger(__name__)
Made = TypeVar("Made")

_NICENESS = 10  # a tenth of what others get: masks go on where others keep the machine busy
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class FrameContaminants:
    """The contaminants of a frame."""

    areas: ContaminantAreas
    mask: bytes | None
    """The mask as a FITS file, where it is wanted."""


class FrameMasks:
    """Searches frames for contaminants, in threads of low priority.

    Parameters
    ----------
    folder
        Where masks are written; None writes none.
    sent
        Whether masks are handed back.
    """

    def __init__(
        self,
        masker: Masker,
        rules: MaskRules,
        *,
        mesh: Mesh | None = None,
        folder: Path | None = None,
        sent: bool = False,
    ) -> None:
        self._masker, self._rules = masker, rules
        self._mesh, self._folder, self._sent = mesh, folder, sent

    def search(
        self, frame: Frame, image: Image | None, announced: Announced
    ) -> FrameContaminants | None:
        """Returns the contaminants of a frame; None where it is too small, or its sky is unknown.

        Parameters
        ----------
        image
            The frame in units of its noise, where it was normalised already.
        """
        yield_to_others()
        if too_small(frame.image) is not None:
            return None
        if image is None:
            normalised = normalise(frame.image, frame.masked, self._mesh)
            if isinstance(normalised, FrameReason):
                return None
            image = normalised[0]
        if not (self._mesh and self._mesh.as_reference):
            image = evened(image, unusable(frame.image, frame.masked))
        found = self._masker.mask(image)
        areas = ContaminantAreas(image.size, found.areas)
        if self._folder is None and not self._sent:
            return FrameContaminants(areas, None)
        detector = announced.detector or frame.detector
        words = {"EXPID": announced.exposure_id, "INSTRUME": announced.instrument}
        words["DETECTOR"] = detector
        content = packed(found.bits, self._masker.codes, self._rules, frame, words)
        areas = replace(areas, mask=self._written(content, announced, frame))
        return FrameContaminants(areas, content if self._sent else None)

    def _written(self, content: bytes, announced: Announced, frame: Frame) -> str | None:
        """Write a mask and return its path; a full disk leaves the areas as they are."""
        if self._folder is None:
            return None
        # A message may name its detector, and its file has several.
        parts = [_safe(part) for part in (announced.detector or "", frame.detector) if part]
        name = "_".join(parts)
        folder = self._folder / _safe(announced.instrument) / _safe(announced.exposure_id)
        path = folder / f"{name}.mask.fits.fz"
        try:
            write_whole(path, content)
        except OSError as error:
            log.error("mask not written", path=str(path), detail=error.strerror or str(error))
            return None
        return str(path)


def _safe(text: str) -> str:
    """Returns a name for a file, a different one for each text: anyone may name an exposure."""
    name = _UNSAFE.sub("_", text).lstrip(".")[:_LONGEST_NAME]
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def yield_to_others() -> None:
    """Lower this thread's priority, and with it that of threads which it makes (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def made_yielding(make: Callable[[], Made]) -> Made:
    """Returns what a call makes; only threads that the call starts get a lower priority."""
    with ThreadPoolExecutor(1, initializer=yield_to_others) as pool:
        return pool.submit(make).result()
