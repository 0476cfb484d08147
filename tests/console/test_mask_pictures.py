"""Masks are drawn from the files that a worker writes, and from no others."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from streamfilter.console.mask_pictures import MaskPictures
from streamfilter.console.pictures import Unreadable
from streamfilter.contaminants import BY_CODE, CODES
from streamfilter.exposures.mask_files import packed
from streamfilter.exposures.masking import MaskRules
from streamfilter.exposures.records import Frame

HEIGHT, WIDTH = 1200, 1600


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """As a worker does it: a trail of one row, and a source, which is no contaminant."""
    bits = np.zeros((HEIGHT, WIDTH), np.int16)
    bits[900, :] = BY_CODE["TRL"].bit
    bits[100:300, 100:300] = BY_CODE["BBG"].bit
    image = np.zeros((HEIGHT, WIDTH), np.float32)
    frame = Frame(source="a.fits", hdu=0, detector="1", image=image)
    path = tmp_path / "masks" / "cam" / "e1" / "1.mask.fits.fz"
    path.parent.mkdir(parents=True)
    path.write_bytes(packed(bits, CODES, MaskRules(), frame, {}))
    return path


def pixels_of(png: bytes) -> np.ndarray:
    """Grey values, the first row at the top."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    start = png.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompressobj().decompress(png[start:]), np.uint8)
    return rows.reshape(height, 1 + 2 * width)[:, 1::2]


def test_a_thin_trail_stays_in_a_small_picture(written: Path, tmp_path: Path) -> None:
    """Rows count upwards; sources are not drawn."""
    found = pixels_of(MaskPictures(tmp_path / "masks").png(str(written)))
    assert (400, 534) == found.shape
    marked = np.flatnonzero((found == 255).any(axis=1))
    assert [400 - 1 - 900 // 3] == marked.tolist()


@pytest.mark.parametrize("name", [
    "/etc/passwd", "../1.mask.fits.fz", "masks/../secret.mask.fits.fz", "\0.mask.fits.fz", "",
    "masks/cam/e1/none.mask.fits.fz", "masks/link.mask.fits.fz",
])  # fmt: skip
def test_nothing_outside_the_folder_is_opened(
    written: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a message names, and wherever a link leads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.mask.fits.fz").write_bytes(written.read_bytes())
    (tmp_path / "masks" / "link.mask.fits.fz").symlink_to(tmp_path / "secret.mask.fits.fz")
    masks = MaskPictures(tmp_path / "masks")
    assert masks.path_of(name) is None
    with pytest.raises(Unreadable, match="not in the folder"):
        masks.png(name)
    assert MaskPictures(None).path_of(str(written)) is None


def test_what_is_no_mask_is_told(written: Path, tmp_path: Path) -> None:
    """A file that is cut short, as on a full disk."""
    written.write_bytes(written.read_bytes()[:4000])
    with pytest.raises(Unreadable):
        MaskPictures(tmp_path / "masks").png(str(written))
