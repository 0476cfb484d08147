"""What the headers of real and made frames announce."""

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from streamfilter.exposures import readout
from streamfilter.exposures.readout import (
    INSTRUMENTS,
    AnnouncementOptions,
    announcements,
    read_header,
    with_keywords,
)
from streamfilter.exposures.records import Announced

DEFAULT = AnnouncementOptions()


def made(count: int = 1, **keywords: Any) -> bytes:
    """Returns a file with some detectors, and with keywords in its primary header."""
    primary = fits.PrimaryHDU()
    for name, value in keywords.items():
        primary.header[name.replace("_", "-")] = value
    images = [fits.ImageHDU(np.zeros((2, 2)), name=f"N{n}") for n in range(count)]
    out = io.BytesIO()
    fits.HDUList([primary, *images]).writeto(out)
    return out.getvalue()


def unix_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_real_readout_announces_itself(samples: Path) -> None:
    """The keywords of LCO's Rice-compressed frame are in its extension."""
    path = samples / "exposures/trailed/lco0m4_banzai_trailed.fits.fz"
    found = read_header(
        str(path), path.read_bytes(), AnnouncementOptions(keywords=INSTRUMENTS["lco"])
    )
    assert (1, "tfn0m414-kb29-20160625-0060-e00.fits", "kb29", 45.265, "w") == (
        found.detectors,
        found.announced.exposure_id,
        found.announced.instrument,
        found.announced.exposure_time_s,
        found.announced.filter,
    )
    start = unix_s("2016-06-25T21:16:05.072")
    assert start + 45.265 / 2 == pytest.approx(found.announced.mid_exposure_unix_s, abs=1e-3)


def test_every_real_frame_is_dated(samples: Path) -> None:
    """Five telescopes, each with its own habit."""
    paths = list((samples / "exposures" / "good").iterdir())
    assert paths
    for path in paths:
        found = read_header(str(path), path.read_bytes(), DEFAULT).announced
        year = datetime.fromtimestamp(found.mid_exposure_unix_s or 0, UTC).year
        assert 2013 <= year <= 2023, path.name
        assert found.exposure_time_s


@pytest.mark.parametrize(
    ("keywords", "moment"),
    [
        ({"DATE_OBS": "2026-01-01T00:00:00", "EXPTIME": 60.0}, "2026-01-01T00:00:30"),
        ({"DATE_OBS": "2026-01-01", "UT": "01:02:03", "EXPTIME": 2}, "2026-01-01T01:02:04"),
        ({"DATE_OBS": "2026-01-01", "MJD_OBS": 61041.5}, "2026-01-01T12:00:00"),
        ({"DATE_AVG": "2026-01-01T00:00:37", "TIMESYS": "TAI"}, "2026-01-01T00:00:00"),
        ({"DATE_AVG": "2026-01-01T00:00:05", "DATE_OBS": "2026-01-01"}, "2026-01-01T00:00:05"),
    ],
)
def test_the_middle_of_an_exposure_is_found(keywords: dict[str, Any], moment: str) -> None:
    """It is in the header, or the start plus half the exposure time; TAI is changed to UTC."""
    found = read_header("x.fits", made(**keywords), DEFAULT).announced.mid_exposure_unix_s
    assert unix_s(moment) == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize("keywords", [{}, {"DATE_OBS": "yesterday"}, {"DATE_OBS": "2026-01-01"}])
def test_what_is_not_dated_has_no_middle(keywords: dict[str, Any]) -> None:
    """A date alone could be half a day off."""
    found = read_header("x.fits", made(**keywords), DEFAULT).announced
    assert found.mid_exposure_unix_s is None


def test_a_damaged_file_is_announced_by_its_name() -> None:
    """The service rejects it with a reason; the producer does not hide it."""
    found = read_header("night/a.fits.fz", b"no FITS", DEFAULT)
    assert (Announced(exposure_id="a", instrument="unknown"), 1) == (
        found.announced,
        found.detectors,
    )


def test_detectors_of_an_exposure_are_counted_over_its_files() -> None:
    """Three are in one file, one is in another; another exposure is counted separately."""
    files = [made(3, EXPID="7"), made(1, EXPID="7"), made(2, EXPID="8")]
    readouts = [read_header("x.fits", content, DEFAULT) for content in files]
    found = [each.detectors_expected for each in announcements(readouts, DEFAULT)]
    assert [4, 4, 2] == found
    options = AnnouncementOptions(detectors_expected=62)
    assert {62} == {each.detectors_expected for each in announcements(readouts, options)}


def test_keywords_can_be_chosen() -> None:
    """Our fields are read from the observatory's keywords; an unknown field is refused."""
    keywords = with_keywords(INSTRUMENTS["default"], {"exposure_id": "FRAME", "detector": "CHIP"})
    found = read_header(
        "x.fits", made(FRAME=12, CHIP="B3"), AnnouncementOptions(keywords=keywords)
    ).announced
    assert ("12", "B3") == (found.exposure_id, found.detector)
    with pytest.raises(ValueError, match="no word 'exposure'; there are exposure_id"):
        with_keywords(INSTRUMENTS["default"], {"exposure": "FRAME"})


def test_a_reference_names_the_file_and_its_content(tmp_path: Path) -> None:
    """Size and sha256 are those of the bytes on disk."""
    found = readout.refer(str(tmp_path / "x.fits"), b"bytes")
    assert ((tmp_path / "x.fits").as_uri(), 5, hashlib.sha256(b"bytes").hexdigest()) == (
        found.uri,
        found.size,
        found.sha256,
    )


def detectors(
    files: list[tuple[str, bytes]], options: AnnouncementOptions = DEFAULT
) -> list[tuple[str | None, int | None]]:
    """Returns, for each file, its announced detector and number of detectors."""
    readouts = [read_header(path, content, options) for path, content in files]
    return [(each.detector, each.detectors_expected) for each in announcements(readouts, options)]


def test_quadrants_of_ztf_are_detectors() -> None:
    """A science file has one of a CCD's four quadrants; a raw file has all four, and overscans."""
    options = AnnouncementOptions(keywords=INSTRUMENTS["ztf"])
    science = [("s.fits", made(EXPID=7, CCDID=2, QID=q, RCID=3 + q)) for q in (1, 2)]
    assert [("4", 2), ("5", 2)] == detectors(science, options)
    older = [("s.fits", made(EXPID=7, CCDID=2, QID=q)) for q in (1, 2)]
    assert [("2_1", 2), ("2_2", 2)] == detectors(older, options)
    strips = [fits.ImageHDU(np.zeros((50, 1))) for _ in range(4)]
    quadrants = [fits.ImageHDU(np.zeros((50, 50))) for _ in range(4)]
    primary = fits.PrimaryHDU()
    raw = []
    for primary.header["CCD_ID"] in (1, 2):
        primary.header["FRAMENUM"], out = 7, io.BytesIO()
        fits.HDUList([primary, *quadrants, *strips]).writeto(out)
        raw.append(("r.fits", out.getvalue()))
    assert [("1", 8), ("2", 8)] == detectors(raw, options)


def test_segments_of_lsst_belong_to_their_detector() -> None:
    """A raw file has raft and slot in its primary header; all files name extensions alike."""
    options = AnnouncementOptions(keywords=INSTRUMENTS["lsstcam"])
    files = [("r.fits", made(16, OBSID="MC_O_1", RAFTBAY="R22", CCDSLOT=s)) for s in ("S00", "S01")]
    assert [("R22_S00", 32), ("R22_S01", 32)] == detectors(files, options)


def test_files_tell_detectors_apart_where_no_keyword_does() -> None:
    """All images have one name; with a keyword for the detector, names stay as they are."""
    files = [(f"night/ccd{n}.fits.fz", made(EXPNUM=7, CHIP=n)) for n in (1, 2)]
    assert [("ccd1", 2), ("ccd2", 2)] == detectors(files)
    assert [("ccd1", 2), ("ccd2", 2)] == detectors(files, AnnouncementOptions(exposure_id="v1"))
    keywords = with_keywords(INSTRUMENTS["default"], {"detector": "CHIP"})
    assert [("1", 2), ("2", 2)] == detectors(files, AnnouncementOptions(keywords=keywords))
    assert [("ccd1", 4)] == detectors(files[:1], AnnouncementOptions(detectors_expected=4))
    apart = [("a.fits", made(EXPNUM=1)), ("b.fits", made(EXPNUM=2))]
    assert [(None, 1), (None, 1)] == detectors(apart)


def test_two_files_of_one_detector_are_refused() -> None:
    """Nothing distinguishes them, and the second would be taken for a duplicate."""
    options = AnnouncementOptions(
        keywords=with_keywords(INSTRUMENTS["default"], {"detector": "CHIP"})
    )
    files = [("a.fits", made(EXPNUM=7, CHIP="N1")), ("b.fits", made(EXPNUM=7, CHIP="N1"))]
    with pytest.raises(ValueError, match=r"a.fits and b.fits are both detector 'N1'.*--keyword"):
        detectors(files, options)


def test_a_card_that_cannot_be_read_takes_no_other_with_it() -> None:
    """FITS has no NaN; the exposure keeps its name."""
    content = made(4, EXPNUM=5, INSTRUME="MyCam", AIRMASS=1.0)
    damaged = content.replace(b"AIRMASS =                  1.0", b"AIRMASS =                  NaN")
    found = read_header("x.fits", damaged, DEFAULT)
    assert content != damaged
    assert ("5", "MyCam", 4) == (
        found.announced.exposure_id,
        found.announced.instrument,
        found.detectors,
    )
