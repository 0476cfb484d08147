"""Pages of figures; matplotlib is imported only when a page is drawn."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from streamfilter.errors import ConfigurationInvalid, how_to_install, plain_words
from streamfilter.redaction import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "#FFFFFF"
_DPI = 110


def blank(width_in: float, height_in: float) -> "Figure":
    """Returns an empty page.

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
    _clean(figure)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(
            f"the figure {path} cannot be written: {plain_words(error)}"
        ) from error


def png(figure: "Figure", dpi: int) -> bytes:
    """Returns a page as a PNG; ``dpi`` is its resolution in dots per inch."""
    _clean(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()


def _clean(figure: "Figure") -> None:
    """Take secrets out of all that is written on a page."""
    from matplotlib.text import Text

    for each in figure.findobj(Text):
        assert isinstance(each, Text)
        if (text := each.get_text()) != (cleaned := clean(text)):
            each.set_text(cleaned)
