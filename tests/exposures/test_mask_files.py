"""What the header of a mask says: whose it is, where it lies, how it was made."""

import io

import numpy as np
import pytest
from astropy.io import fits

from streamfilter.contaminants import CODES
from streamfilter.exposures import frames, mask_files
from streamfilter.exposures.frames import FrameRules
from streamfilter.exposures.masking import MaskRules, Network
from streamfilter.exposures.records import Frame

PLACE = {
    "EXTNAME": "S12", "EXTVER": 3, "CCDNUM": 7, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV",
    "CRVAL1": 150.25, "CRVAL2": 2.5, "CRPIX1": 20.5, "CRPIX2": 30.0, "CD1_1": -7.3e-5,
    "CD2_2": 7.3e-5, "PV1_1": 1.01, "CTYPE3": "WAVE", "DETSEC": "[1:40,1:30]",
    "CCDSEC": "[1:40,1:30]", "DATASEC": "[6:45,3:32]", "LTV1": 100.0, "LTM1_1": 1.0,
    "MJD-OBS": 61000.25, "GAIN": 1.5, "HIERARCH ESO DET ID": "ccd-7",
}  # fmt: skip
OF_FILE = {"DATE-OBS": "2026-01-02T03:04:05", "EXPNUM": 99, "CCDNUM": 0}


def frame_of(*, use_sections: bool = False) -> Frame:
    """A frame of 50 x 40 px in the second HDU of a file."""
    image = fits.ImageHDU(np.arange(2000, dtype=np.int16).reshape(40, 50))
    image.header["BSCALE"], image.header["BUNIT"], image.header["AIRMASS"] = 2.0, "adu", 1.25
    image.header.update(PLACE)
    image.header.add_history("flattened")
    first = fits.PrimaryHDU()
    first.header.update(OF_FILE)
    out = io.BytesIO()
    fits.HDUList([first, image]).writeto(out, checksum=True)
    content = out.getvalue().replace(
        b"AIRMASS =                 1.25", b"AIRMASS =                  NaN"
    )
    rules = FrameRules(use_sections=use_sections)
    (frame,) = frames.read_frames(content, "file:///data/night%201/x.fits?key=1", rules)
    assert isinstance(frame, Frame), frame
    return frame


def header_of(frame: Frame, rules: MaskRules | None = None, **form: bool) -> fits.Header:
    header = fits.ImageHDU(np.zeros(frame.image.shape, np.int16)).header
    form = {"priors": True, "thresholded": True, "single": True} | form
    rules = rules or MaskRules()
    mask_files.fill(
        header, [c for c in CODES if c in (rules.classes or CODES)], rules, frame, **form
    )
    return header


def test_a_mask_says_whose_it_is_and_where_it_lies() -> None:
    """All of the image's words but those on how its pixels are stored; and the file's checksum."""
    frame = frame_of()
    header = header_of(frame)
    assert PLACE == {key: header[key.removeprefix("HIERARCH ")] for key in PLACE}
    left = {"BSCALE", "BUNIT", "AIRMASS", "HISTORY", "CHECKSUM", "DATE-OBS"} & set(header)
    assert set() == left
    assert ("x.fits", 1, frame.sha256) == tuple(
        header[f"SRC{key}"] for key in ("FILE", "HDU", "SHA")
    )
    assert (64, 16) == (len(frame.sha256), header["BITPIX"])


def test_a_mask_that_stands_alone_has_the_file_s_words_too() -> None:
    """The image's own come first."""
    header = header_of(frame_of(), standing_alone=True)
    assert ("2026-01-02T03:04:05", 99, 7) == tuple(
        header[key] for key in ("DATE-OBS", "EXPNUM", "CCDNUM")
    )
    assert 1 == header.count("CCDNUM")


def test_what_is_counted_in_pixels_moves_with_the_mask_s_corner() -> None:
    """The part with sky begins at (6, 3), from 1; its place on the detector stays."""
    frame = frame_of(use_sections=True)
    assert ((30, 40), (2, 5)) == (frame.image.shape, frame.corner)
    header = header_of(frame)
    assert (15.5, 28.0) == (header["CRPIX1"], header["CRPIX2"])
    assert (95.0, -2.0) == (header["LTV1"], header["LTV2"])
    assert ("[1:40,1:30]", False) == (header["DETSEC"], "DATASEC" in header)


def test_a_third_axis_of_classes_is_no_wavelength() -> None:
    """It stays where the mask is an image, or has the image's planes."""
    assert "CTYPE3" not in header_of(frame_of(), single=False)


def test_the_header_names_the_chosen_classes_with_all_digits() -> None:
    """Two digits of a threshold, as the reference program has them, unless it has more."""
    rules = MaskRules(
        classes=("OV", "CR"), thresholds={**MaskRules().thresholds, "CR": 0.005, "OV": 0.6}
    )
    header = header_of(frame_of(), rules)
    found = {key: header[key] for key in ("CR_DIM", "OV_DIM", "CR_TH", "OV_TH", "OV_SM")}
    assert {
        "CR_DIM": "0",
        "OV_DIM": "1",
        "CR_TH": "0.005",
        "OV_TH": "0.60",
        "OV_SM": "2048.0",
    } == found
    assert "HP" not in header


def test_the_header_names_the_network_of_each_class() -> None:
    """With the hash of its file; not where masks do not tell of the class."""
    rules = MaskRules(networks={"CR": Network("deepcr", "0.3.1", "ab" * 32)})
    header = header_of(frame_of(), rules)
    assert ("deepcr 0.3.1", "ab" * 32) == (header["CR_NET"], header["CR_SHA"])
    assert "TRL_NET" not in header
    own = fits.Header()
    mask_files.fill(own, ("TRL",), rules, priors=True, thresholded=True, single=True)
    assert "CR_NET" not in own


def test_a_mask_of_the_stream_is_a_file_of_its_own() -> None:
    """It can be read back, and lies on the sky where its frame does."""
    frame = frame_of(use_sections=True)
    bits = np.arange(1200, dtype=np.int16).reshape(30, 40)
    content = mask_files.packed(bits, CODES, MaskRules(), frame, {"EXPID": "e\u00e91"})
    with fits.open(io.BytesIO(content)) as hdus:
        np.testing.assert_array_equal(bits, hdus[1].data)
        header = hdus[1].header
    assert ("MASK", 3, "e?1") == (header["EXTNAME"], header["EXTVER"], header["EXPID"])
    assert (15.5, 99, frame.sha256) == (header["CRPIX1"], header["EXPNUM"], header["SRCSHA"])


@pytest.mark.parametrize("corner", [(0, 0), (4, 9)])
def test_a_frame_that_is_from_no_file_has_a_place_too(corner: tuple[int, int]) -> None:
    """LTV1 and LTV2 stand in every mask of the stream."""
    frame = Frame("made", 0, "1", np.zeros((5, 6), np.float32), corner=corner)
    content = mask_files.packed(np.zeros((5, 6), np.int16), CODES, MaskRules(), frame, {})
    header = fits.getheader(io.BytesIO(content), 1)
    assert (-corner[1], -corner[0]) == (header["LTV1"], header["LTV2"])
