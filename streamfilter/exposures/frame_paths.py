"""Turns a command's arguments into paths of frames: files, folders, lists, ``file.fits[2]``."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from streamfilter.exposures.compressed_files import ENDINGS
from streamfilter.exposures.frames import split_hdu

_ENDING = re.compile(rf"\.(fits?|fts)(\.({'|'.join(ENDINGS)}))?$", re.IGNORECASE)
_OTHERWISE_COMPRESSED = re.compile(r".+\.(fits?|fts)\.(zst|zip|lz4|lzma|7z|br)", re.IGNORECASE)
_OWN_MASK = re.compile(r".+\.mask\d*\.fits(\.fz)?", re.IGNORECASE)
"""Names of the masks that ``streamfilter mask`` and the reference program write."""
_MOST_NAMED = 3


class WhyLeftOut(StrEnum):
    """Why something in a folder is not taken as a frame."""

    MASK = "mask"
    COMPRESSED = "compressed in a way that is not read"
    NAME = "not named as a FITS file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class FramePaths:
    """The frames that arguments name, and what lies in their folders beside them."""

    paths: tuple[str, ...]
    """In the order of the arguments; those of a folder are sorted by name."""
    left_out: Mapping[WhyLeftOut, tuple[str, ...]]
    """Names by reason."""

    def left_out_line(self) -> str:
        """Returns one line on what was left out of folders; empty where nothing was."""
        parts = []
        for why, names in self.left_out.items():
            more = ", ..." if len(names) > _MOST_NAMED else ""
            parts.append(f"{len(names)} {why} ({', '.join(names[:_MOST_NAMED])}{more})")
        return f"left out of folders: {'; '.join(parts)}" if parts else ""


def expand(arguments: Iterable[str]) -> FramePaths:
    """Returns the paths of the frames that arguments name.

    A folder gives its frames, without masks and without the folders in it. A ``.list`` or ``.txt``
    file gives its lines, as paths relative to where the program runs; blank lines and those with
    ``#`` are left out. Any other argument is itself a path, whether the file exists or not.
    """
    paths: list[str] = []
    left_out: dict[WhyLeftOut, list[str]] = defaultdict(list)
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            for each in sorted(path.iterdir()):
                why = _why_left_out(each)
                if why is None:
                    paths.append(str(each))
                else:
                    left_out[why].append(each.name)
        elif is_list(argument):
            paths.extend(_lines(path))
        else:
            paths.append(argument)
    return FramePaths(tuple(paths), {why: tuple(left_out[why]) for why in sorted(left_out)})


def _why_left_out(path: Path) -> WhyLeftOut | None:
    if not path.is_file():
        return WhyLeftOut.FOLDER
    if _OWN_MASK.fullmatch(path.name):
        return WhyLeftOut.MASK
    if _ENDING.search(path.name):
        return None
    compressed = _OTHERWISE_COMPRESSED.fullmatch(path.name) is not None
    return WhyLeftOut.COMPRESSED if compressed else WhyLeftOut.NAME


def is_list(argument: str) -> bool:
    """Returns whether an argument is a file that names frames, a path in each line."""
    path = Path(argument)
    return path.suffix in (".list", ".txt") and path.is_file()


def _lines(path: Path) -> Iterator[str]:
    """Yields the paths in a list."""
    lines = (line.strip() for line in path.read_text(errors="replace").splitlines())
    yield from (line for line in lines if line and not line.startswith("#"))


def stem(path: str) -> str:
    """Returns the name of a frame's file without what says that it is FITS, and compressed."""
    return _ENDING.sub("", Path(path).name)


def mask_name(path: str) -> str:
    """Returns the file name of a frame's mask, as the reference program has it: ``x.mask.fits``."""
    file, hdu = split_hdu(path)
    return f"{stem(file)}.mask{hdu or ''}.fits"
