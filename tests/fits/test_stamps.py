"""Stamp bytes to planes."""

import contextlib
import gzip
import io
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfilter.errors import MessageRejected, Reason
from streamfilter.fits.stamps import Planes, read_stamp, read_stamp_with_astropy
from streamfilter.limits import Limits

LIMITS = Limits()


def fits_bytes(*hdus: Any) -> bytes:
    """A FITS file of these HDUs."""
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    return buffer.getvalue()


def image(side: int = 9, dtype: str = ">f4") -> np.ndarray[Any, Any]:
    """A small ramp."""
    return np.arange(side * side, dtype=dtype).reshape(side, side)


def plain(side: int = 9) -> bytes:
    """A FITS file of one image."""
    return fits_bytes(fits.PrimaryHDU(image(side)))


def reason_of(data: bytes, limits: Limits = LIMITS) -> Reason:
    """Why a stamp is refused."""
    with pytest.raises(MessageRejected) as caught:
        read_stamp(data, limits)
    return caught.value.reason


def replaced(data: bytes, keyword: str, value: object) -> bytes:
    """The file with another value in the first card of a keyword."""
    at = data.index(f"{keyword:8}=".encode())
    return data[:at] + f"{keyword:8}= {value!s:>20}".encode().ljust(80) + data[at + 80 :]


def container_stamps(record: dict[str, Any]) -> Iterator[bytes]:
    """The stamps of a decoded packet."""
    for name, value in record.items():
        if name.lower().startswith("cutout") and value is not None:
            yield value["stampData"] if isinstance(value, dict) else value


def sample_stamps(samples: Path) -> Iterator[bytes]:
    """Every stamp of every sample packet."""
    for survey in ("ztf", "winter", "decam", "pgir"):
        for path in sorted((samples / survey).glob("*.avro")):
            with path.open("rb") as file:
                yield from container_stamps(next(fastavro.reader(file)))  # type: ignore[arg-type]
    for path in sorted((samples / "lsst").glob("*.bin")):
        data = path.read_bytes()
        starts = [at for at in range(len(data)) if data.startswith(b"SIMPLE  =", at)]
        yield from (data[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True))


def assert_same(expected: Planes, planes: Planes) -> None:
    """Bit for bit, NaN included."""
    for one, other in zip(expected, planes, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.dtype, one.shape, one.tobytes()) == (
                other.dtype,
                other.shape,
                other.tobytes(),
            )


def test_the_fast_path_equals_astropy_on_every_sample_stamp(samples: Path) -> None:
    """All planes of all stamps are the same bits by both ways."""
    count = 0
    for data in sample_stamps(samples):
        # The three of LSST come without the lengths between them, so a few bytes may follow.
        whole = data if data[:2] == b"\x1f\x8b" else data[: len(data) // 2880 * 2880]
        assert_same(read_stamp_with_astropy(whole, LIMITS), read_stamp(whole, LIMITS))
        count += 1
    assert count > 150


def test_planes_are_native_contiguous_float32() -> None:
    """The byte order and width of the file do not matter."""
    planes = read_stamp(fits_bytes(fits.PrimaryHDU(image(dtype=">f8"))), LIMITS)
    assert ("=", np.dtype(np.float32), True) == (
        planes.image.dtype.byteorder,
        planes.image.dtype,
        planes.image.flags.c_contiguous and planes.image.flags.writeable,
    )


def test_nan_is_kept() -> None:
    """Pixels without data stay NaN."""
    pixels = image()
    pixels[2, 3] = np.nan
    stamp = read_stamp(gzip.compress(fits_bytes(fits.PrimaryHDU(pixels))), LIMITS)
    assert [[2, 3]] == np.argwhere(np.isnan(stamp.image)).tolist()


def test_variance_and_psf_are_found_by_their_names() -> None:
    """UNCERT and PSFIMAGE, in any order; the PSF has a size of its own."""
    data = fits_bytes(
        fits.PrimaryHDU(image()),
        fits.ImageHDU(image(5, ">f8"), name="PSFIMAGE"),
        fits.ImageHDU(image() + 1, name="UNCERT"),
    )
    planes = read_stamp(data, LIMITS)
    assert planes.variance is not None
    assert planes.psf is not None
    assert (1.0, (5, 5)) == (planes.variance[0, 0], planes.psf.shape)


@pytest.mark.parametrize("wanted", [(), ("UNCERT",), ("PSFIMAGE",), ("UNCERT", "PSFIMAGE")])
def test_extensions_are_read_where_they_are_wanted(wanted: tuple[str, ...]) -> None:
    """The image is the same, and a variance of another shape is refused, wanted or not."""
    psf, uncertainty = (fits.ImageHDU(image(), name=name) for name in ("PSFIMAGE", "UNCERT"))
    planes = read_stamp(fits_bytes(fits.PrimaryHDU(image()), psf, uncertainty), LIMITS, wanted)
    np.testing.assert_array_equal(image(), planes.image)
    found = {"UNCERT": planes.variance, "PSFIMAGE": planes.psf}
    assert set(wanted) == {name for name, plane in found.items() if plane is not None}
    odd = fits_bytes(fits.PrimaryHDU(image()), fits.ImageHDU(image(5), name="UNCERT"))
    with pytest.raises(MessageRejected, match="a variance of"):
        read_stamp(odd, LIMITS, wanted)


def test_a_standard_deviation_becomes_a_variance() -> None:
    """astropy's writer names the kind in UTYPE."""
    uncertainty = fits.ImageHDU(image() + 3, name="UNCERT")
    uncertainty.header["UTYPE"] = "StdDevUncertainty"
    variance = read_stamp(fits_bytes(fits.PrimaryHDU(image()), uncertainty), LIMITS).variance
    assert variance is not None
    assert 9.0 == variance[0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_are_read_through_astropy(dtype: str) -> None:
    """Integer images, the unsigned ones by BZERO, keep their values."""
    pixels = image(dtype=dtype)
    stamp = read_stamp(fits_bytes(fits.PrimaryHDU(pixels)), LIMITS)
    np.testing.assert_array_equal(pixels, stamp.image)


def test_scaled_pixels_are_read_through_astropy() -> None:
    """BSCALE and BZERO are applied, BLANK becomes NaN."""
    hdu = fits.PrimaryHDU(image(dtype="int16"))
    hdu.header["BLANK"] = 7
    data = replaced(fits_bytes(hdu), "EXTEND", "T") if "EXTEND" in hdu.header else fits_bytes(hdu)
    at = data.index(b"END" + b" " * 77)
    cards = b"BSCALE  =                  2.0".ljust(80) + b"BZERO   =                 10.0".ljust(
        80
    )
    stamp = read_stamp(data[:at] + cards + data[at : at + 2880 - at - 160] + data[2880:], LIMITS)
    assert (12.0, True) == (stamp.image[0, 1], bool(np.isnan(stamp.image[0, 7])))


def test_a_rice_compressed_image_is_read_through_astropy() -> None:
    """A tile-compressed image in the first extension is the stamp."""
    data = fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(image(32, "int16")))
    np.testing.assert_array_equal(image(32, "int16"), read_stamp(data, LIMITS).image)


@pytest.mark.parametrize("shape", [(5,), (2, 5, 5), (5, 5, 1)])
def test_other_numbers_of_axes_are_malformed(shape: tuple[int, ...]) -> None:
    """A stamp has two axes; what was found is said as FITS counts them."""
    data = fits_bytes(fits.PrimaryHDU(np.zeros(shape, ">f4")))
    with pytest.raises(MessageRejected, match=" x ".join(map(str, shape[::-1]))) as caught:
        read_stamp(data, LIMITS)
    assert Reason.STAMP_MALFORMED == caught.value.reason


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 1, 9, 9)])
def test_axes_of_one_pixel_are_none(shape: tuple[int, ...]) -> None:
    """An image that was cut out of a cube of one plane."""
    data = fits_bytes(fits.PrimaryHDU(image().reshape(shape)))
    np.testing.assert_array_equal(image(), read_stamp(data, LIMITS).image)


@pytest.mark.parametrize("dtype", [">f4", "int16"])
@pytest.mark.parametrize("shape", [(7,), (3, 5, 5), (50, 50)])
def test_what_is_not_the_image_has_any_shape(shape: tuple[int, ...], dtype: str) -> None:
    """An extension beside it, also one over the limit, is passed over."""
    other = fits.ImageHDU(np.zeros(shape, dtype))
    data = fits_bytes(fits.PrimaryHDU(image(dtype=dtype)), other)
    planes = read_stamp(data, Limits(max_stamp_side_px=20))
    np.testing.assert_array_equal(image(), planes.image)
    assert (None, None) == (planes.variance, planes.psf)


@pytest.mark.parametrize("dtype", [">f4", "int32"])
@pytest.mark.parametrize(
    "name", ["MASK", "DQ_1", "VARIANCE", "IVAR", "RMS", "WEIGHT", "mask", "PSF"]
)
def test_a_plane_of_another_meaning_is_not_the_image(name: str, dtype: str) -> None:
    """Whichever comes first."""
    other = fits.ImageHDU(image(dtype=dtype) * 0, name=name)
    data = fits_bytes(fits.PrimaryHDU(), other, fits.ImageHDU(image(), name="IMAGE"))
    np.testing.assert_array_equal(image(), read_stamp(data, LIMITS).image)
    assert Reason.STAMP_MALFORMED == reason_of(fits_bytes(fits.PrimaryHDU(), other))


def test_a_compressed_mask_is_not_opened() -> None:
    """Its size does not count either."""
    mask = fits.CompImageHDU(image(32, "int16"), name="MASK")
    data = fits_bytes(fits.PrimaryHDU(image()), mask)
    planes = read_stamp(data, Limits(max_stamp_side_px=20))
    np.testing.assert_array_equal(image(), planes.image)


@pytest.mark.parametrize("name", ["VAR/X", " VAR", "SCI"])
def test_what_is_unpacked_is_bounded_whatever_its_name(name: str) -> None:
    """A kilobyte in gzip may say that it is a compressed image of 15,000 px a side."""
    vast = fits.CompImageHDU(
        np.zeros((4000, 4000), np.uint8), compression_type="GZIP_1", tile_shape=(4000, 4000)
    )
    vast.header["EXTNAME"] = name
    data = fits_bytes(fits.PrimaryHDU(image()), vast)
    tracemalloc.start()
    with contextlib.suppress(MessageRejected):
        read_stamp(gzip.compress(data), LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_psf_larger_than_any_is_left_out() -> None:
    """It would stay in memory for as long as its alert waits."""
    kernel = fits.ImageHDU(np.zeros((900, 900), ">f4"), name="PSFIMAGE")
    planes = read_stamp(gzip.compress(fits_bytes(fits.PrimaryHDU(image()), kernel)), LIMITS)
    np.testing.assert_array_equal(image(), planes.image)
    assert planes.psf is None


@pytest.mark.parametrize("fill", [b"\n", b"\r\n", b"\0", b" " * 80, bytes(2880)])
@pytest.mark.parametrize("dtype", [">f4", "int16"])
def test_fill_after_the_file_is_no_harm(fill: bytes, dtype: str) -> None:
    """Zeros, blanks and ends of lines, after FITS and after gzip."""
    data = fits_bytes(fits.PrimaryHDU(image(dtype=dtype)))
    for stamp in (data + fill, gzip.compress(data) + fill, gzip.compress(data + fill)):
        np.testing.assert_array_equal(image(), read_stamp(stamp, LIMITS).image)
    assert Reason.STAMP_MALFORMED == reason_of(data + b"tail")


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n....", b"\xff\xd8\xff\xe0....", b"U0lNUExF", b"BZh9"]
)
def test_bytes_of_another_kind_are_shown(data: bytes) -> None:
    """PNG, JPEG, base64, bzip2: the first bytes tell which, and what was expected is said."""
    with pytest.raises(MessageRejected, match="expected FITS, plain or in gzip") as caught:
        read_stamp(data, LIMITS)
    assert repr(data[:8]) in caught.value.found


@pytest.mark.parametrize(
    "data",
    [b"", b"SIMPLE", b"\x00" * 5760, fits_bytes(fits.PrimaryHDU()), b"GIF89a" * 900],
    ids=["empty", "short", "zeros", "no image", "other"],
)
def test_what_holds_no_image_is_malformed(data: bytes) -> None:
    """No image, no stamp."""
    assert Reason.STAMP_MALFORMED == reason_of(data)


def test_a_non_square_stamp_keeps_its_shape() -> None:
    """NAXIS1 is the width."""
    stamp = read_stamp(fits_bytes(fits.PrimaryHDU(np.zeros((48, 63), ">f4"))), LIMITS)
    assert (48, 63) == stamp.image.shape


@pytest.mark.parametrize("keyword", ["NAXIS1", "NAXIS2"])
@pytest.mark.parametrize("claim", [100_000, 999_999_999, 10**18])
def test_a_claimed_huge_image_is_refused(keyword: str, claim: int) -> None:
    """A header alone allocates nothing."""
    data = replaced(plain(), keyword, claim)
    assert reason_of(data) in (Reason.STAMP_TOO_LARGE, Reason.STAMP_MALFORMED)


@pytest.mark.parametrize("claim", [-1, 0, "9.5", "'x'", "1e3", ""])
def test_a_nonsense_side_is_malformed(claim: object) -> None:
    """Sides are whole numbers above 0."""
    assert Reason.STAMP_MALFORMED == reason_of(replaced(plain(), "NAXIS1", claim))


def test_a_side_over_the_limit_is_too_large() -> None:
    """The limit is in pixels."""
    limits = Limits(max_stamp_side_px=8)
    assert Reason.STAMP_TOO_LARGE == reason_of(plain(), limits)


def test_a_truncated_image_is_malformed() -> None:
    """Pixels that are announced must be there."""
    assert Reason.STAMP_MALFORMED == reason_of(plain(40)[:-2880])


def test_missing_padding_is_no_harm() -> None:
    """The fill after the last pixel may be cut."""
    assert (9, 9) == read_stamp(plain()[: 2880 + 324], LIMITS).image.shape


def test_a_gzip_bomb_is_too_large() -> None:
    """Decompression stops at the limit."""
    assert Reason.STAMP_TOO_LARGE == reason_of(gzip.compress(bytes(50_000_000)))


@pytest.mark.parametrize("at", [-8, -4, 40])
def test_a_damaged_gzip_is_refused(at: int) -> None:
    """Checksum, length and content are checked."""
    data = bytearray(gzip.compress(plain()))
    data[at] ^= 0xFF
    assert Reason.STAMP_COMPRESSION == reason_of(bytes(data))


def test_a_truncated_gzip_is_refused() -> None:
    """The trailer must be there."""
    assert Reason.STAMP_COMPRESSION == reason_of(gzip.compress(plain())[:-3])


def test_a_gzip_of_two_members_is_one_file() -> None:
    """Members are joined, as gzip itself does."""
    data = plain()
    joined = gzip.compress(data[:1000]) + gzip.compress(data[1000:]) + b"\0\0"
    np.testing.assert_array_equal(image(), read_stamp(joined, LIMITS).image)


def test_a_gzip_with_other_bytes_after_it_is_refused() -> None:
    """Bytes that belong to nothing are not ignored, and are not taken for a cut."""
    for tail in (b"t", b"tail"):
        with pytest.raises(MessageRejected, match=f"{len(tail)} bytes after the gzip") as caught:
            read_stamp(gzip.compress(plain()) + tail, LIMITS)
        assert Reason.STAMP_COMPRESSION == caught.value.reason


def test_many_empty_members_are_refused() -> None:
    """Each member costs a copy of the rest, so their number is bounded."""
    assert Reason.STAMP_COMPRESSION == reason_of(gzip.compress(b"") * 10_000)


def test_a_packed_bomb_is_refused() -> None:
    """A compressed image larger than its pixels is not handed to astropy."""
    hdu = fits.CompImageHDU(image(8, "int16"))
    data = fits_bytes(fits.PrimaryHDU(), hdu)
    bomb = replaced(data, "PCOUNT", 200_000)[: 2 * 2880 + 2880] + zlib.compress(bytes(400_000), 0)
    assert Reason.STAMP_MALFORMED == reason_of(bomb)


@pytest.mark.parametrize("many", ["cards", "hdus"])
def test_headers_without_end_are_too_large(many: str) -> None:
    """A keyword that repeats 50,000 times would hold astropy for half a minute."""
    hdu = plain()
    cards = hdu[: 5 * 80] + b"BZERO   = 1".ljust(80) * 50_000 + b"END".ljust(80)
    longer = cards.ljust(-(-len(cards) // 2880) * 2880) + bytes(2880)
    extension = fits_bytes(fits.PrimaryHDU(), fits.ImageHDU(image(dtype="int16")))[2880:]
    assert Reason.STAMP_TOO_LARGE == reason_of(longer if many == "cards" else hdu + 100 * extension)


def test_values_beyond_float32_become_infinite() -> None:
    """Double pixels are narrowed without a warning."""
    data = fits_bytes(fits.PrimaryHDU(np.full((3, 3), 1e300, ">f8")))
    assert np.isinf(read_stamp(data, LIMITS).image).all()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_headers_raise_nothing_but_rejections(data: st.DataObject) -> None:
    """For any header the result is planes or a rejection."""
    base = bytearray(fits_bytes(fits.PrimaryHDU(image()), fits.ImageHDU(image(), name="UNCERT")))
    for _ in range(data.draw(st.integers(1, 5))):
        base[data.draw(st.integers(0, 800))] = data.draw(st.integers(0, 255))
    try:
        planes = read_stamp(bytes(base), LIMITS)
    except MessageRejected:
        return
    assert 2 == planes.image.ndim
