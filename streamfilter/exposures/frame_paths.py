"""Turns a command's arguments into paths of frames: files, folders, lists, ``file.fits[2]``."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from streamfilter.exposures.frames import split_hdu

_FRAME = re.compile(r".+\.(fits?|fts)(\.(fz|gz))?", re.IGNORECASE)
_OWN_MASK = re.compile(r".+\.mask\d*\.fits(\.fz)?", re.IGNORECASE)
"""Names of the masks that ``streamfilter mask`` and the reference program write."""


def expand(arguments: Iterable[str]) -> Iterator[str]:
    """Yields paths in the order of the arguments; those of a folder are sorted by name.

    A folder gives its frames, without masks and without the folders in it. A ``.list`` or ``.txt``
    file gives its lines, as paths relative to where the program runs; blank lines and those with
    ``#`` are left out. Any other argument is itself a path, whether the file exists or not.
    """
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            names = sorted(each.name for each in path.iterdir() if each.is_file())
            for name in names:
                if _FRAME.fullmatch(name) and not _OWN_MASK.fullmatch(name):
                    yield str(path / name)
        elif is_list(argument):
            lines = (line.strip() for line in path.read_text(errors="replace").splitlines())
            yield from (line for line in lines if line and not line.startswith("#"))
        else:
            yield argument


def is_list(argument: str) -> bool:
    """Returns whether an argument is a file that names frames, a path in each line."""
    path = Path(argument)
    return path.suffix in (".list", ".txt") and path.is_file()


def mask_name(path: str) -> str:
    """Returns the file name of a frame's mask, as the reference program has it: ``x.mask.fits``."""
    file, hdu = split_hdu(path)
    name = re.sub(r"(\.fz|\.gz)$", "", Path(file).name, flags=re.IGNORECASE)
    stem = re.sub(r"\.(fits?|fts)$", "", name, flags=re.IGNORECASE)
    return f"{stem}.mask{hdu or ''}.fits"
