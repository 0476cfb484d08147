"""Pictures of frames' masks, from the files that a worker wrote, where this machine has them."""

import io
import threading
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfilter.console.pictures import Unreadable
from streamfilter.console.png import grey_png
from streamfilter.contaminants import TABLE
from streamfilter.errors import plain_words
from streamfilter.fits.compressed_tiles import wrong_with

_ENDING = ".mask.fits.fz"
_MOST_BYTES = 32 * 2**20
_MOST_PX = 2**26
_SIDE_PX = 768
"""Longest side of a picture; a pixel of it is marked where any of its part of the mask is."""
_KEPT = 24
_CONTAMINANTS = sum(row.bit for row in TABLE if not row.normal)


class MaskPictures:
    """Draws masks in one folder; any thread may use it, one draws at a time.

    Parameters
    ----------
    folder
        Where workers write masks (``exposures.contaminants.folder``); None: nowhere. What a message
        names outside of it is never opened.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, bytes] = OrderedDict()

    def path_of(self, name: str) -> Path | None:
        """Returns the file that a message names, where it can be drawn here."""
        if self._folder is None or not name.endswith(_ENDING) or "\0" in name:
            return None
        try:
            path = Path(name).resolve()
            inside = path.is_relative_to(self._folder.resolve())
            return path if inside and path.stat().st_size <= _MOST_BYTES else None
        except (OSError, RuntimeError):
            return None

    def png(self, name: str) -> bytes:
        """Returns a picture: white where a pixel has a contaminant, rows counting upwards.

        Raises
        ------
        Unreadable
            There is no such file here, or it is no mask.
        """
        path = self.path_of(name)
        if path is None:
            raise Unreadable("the mask is not in the folder of masks on this machine")
        with self._lock:
            if path not in self._kept:
                self._kept[path] = _drawn(path)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(path)
            return self._kept[path]


def _drawn(path: Path) -> bytes:
    marked = _coarser(_contaminated(path))
    grey = np.where(marked, 255, 0).astype(np.uint8)
    return grey_png(grey[::-1], np.ones(grey.shape, bool))


def _contaminated(path: Path) -> npt.NDArray[np.bool_]:
    """Where a mask has a contaminant: sources and sky are none."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(path.read_bytes()), memmap=False) as hdus:
                hdu = hdus["MASK"]
                width, height = hdu.header["NAXIS1"], hdu.header["NAXIS2"]
                if hdu.header["NAXIS"] != 2 or width * height > _MOST_PX:
                    raise Unreadable(f"{path.name}: {width} x {height} px are not drawn here")
                if fault := wrong_with(hdu):
                    raise Unreadable(f"{path.name}: {fault}")
                bits = np.asarray(hdu.data).astype(np.int64)
                return np.asarray(bits & _CONTAMINANTS != 0, bool)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"{path.name} is no mask: {plain_words(error)}") from error


def _coarser(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    step = -(-max(marked.shape) // _SIDE_PX)
    height, width = (-(-side // step) * step for side in marked.shape)
    whole = np.zeros((height, width), bool)
    whole[: marked.shape[0], : marked.shape[1]] = marked
    parts = whole.reshape(height // step, step, width // step, step)
    return np.asarray(parts.any(axis=(1, 3)), bool)
