"""FITS of every kind to frames, and damaged ones to reasons."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from compress_writer import compressed

from streamfilter.exposures import frames
from streamfilter.exposures.frames import FrameRules
from streamfilter.exposures.records import Frame, FrameReason, FrameRefused

PACKERS = (gzip.compress, bz2.compress, lzma.compress, compressed)


def pixels(dtype: str = "float32", shape: tuple[int, ...] = (40, 50)) -> npt.NDArray[np.number]:
    return np.random.default_rng(5).integers(100, 200, shape).astype(dtype)


def file_of(*hdus: fits.ImageHDU | fits.CompImageHDU | fits.PrimaryHDU) -> bytes:
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    out = io.BytesIO()
    fits.HDUList([*first, *hdus]).writeto(out)
    return out.getvalue()


def only(content: bytes, rules: FrameRules | None = None, hdu: str | None = None) -> Frame:
    (found,) = frames.read_frames(content, "test", rules, hdu)
    assert isinstance(found, Frame), found
    return found


def reason(content: bytes, rules: FrameRules | None = None, hdu: str | None = None) -> FrameReason:
    (found,) = frames.read_frames(content, "test", rules, hdu)
    assert isinstance(found, FrameRefused)
    assert found.detail
    return found.reason


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_every_type_of_pixel_is_read(dtype: str) -> None:
    """Unsigned integers come with BZERO; all become float32."""
    expected = pixels(dtype)
    found = only(file_of(fits.PrimaryHDU(expected))).image
    assert np.float32 == found.dtype
    np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize("dtype", ["uint32", "int64", "float64"])
def test_a_high_sky_of_many_digits_keeps_its_stars(dtype: str) -> None:
    """Float32 has steps of 256 at 3e9, so the sky is subtracted from pixels and saturation."""
    hdu = fits.PrimaryHDU(pixels(dtype) + np.dtype(dtype).type(3_000_000_000))
    hdu.header["SATURATE"] = 3_000_000_180
    found = only(file_of(hdu))
    assert found.saturation is not None
    np.testing.assert_array_equal(pixels() - 180, found.image - found.saturation)


def test_a_small_cube_beside_a_detector_is_told() -> None:
    """Strips and thumbnails are skipped; an unexpected image is refused with a reason."""
    cube = fits.ImageHDU(pixels(shape=(3, 4, 5)), name="N2")
    _, found = frames.read_frames(file_of(fits.ImageHDU(pixels(), name="N1"), cube), "visit")
    assert isinstance(found, FrameRefused)
    assert (FrameReason.CUBE, "N2") == (found.reason, found.detector)


def test_gzip_and_rice_are_read() -> None:
    """.fits.gz and .fits.fz hold the same frame."""
    expected = pixels("int16")
    packed = gzip.compress(file_of(fits.PrimaryHDU(expected)))
    rice = file_of(fits.CompImageHDU(expected, compression_type="RICE_1"))
    np.testing.assert_array_equal(expected, only(packed).image)
    np.testing.assert_array_equal(expected, only(rice).image)


def test_blank_integers_are_missing() -> None:
    """BLANK is NaN in the frame."""
    hdu = fits.PrimaryHDU(pixels("int16"))
    hdu.header["BLANK"] = 150
    found = only(file_of(hdu)).image
    assert int((pixels() == 150).sum()) == int(np.isnan(found).sum()) > 0


def test_each_image_is_a_detector_but_auxiliary_ones_are_not() -> None:
    """Masks, variances and tables are not detectors."""
    images = [fits.ImageHDU(pixels(), name=name) for name in ("CCD1", "CCD2", "BPM", "VARIANCE")]
    table = fits.BinTableHDU.from_columns([fits.Column("X", "E", array=[1.0])])
    found = list(frames.read_frames(file_of(*images, table), "visit"))
    assert [("CCD1", 1), ("CCD2", 2)] == [(frame.detector, frame.hdu) for frame in found]


AUXILIARY = (
    "DQ_1 BPM_1 MSK OBJMASK QUALITY READNOISE INVVAR WT RMS CONF CONFIDENCE NOISE UNC UNCERTAINTY "
    "COVERAGE EXPOSURE VAR_POISSON VAR_RNOISE AREA D2IMARR WCSDVARR THUMBNAIL BIAS1 GUIDER2"
)


@pytest.mark.parametrize("name", [*AUXILIARY.split(), "CAMERA.CCD 1.1 UNCERT", "Focus-3"])
def test_an_auxiliary_image_is_known_by_its_last_word(name: str) -> None:
    """Otherwise evidence would count twice; the rules can name an instrument's own extensions."""
    named = [fits.ImageHDU(pixels(), name=each) for each in ("CAMERA.CCD 1.1 CAL", name)]
    found = list(
        frames.read_frames(file_of(*named), "x", FrameRules(auxiliary_extensions=("focus",)))
    )
    assert ["CAMERA.CCD 1.1 CAL"] == [frame.detector for frame in found]


@pytest.mark.parametrize("shape", [(50,), (40, 1), (8, 9)])
def test_strips_and_thumbnails_beside_a_detector_are_none(shape: tuple[int, ...]) -> None:
    """Calibration vectors, overscans and small pictures have no standard names."""
    content = file_of(fits.PrimaryHDU(pixels()), fits.ImageHDU(pixels(shape=shape)))
    assert (40, 50) == only(content).image.shape


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ([{"EXTNAME": "N1"}, {"EXTNAME": "N2"}], ["N1", "N2"]),
        ([{"EXTNAME": "SCI", "EXTVER": i} for i in (1, 2)], ["SCI,1", "SCI,2"]),
        ([{"CCDNUM": 31}, {"CCDNUM": 32}], ["31", "32"]),
        ([{"EXTNAME": "AMP", "CCDNUM": 31}] * 2, ["1", "2"]),
    ],
)
def test_names_tell_the_detectors_of_a_file_apart(
    cards: list[dict[str, str]], expected: list[str]
) -> None:
    """All names differ, because the focal plane would take a second one for a duplicate."""
    images = [fits.ImageHDU(pixels()) for _ in cards]
    for image, card in zip(images, cards, strict=True):
        image.header.update(card)
    found = list(frames.read_frames(file_of(*images), "visit"))
    assert expected == [frame.detector for frame in found]


@pytest.mark.parametrize("hdu", ["2", "ccd2"])
def test_an_hdu_can_be_chosen(hdu: str) -> None:
    """By number or by name."""
    images = [fits.ImageHDU(pixels(), name=name) for name in ("CCD1", "CCD2")]
    assert "CCD2" == only(file_of(*images), hdu=hdu).detector


def test_overscan_is_cut_off() -> None:
    """TRIMSEC counts from 1, x first, and is inclusive."""
    hdu = fits.PrimaryHDU(pixels())
    hdu.header["TRIMSEC"] = "[ 6:50,  1: 38]"
    found = only(file_of(hdu))
    np.testing.assert_array_equal(pixels()[:38, 5:], found.image)
    assert (0, 5) == found.corner


def test_bias_alone_is_masked() -> None:
    """Where only BIASSEC is named the frame keeps its size."""
    hdu = fits.PrimaryHDU(pixels())
    hdu.header["BIASSEC"] = "[46:50,1:40]"
    found = only(file_of(hdu))
    assert found.masked is not None
    assert 5 * 40 == int(found.masked.sum())


def test_sections_of_the_untrimmed_frame_are_not_believed() -> None:
    """Trimmed frames keep the old keywords: they reach beyond the image."""
    hdu = fits.PrimaryHDU(pixels())
    hdu.header["TRIMSEC"], hdu.header["BIASSEC"] = "[17:66,1:40]", "[4:13,1:40]"
    found = only(file_of(hdu))
    assert (40, 50) == found.image.shape
    assert found.masked is None


def test_a_section_of_the_configuration_comes_first() -> None:
    """It stands in the file's pixels; one that does not fit is refused."""
    content = file_of(fits.PrimaryHDU(pixels()))
    assert (10, 20) == only(content, FrameRules(section="[1:20,1:10]")).image.shape
    assert FrameReason.MALFORMED == reason(content, FrameRules(section="[1:99,1:10]"))


def test_a_bad_pixel_mask_is_used() -> None:
    """Non-zero pixels of BPM are masked, and pixels of Rubin's planes BAD and NO_DATA."""
    bad = np.zeros((40, 50), np.uint8)
    bad[3, 4] = 7
    found = only(file_of(fits.ImageHDU(pixels(), name="SCI"), fits.ImageHDU(bad, name="BPM")))
    assert found.masked is not None
    assert [(3, 4)] == [tuple(where) for where in np.argwhere(found.masked)]
    planes = fits.ImageHDU((bad * 0 + 32).astype("int32"), name="MASK")
    planes.data[1, 1] |= 1
    planes.header["MP_BAD"], planes.header["MP_CR"] = 0, 5
    found = only(file_of(fits.ImageHDU(pixels(), name="IMAGE"), planes))
    assert found.masked is not None
    assert 1 == int(found.masked.sum())


MASKED_IN_TURN = (
    ["CCD1", "BPM", "CCD2", "BPM"],
    ["CCD1", "BPM1", "CCD2", "BPM2"],
    ["CCD1", "CCD2", "BPM1", "BPM2"],
    ["CCD1", "BPM", "VAR", "CCD2", "BPM", "BPM"],
    ["CCD1,1", "CCD2,2", "BPM,2", "BPM,1"],
    ["CCD1", "CCD2", "BPM,1", "BPM,2"],
)


@pytest.mark.parametrize("order", MASKED_IN_TURN, ids="-".join)
def test_each_detector_has_its_own_mask(order: list[str]) -> None:
    """Masks are matched by EXTVER, else in order, else each to the image before it."""
    images, masks = [], 0
    for name, _, version in (each.partition(",") for each in order):
        bad = np.zeros((40, 50), np.uint8)
        # The first mask has a bad first row, unless its version says that it is the second's.
        if name.startswith("BPM"):
            bad[int(version) - 1 if version else min(masks, 1)] = 1
            masks += 1
        images.append(fits.ImageHDU(bad if name[:3] == "BPM" else pixels(), name=name))
        if version:
            images[-1].header["EXTVER"] = int(version)
    first, second = frames.read_frames(file_of(*images), "visit")
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert first.masked is not None
    assert second.masked is not None
    assert [0] == np.flatnonzero(first.masked.all(axis=1)).tolist()
    assert [1] == np.flatnonzero(second.masked.all(axis=1)).tolist()


def test_the_level_of_saturation_is_known() -> None:
    """It comes from the header, or from a plateau well above the sky."""
    hdu = fits.PrimaryHDU(pixels())
    hdu.header["SATURATE"] = 180.0
    assert 180.0 == only(file_of(hdu)).saturation
    assert only(file_of(fits.PrimaryHDU(np.random.default_rng(1).normal(9e4, 5, (99, 99)))))
    flat = pixels("float32")
    flat[5:9, 5:9] = 6e4
    level = only(file_of(fits.PrimaryHDU(flat))).saturation
    assert level is not None
    assert 5.8e4 < level <= 6e4


UNREADABLE = ("SATURATE= NaN", "SATURATE= 65535.0 ADU", "MAXLIN  = N/A", "DATASEC = [1:20,1:20]")
UNBELIEVABLE = ("EXTVER  =", "SATURATE= T", "SATURATE= 60.", "SATURATE= 1E999")


@pytest.mark.parametrize("card", [*UNREADABLE, *UNBELIEVABLE])
def test_a_hint_that_cannot_be_is_as_if_it_were_not_there(card: str) -> None:
    """An impossible keyword is ignored: no pixels are cut off, and none are saturated."""
    content = file_of(fits.PrimaryHDU(pixels()))
    damaged = content.replace(b"END".ljust(160), card.encode().ljust(80) + b"END".ljust(80), 1)
    assert damaged != content
    found = only(damaged)
    assert ((40, 50), only(content).saturation) == (found.image.shape, found.saturation)


def test_a_frame_above_its_level_of_saturation_is_saturated() -> None:
    """Pixels fill up somewhat above the level at which they stop being linear."""
    hdu = fits.PrimaryHDU(pixels())
    hdu.header["MAXLIN"] = 120.0
    assert 120.0 == only(file_of(hdu)).saturation


def test_a_section_that_is_none_does_not_take_the_others_with_it() -> None:
    """Cameras without overscan write zeros."""
    hdu = fits.PrimaryHDU(pixels())
    hdu.header["DATASEC"], hdu.header["BIASSEC"] = "[6:50,1:38]", "[0:0,0:0]"
    assert (38, 45) == only(file_of(hdu)).image.shape


def test_bytes_that_are_no_frame_have_a_reason() -> None:
    """Each kind of damage has its own reason."""
    good = file_of(fits.PrimaryHDU(pixels(shape=(200, 300))))
    rice = file_of(fits.CompImageHDU(pixels("int16", (200, 300)), compression_type="RICE_1"))
    assert FrameReason.EMPTY == reason(b"")
    assert FrameReason.NOT_FITS == reason(b"<html>" + b" " * 3000)
    assert FrameReason.COMPRESSION_UNKNOWN == reason(b"\x28\xb5\x2f\xfd" + good)
    assert FrameReason.COMPRESSION_UNKNOWN == reason(lzma.compress(gzip.compress(good)))
    assert FrameReason.COMPRESSION_UNKNOWN == reason(gzip.compress(bz2.compress(good)))
    assert FrameReason.TRUNCATED == reason(good[:9000])
    assert FrameReason.TRUNCATED == reason(rice[: len(rice) - 20000])
    assert FrameReason.TRUNCATED == reason(gzip.compress(good)[:-500])
    assert FrameReason.NO_IMAGE == reason(file_of(fits.PrimaryHDU()))
    assert FrameReason.NOT_AN_IMAGE == reason(good, hdu="3")
    assert FrameReason.CUBE == reason(file_of(fits.PrimaryHDU(pixels(shape=(3, 40, 50)))))
    assert FrameReason.TOO_LARGE == reason(good, FrameRules(max_pixels=1000))
    assert FrameReason.TOO_LARGE == reason(good, FrameRules(max_bytes=1000))


@pytest.mark.parametrize("pack", PACKERS, ids=lambda pack: pack.__module__)
def test_a_file_may_be_compressed_as_a_whole(pack: Callable[[bytes], bytes]) -> None:
    """Gzip, bzip2 (SDSS), xz and compress (ESO), each bounded; cut or damaged it has a reason."""
    expected = pixels("int16", (200, 300))
    good = file_of(fits.PrimaryHDU(expected))
    np.testing.assert_array_equal(expected, only(pack(good)).image)
    bomb = pack(good + bytes(10**6))
    assert len(bomb) < 300_000
    assert FrameReason.TOO_LARGE == reason(bomb, FrameRules(max_bytes=300_000))
    assert FrameReason.TRUNCATED == reason(pack(good)[:-500])
    damaged = bytearray(pack(good))
    damaged[len(damaged) // 2 :] = bytes([255]) * (len(damaged) // 2)
    assert reason(bytes(damaged)) in (FrameReason.MALFORMED, FrameReason.TRUNCATED)


def test_an_xz_file_that_asks_for_much_memory_is_refused() -> None:
    """Its head may ask for 4 GiB."""
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]
    content = lzma.compress(file_of(fits.PrimaryHDU(pixels())), filters=greedy)
    assert FrameReason.TOO_LARGE == reason(content)


def test_a_cube_is_read_plane_by_plane() -> None:
    """Where the rules say so: each plane is a frame, whose mask may be that of all."""
    cube = pixels("int16", (3, 40, 50))
    bad = fits.ImageHDU(np.eye(40, 50, dtype=np.uint8), name="BPM")
    for image in (fits.ImageHDU(cube, name="SCI"), fits.CompImageHDU(cube, name="SCI")):
        found = list(
            frames.read_frames(file_of(image, bad), "x", FrameRules(most_planes=frames.MOST_PLANES))
        )
        assert ["SCI plane 1", "SCI plane 2", "SCI plane 3"] == [each.detector for each in found]
        for number, (frame, plane) in enumerate(zip(found, cube, strict=True), 1):
            assert isinstance(frame, Frame)
            assert number == frame.plane
            np.testing.assert_array_equal(plane, frame.image)
            assert frame.masked is not None
            assert 40 == frame.masked.sum()


def test_planes_have_two_sides_and_a_limit() -> None:
    """Colours side by side along x are no planes; a cube's bytes are bounded, its planes too."""
    rules = FrameRules(most_planes=frames.MOST_PLANES, max_bytes=100_000)
    assert FrameReason.CUBE == reason(file_of(fits.PrimaryHDU(pixels(shape=(40, 50, 3)))), rules)
    tiles = file_of(fits.CompImageHDU(np.zeros((30, 40, 500), np.int16)))
    assert len(tiles) < 100_000
    assert FrameReason.TOO_LARGE == reason(tiles, rules)
    many = file_of(fits.PrimaryHDU(np.zeros((10_001, 5, 5), np.uint8)))
    assert FrameReason.TOO_LARGE == reason(many, FrameRules(most_planes=frames.MOST_PLANES))


@pytest.mark.parametrize(("most", "why"), [(1, FrameReason.CUBE), (2, FrameReason.TOO_LARGE)])
def test_a_cube_of_more_planes_than_are_read_names_the_setting(most: int, why: FrameReason) -> None:
    """It says how many there are, and what lets them in."""
    (found,) = frames.read_frames(
        file_of(fits.PrimaryHDU(pixels(shape=(3, 40, 50)))), "x", FrameRules(most_planes=most)
    )
    assert isinstance(found, FrameRefused)
    assert why == found.reason
    assert f"50 x 40 x 3 px: 3 planes; exposures.max_frame_planes = {most}" == found.detail


def test_bytes_that_memory_does_not_hold_unpacked_are_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As for a file: no exception leaves the reader."""

    def full(content: bytes, most_bytes: int) -> bytes:
        raise MemoryError

    monkeypatch.setattr(frames, "unpacked", full)
    assert FrameReason.TOO_LARGE == reason(file_of(fits.PrimaryHDU(pixels(shape=(40, 50)))))


def test_a_frame_that_memory_does_not_hold_is_too_large(tmp_path: Path) -> None:
    """Neither its pixels nor its file are read."""
    content = file_of(fits.PrimaryHDU(pixels(shape=(100, 100))))
    assert FrameReason.TOO_LARGE == reason(content, FrameRules(memory_bytes=19 * 100 * 100))
    (tmp_path / "x.fits").write_bytes(content)
    found = frames.open_file(str(tmp_path / "x.fits"), FrameRules(memory_bytes=len(content)))
    assert isinstance(found, FrameRefused)
    assert (FrameReason.TOO_LARGE, None) == (found.reason, found.hdu)


@pytest.mark.parametrize("keyword", ["BSCALE", "BZERO", "BLANK", "NAXIS1", "BITPIX"])
def test_a_card_that_stands_twice_and_decides_on_pixels_is_malformed(keyword: str) -> None:
    """Nobody knows which of the two holds; twice the same does no harm."""
    hdu = fits.PrimaryHDU(pixels("int16"))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 1, 0, -5
    content = file_of(hdu)
    assert (40, 50) == only(with_card(content, "BSCALE  =                    1")).image.shape
    assert FrameReason.MALFORMED == reason(with_card(content, f"{keyword:8}=                    7"))


def with_card(content: bytes, card: str) -> bytes:
    """A file with a card more before END."""
    end = content.index(b"END" + b" " * 77)
    return content[:end] + card.ljust(80).encode() + b"END".ljust(80) + content[end + 160 :]


def test_a_gzip_of_many_members_is_one_file() -> None:
    """Block-wise gzip makes such files, with padding at the end; too many members are refused."""
    expected = pixels("int16")
    whole = file_of(fits.PrimaryHDU(expected))
    members = [gzip.compress(whole[at : at + 1000]) for at in range(0, len(whole), 1000)]
    assert np.array_equal(only(b"".join(members) + bytes(9)).image, expected)
    (found,) = frames.read_frames(gzip.compress(b"") * 30_000, "members")
    assert isinstance(found, FrameRefused)


@pytest.mark.parametrize("many", ["cards", "hdus"])
def test_headers_without_end_are_too_large(many: str) -> None:
    """Nothing is read beyond the limits of an HDU and of a file."""
    good = file_of(fits.PrimaryHDU(pixels()))
    cards = good[: 5 * 80] + b"BZERO   = 1".ljust(80) * 20_000 + b"END".ljust(80)
    longer = cards.ljust(-(-len(cards) // 2880) * 2880) + good[2880:]
    extension = file_of(fits.PrimaryHDU(), fits.ImageHDU(pixels(shape=(1, 1))))[2880:]
    (found,) = frames.read_frames(longer if many == "cards" else good + 2000 * extension, "long")
    assert isinstance(found, FrameRefused)
    assert FrameReason.TOO_LARGE == found.reason


def test_a_cube_of_one_plane_is_an_image() -> None:
    """An axis of length 1 does not count."""
    found = only(file_of(fits.PrimaryHDU(pixels(shape=(1, 40, 50)))))
    assert (40, 50) == found.image.shape


def test_bytes_after_the_last_hdu_do_no_harm() -> None:
    """Damaged disks leave any number of them."""
    whole = file_of(fits.PrimaryHDU(pixels("int16")))
    assert isinstance(only(whole + b"\xa5" * 2_000_000), Frame)


def test_a_damaged_detector_does_not_take_the_others_with_it() -> None:
    """Detectors before the damage are still read."""
    images = [fits.ImageHDU(pixels(shape=(99, 99)), name=name) for name in ("CCD1", "CCD2")]
    first, second = frames.read_frames(file_of(*images)[:-20000], "visit")
    assert isinstance(first, Frame)
    assert isinstance(second, FrameRefused)
    assert (FrameReason.TRUNCATED, "CCD2") == (second.reason, second.detector)


@pytest.mark.parametrize("compressed", [False, True])
def test_no_damaged_byte_raises(compressed: bool) -> None:
    """For any changed byte, the result is a frame or a reason."""
    image = pixels("int16")
    hdu = fits.CompImageHDU(image) if compressed else fits.PrimaryHDU(image)
    content, rng = file_of(hdu), np.random.default_rng(3)
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 4):
            damaged[at] = int(rng.integers(0, 256))
        for found in frames.read_frames(bytes(damaged), "damaged", FrameRules(max_pixels=10**6)):
            assert isinstance(found, Frame | FrameRefused)


def test_a_missing_file_and_a_folder_have_reasons(tmp_path: Path) -> None:
    """The reader returns refusals and raises no exception."""
    (missing,) = frames.read_frame_file(str(tmp_path / "none.fits[1]"))
    (folder,) = frames.read_frame_file(str(tmp_path))
    assert isinstance(missing, FrameRefused)
    assert isinstance(folder, FrameRefused)
    assert FrameReason.REFERENCE_MISSING == missing.reason
    assert FrameReason.REFERENCE_UNREACHABLE == folder.reason


def test_trimmed_samples_keep_their_size(samples: Path) -> None:
    """SAAO frames that were trimmed carry the raw frame's sections; the raw one is cut."""
    trimmed = next(
        frames.read_frame_file(str(samples / "exposures/tracking/AKB13475I0007.fits.gz"))
    )
    raw = next(frames.read_frame_file(str(samples / "exposures/good/saao1m_ste3_raw.fits.gz")))
    assert isinstance(trimmed, Frame)
    assert isinstance(raw, Frame)
    assert (512, 512) == trimmed.image.shape
    assert (520, 512) == raw.image.shape


def test_a_name_that_is_another_images_number_is_not_used() -> None:
    """Otherwise both would be detector 2."""
    content = file_of(fits.ImageHDU(pixels(), name="2"), fits.ImageHDU(pixels()))
    assert ["1", "2"] == [frame.detector for frame in frames.read_frames(content, "visit")]
