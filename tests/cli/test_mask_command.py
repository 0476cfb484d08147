"""``streamfilter mask``: files with the structure that the MaxiMask program writes."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from fields import Field

from streamfilter.cli.mask import mask

pytestmark = pytest.mark.engine


@pytest.fixture
def visit(tmp_path: Path) -> Path:
    """An empty primary HDU, a detector, its bad pixels and a table."""
    image = Field(height=200, width=260, stars=15, cosmic_rays=8).image()
    table = fits.BinTableHDU.from_columns([fits.Column("X", "E", array=[1.0])], name="CAT")
    bad = fits.ImageHDU(np.zeros(image.shape, np.uint8), name="BPM")
    sci = fits.CompImageHDU(image.astype(np.int16), name="SCI", compression_type="RICE_1")
    path = tmp_path / "visit.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), sci, bad, table]).writeto(path)
    return path


def run(*arguments: str) -> int:
    return int(CliRunner().invoke(mask, list(arguments)).exit_code)


def with_card(path: Path, card: str) -> None:
    """Inserts a card before END."""
    content = path.read_bytes()
    end = content.index(b"END" + b" " * 77)
    path.write_bytes(
        content[:end] + card.ljust(80).encode() + b"END".ljust(80) + content[end + 160 :]
    )


def test_the_mask_has_the_hdus_of_the_frame(engine_home: Path, visit: Path) -> None:
    """Bit codes for the detector, copies of the rest, the reference's keywords."""
    assert 0 == run(str(visit), "-o", str(visit.parent / "masks"))
    with fits.open(visit.parent / "masks" / "visit.mask.fits") as hdus:
        kinds = ["PrimaryHDU", "ImageHDU", "ImageHDU", "BinTableHDU"]
        assert kinds == [type(hdu).__name__ for hdu in hdus]
        assert (np.dtype(">i2"), (200, 260)) == (hdus[1].data.dtype, hdus[1].data.shape)
        assert 0 < np.count_nonzero(hdus[1].data & 1)
        header = hdus[1].header
        assert ("Yes", "Yes", "Yes") == (header["PRIORS"], header["THRESH"], header["SMASK"])
        assert ("1.0", "0.43", "0") == (header["CR_SM"], header["CR_TH"], header["CR_DIM"])


@pytest.mark.parametrize(("form", "kind"), [("classes", "u1"), ("probabilities", ">f4")])
def test_cubes_have_a_plane_per_class(engine_home: Path, visit: Path, form: str, kind: str) -> None:
    """They are (14, height, width), 0 and 1 or probabilities; one HDU gives only its own."""
    assert 0 == run(f"{visit}[1]", "-o", str(visit.parent), "--form", form)
    with fits.open(visit.parent / "visit.mask1.fits") as hdus:
        assert [(14, 200, 260)] == [hdu.data.shape for hdu in hdus]
        assert np.dtype(kind) == hdus[0].data.dtype
        assert 0.0 <= float(hdus[0].data.min()) <= float(hdus[0].data.max()) <= 1.0


def test_masks_can_be_compressed(engine_home: Path, visit: Path) -> None:
    """Rice tiles hold the same bits in less space."""
    folder = str(visit.parent)
    assert 0 == run(str(visit), "-o", folder) == run(str(visit), "-o", folder, "--rice")
    plain, packed = visit.parent / "visit.mask.fits", visit.parent / "visit.mask.fits.fz"
    with fits.open(plain) as one, fits.open(packed) as other:
        np.testing.assert_array_equal(one[1].data, other[1].data)
    assert packed.stat().st_size < plain.stat().st_size


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    engine_home: Path, visit: Path
) -> None:
    """The exit code is 1, and the good file has its mask."""
    assert 1 == run("missing.fits", str(visit), "-o", str(visit.parent))
    assert (visit.parent / "visit.mask.fits").exists()


@pytest.mark.parametrize(
    "card",
    ["AIRMASS =                  NaN", "airmass =                  1.0", "RA      = 12:34:56.7"],
)
def test_cards_that_are_not_standard_are_no_obstacle(
    engine_home: Path, visit: Path, card: str
) -> None:
    """Cameras write them; the mask has all HDUs."""
    with_card(visit, card)
    assert 0 == run(str(visit), "-o", str(visit.parent))
    with fits.open(visit.parent / "visit.mask.fits") as hdus:
        assert (4, "CAT") == (len(hdus), hdus[-1].name)


@pytest.mark.parametrize("rice", [[], ["--rice"]])
def test_an_hdu_that_is_cut_is_left_out(engine_home: Path, visit: Path, rice: list[str]) -> None:
    """The command names it, and the mask has all other HDUs."""
    visit.write_bytes(visit.read_bytes()[:-2880])
    result = CliRunner().invoke(mask, [str(visit), "-o", str(visit.parent), *rice])
    assert (0, True) == (result.exit_code, f"{visit}[3]: left out: " in result.stderr)
    (written,) = visit.parent.glob("visit.mask.fits*")
    with fits.open(written) as hdus:
        assert (3, "BPM") == (len(hdus), hdus[-1].name)
        assert 0 < np.count_nonzero(hdus[1].data & 1)


def test_a_mask_that_cannot_be_written_does_not_stop_the_others(
    engine_home: Path, visit: Path
) -> None:
    """One line says so, and the exit code is 1."""
    other = visit.with_name("other.fits.fz")
    other.write_bytes(visit.read_bytes())
    (visit.parent / "masks" / "other.mask.fits").mkdir(parents=True)
    result = CliRunner().invoke(mask, [str(other), str(visit), "-o", str(visit.parent / "masks")])
    assert 1 == result.exit_code
    assert f"{other}: the mask cannot be written: " in result.stderr
    assert (visit.parent / "masks" / "visit.mask.fits").is_file()
