"""Pages of pictures: matplotlib, loaded only when one is drawn."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from streamfilter.errors import ConfigurationInvalid, how_to_install, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "#FFFFFF"
_DPI = 110


def blank(width_in: float, height_in: float) -> "Figure":
    """An empty page.

    Raises
    ------
    ConfigurationInvalid
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationInvalid(
            f"a figure needs matplotlib: {how_to_install('figures')}"
        ) from error
    return Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor=PAPER)


def save(figure: "Figure", path: Path) -> None:
    """Write a page; the path's ending chooses the format (.png, .pdf, .svg).

    Raises
    ------
    ConfigurationInvalid
        The file cannot be written, or there is no such format.
    """
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(f"the figure {path} cannot be written: {told(error)}") from error


def png(figure: "Figure", dpi: int) -> bytes:
    """A page as a PNG of this many dots an inch."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()
