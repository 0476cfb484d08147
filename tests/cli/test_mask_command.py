"""``streamfilter mask``: files with the structure that the MaxiMask program writes."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from bad_frames import write_bad_frames
from click.testing import CliRunner
from fields import Field

from streamfilter.cli.mask import mask
from streamfilter.errors import ConfigurationInvalid, EngineUnavailable
from streamfilter.inference.manifest import load

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
        assert ("1.0", "0.28", "0") == (header["CR_SM"], header["CR_TH"], header["CR_DIM"])


def test_deepcr_finds_the_cosmic_rays_unless_maximask_is_named(
    engine_home: Path, visit: Path
) -> None:
    """The header names network, hash, prior and threshold of each class."""
    named = {"own": [], "program": ["--set", "exposures.contaminants.cosmic_rays="]}
    found = {}
    for folder, more in named.items():
        assert 0 == run(str(visit), "-o", str(visit.parent / folder), *more)
        header = fits.getheader(visit.parent / folder / "visit.mask.fits", 1)
        words = ("NET", "SHA", "PR", "TH")
        found[folder] = [
            tuple(header[f"{code}_{word}"] for word in words) for code in ("CR", "TRL")
        ]
    deepcr, maximask = load("deepcr"), load("maximask")
    trail = ("maximask 1.4.1", maximask.onnx_sha256, "0.001", "0.28")
    assert [("deepcr 0.3.1", deepcr.onnx_sha256, "0.004", "0.28"), trail] == found["own"]
    assert [(*trail[:2], "0.0005", "0.43"), trail] == found["program"]


def test_without_deepcr_the_error_says_how_to_get_it(
    visit: Path, tmp_path: Path, engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that reaches no index, and how to do without."""
    home = tmp_path / "home"
    shutil.copytree(engine_home / "engines" / "maximask-1.4.1", home / "engines/maximask-1.4.1")
    monkeypatch.setenv("STREAMFILTER_HOME", str(home))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    found = CliRunner().invoke(mask, [str(visit), "-o", str(tmp_path / "m")])
    assert isinstance(found.exception, EngineUnavailable)
    words = str(found.exception)
    assert "`streamfilter engines fetch deepcr --wheel FILE`" in words
    assert 'exposures.contaminants.cosmic_rays = "maximask"' in words


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
    """The exit code is 3, and the good file has its mask; the last line counts."""
    result = CliRunner().invoke(mask, ["missing.fits", str(visit), "-o", str(visit.parent)])
    assert 3 == result.exit_code
    assert (visit.parent / "visit.mask.fits").exists()
    last = result.stderr.splitlines()[-1]
    assert last.startswith("masks: 1 of 2 files, 1 images of 0.1 Mpx in ")
    assert last.endswith("; without a mask: 1 reference_missing")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_frames_of_every_bad_kind_have_a_reason_and_the_next_goes_on(
    engine_home: Path, visit: Path, tmp_path: Path, jobs: str
) -> None:
    """Without data, of one value, a strip, cut in the header, cards twice, larger than memory."""
    night = tmp_path / "night"
    reasons = write_bad_frames(night)
    shutil.copy(visit, night / "z.fits.fz")
    result = CliRunner().invoke(mask, [str(night), "-o", str(tmp_path / "m"), "--jobs", jobs])
    assert 3 == result.exit_code, result.output
    for name, reason in reasons.items():
        place = rf"{re.escape(str(night / name))}(\[0\])?: {reason}: .+"
        assert re.search(place, result.stderr), (name, result.stderr)
    assert (tmp_path / "m" / "z.mask.fits").is_file()
    header = fits.getheader(tmp_path / "m" / "a_nan.mask.fits")
    assert "no_data" == header["NOMASK"]
    assert 1 == run(str(night / "a_nan.fits"), "-o", str(tmp_path / "m"))


def test_a_cube_has_a_mask_per_plane(engine_home: Path, tmp_path: Path) -> None:
    """Of colours or times; a plane without a sky does not take the others with it."""
    planes = [Field(height=200, width=260, stars=15, cosmic_rays=n).image() for n in (0, 8, 8)]
    planes[2][:] = 100
    path = tmp_path / "colours.fits.gz"
    fits.PrimaryHDU(np.stack(planes).astype(np.uint16)).writeto(path)
    result = CliRunner().invoke(mask, [str(path), "-o", str(tmp_path)])
    assert 3 == result.exit_code, result.output
    assert f"{path}[0] plane 3: no_variation" in result.stderr
    with fits.open(tmp_path / "colours.mask.fits") as hdus:
        assert (3, 200, 260) == hdus[0].data.shape
        assert [False, True, False] == [bool((plane & 1).any()) for plane in hdus[0].data]
    assert 3 == run(str(path), "-o", str(tmp_path), "--form", "classes", "--class", "CR")
    assert (3, 1, 200, 260) == fits.getdata(tmp_path / "colours.mask.fits").shape


def test_priors_thresholds_and_classes_are_the_stream_s(engine_home: Path, visit: Path) -> None:
    """By a configuration or one by one; the header says which."""
    site, folder = visit.with_name("site.toml"), visit.parent
    section = "exposures.contaminants"
    site.write_text(f"[{section}.priors]\nCR = 5e-3\n[{section}.thresholds]\nCR = 0.2\n")
    found = {}
    for name, more in {
        "own": ["--config", str(site)],
        "less": [f"--set={section}.thresholds.CR=0.99", "--class=CR", "--class=TRL"],
    }.items():
        assert 0 == run(str(visit), "-o", str(folder / name), *more)
        with fits.open(folder / name / "visit.mask.fits") as hdus:
            found[name] = hdus[1].header, np.count_nonzero(hdus[1].data & 1)
    (own, many), (less, few) = found["own"], found["less"]
    assert ("0.005", "0.20", "0.43") == (own["CR_PR"], own["CR_TH"], own["HP_TH"])
    assert ("0.99", "1", False) == (less["CR_TH"], less["TRL_DIM"], "HP" in less)
    assert few < many
    result = CliRunner().invoke(
        mask, [str(visit), "-o", str(folder), f"--set={section}.priors.X=1"]
    )
    assert isinstance(result.exception, ConfigurationInvalid)


@pytest.mark.parametrize("name", ["deepcr", "stampmask", "maximask"])
def test_cosmic_rays_are_another_network_s(engine_home: Path, visit: Path, name: str) -> None:
    """At its numbers for frames; the other classes stay MaxiMask's, to the bit."""
    chosen = ("--set", f"exposures.contaminants.cosmic_rays={name}")
    assert 0 == run(str(visit), "-o", str(visit.parent / "all"), *chosen)
    assert 0 == run(str(visit), "-o", str(visit.parent / "alone"), "--class", "CR", *chosen)
    program = ("--set", "exposures.contaminants.cosmic_rays=")
    assert 0 == run(str(visit), "-o", str(visit.parent / "before"), *program)
    masks, headers = {}, {}
    for folder in ("all", "alone", "before"):
        with fits.open(visit.parent / folder / "visit.mask.fits") as hdus:
            masks[folder], headers[folder] = hdus[1].data.astype(int), hdus[1].header
    np.testing.assert_array_equal(masks["alone"], masks["all"] & 1)
    np.testing.assert_array_equal(masks["before"] & ~1, masks["all"] & ~1)
    assert 8 <= np.count_nonzero(masks["alone"])
    manifest = load(name)
    (row,) = manifest.in_frames
    header = headers["alone"]
    assert (f"{name} {manifest.version}", manifest.onnx_sha256) == (
        header["CR_NET"],
        header["CR_SHA"],
    )
    assert (f"{row.prior:g}", row.threshold) == (header["CR_PR"], float(header["CR_TH"]))
    assert f"maximask {load('maximask').version}" == headers["before"]["CR_NET"]


def test_a_limit_is_named_by_the_setting_that_mends_it(engine_home: Path, visit: Path) -> None:
    """What the line says can be followed."""
    limit = "exposures.max_frame_pixels"
    result = CliRunner().invoke(mask, [str(visit), "-o", str(visit.parent), f"--set={limit}=10"])
    assert 1 == result.exit_code
    assert f"too_large: 52000 pixels; {limit} = 10\n" in result.stderr
    assert 0 == run(str(visit), "-o", str(visit.parent), f"--set={limit}=52000")


def test_a_mask_says_whose_it_is(engine_home: Path, visit: Path) -> None:
    """The image's name and place, the file's name and checksum; alone the first HDU's too."""
    with fits.open(visit, mode="update") as hdus:
        hdus[0].header["DATE-OBS"] = "2026-01-02T03:04:05"
        hdus[1].header["CRVAL1"], hdus[1].header["DETSEC"] = 150.25, "[1:260,1:200]"
    digest = hashlib.sha256(visit.read_bytes()).hexdigest()
    assert 0 == run(str(visit), "-o", str(visit.parent), "--rice")
    assert 0 == run(f"{visit}[SCI]", "-o", str(visit.parent))
    whole = fits.getheader(visit.parent / "visit.mask.fits.fz", 1)
    alone = fits.getheader(visit.parent / "visit.maskSCI.fits")
    for header in (whole, alone):
        assert ("SCI", 150.25) == (header["EXTNAME"], header["CRVAL1"])
        assert ("[1:260,1:200]", digest) == (header["DETSEC"], header["SRCSHA"])
        assert ("visit.fits.fz", 1) == (header["SRCFILE"], header["SRCHDU"])
    assert "2026-01-02T03:04:05" == alone["DATE-OBS"]


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
    """One line says so, and the exit code is 3."""
    other = visit.with_name("other.fits.fz")
    other.write_bytes(visit.read_bytes())
    (visit.parent / "masks" / "other.mask.fits").mkdir(parents=True)
    result = CliRunner().invoke(mask, [str(other), str(visit), "-o", str(visit.parent / "masks")])
    assert 3 == result.exit_code
    assert f"{other}: the mask cannot be written: " in result.stderr
    assert (visit.parent / "masks" / "visit.mask.fits").is_file()
