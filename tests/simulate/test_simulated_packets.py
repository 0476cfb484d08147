import gzip
import io
from collections import Counter
from typing import Any

import fastavro
import numpy as np
import pytest
from astropy.io import fits

from streamfilter.records import Plane
from streamfilter.simulate.cameras import ZTF
from streamfilter.simulate.contaminants import Truth
from streamfilter.simulate.sky import draw_sky, expose
from streamfilter.simulate.stamps import at_the_edge
from streamfilter.simulate.visits import SimulatedAlert, alerts
from streamfilter.simulate.writers import SIMULATED_SCHEMA_ID, writer

STAMPS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")


@pytest.fixture(scope="module")
def night() -> list[SimulatedAlert]:
    """Returns forty alerts of both surveys, half of them contaminated."""
    mix = dict.fromkeys(("CR", "TRL", "HCL", "DCL", "HP"), 0.1)
    return list(alerts(7, 40, mix=mix, per_visit=10))


def of(night: list[SimulatedAlert], survey: str) -> list[SimulatedAlert]:
    """The alerts of one survey, at least a dozen."""
    mine = [alert for alert in night if alert.survey == survey]
    assert len(mine) > 12
    return mine


def record_of(alert: SimulatedAlert) -> dict[str, Any]:
    """The record, read by fastavro alone."""
    if alert.survey == "ztf":
        (record,) = fastavro.reader(io.BytesIO(alert.value))
    else:
        schema = fastavro.parse_schema(writer("lsst").definition)
        record = fastavro.schemaless_reader(io.BytesIO(alert.value[5:]), schema)
    assert isinstance(record, dict)
    return record


def test_a_ztf_packet_is_a_container_of_one_record_with_its_schema(
    night: list[SimulatedAlert],
) -> None:
    """Its readers need nothing but the file."""
    for alert in of(night, "ztf"):
        schema = fastavro.reader(io.BytesIO(alert.value)).writer_schema
        assert isinstance(schema, dict)
        assert schema["name"] == "ztf.alert"
        record = record_of(alert)
        assert alert.alert_id == str(record["candid"]) == str(record["candidate"]["candid"])


def test_an_lsst_packet_names_its_schema_by_a_big_endian_id(night: list[SimulatedAlert]) -> None:
    """0x00, the id, and a record that leaves no byte over."""
    schema = fastavro.parse_schema(writer("lsst").definition)
    for alert in of(night, "lsst"):
        assert b"\x00" + SIMULATED_SCHEMA_ID.to_bytes(4, "big") == alert.value[:5]
        body = io.BytesIO(alert.value[5:])
        record = fastavro.schemaless_reader(body, schema)
        assert b"" == body.read()
        assert isinstance(record, dict)
        assert alert.alert_id == str(record["diaSource"]["diaSourceId"])


def test_a_ztf_stamp_is_one_big_endian_image_in_gzip(night: list[SimulatedAlert]) -> None:
    """63 px a side, or cut at the top or right."""
    for alert in of(night, "ztf"):
        for stamp in STAMPS:
            with fits.open(io.BytesIO(gzip.decompress(record_of(alert)[stamp]["stampData"]))) as f:
                (hdu,) = f
                assert hdu.data.dtype == ">f4"
                assert 39 <= min(hdu.data.shape) <= max(hdu.data.shape) == 63


def test_an_lsst_stamp_has_image_variance_and_psf(night: list[SimulatedAlert]) -> None:
    """In the order and the types of the real ones, and 34,560 bytes where the real ones are."""
    for alert in of(night, "lsst"):
        stamp = record_of(alert)["cutoutScience"]
        with fits.open(io.BytesIO(stamp)) as f:
            assert ["PRIMARY", "UNCERT", "PSFIMAGE"] == [hdu.name for hdu in f]
            assert [">f4", ">f4", ">f8"] == [hdu.data.dtype for hdu in f]
            assert f[0].data.shape == f[1].data.shape
            assert f[1].data.min() > 0
            if f[0].data.shape == (30, 30):
                assert len(stamp) == 34_560


def test_the_true_pixels_stand_out_in_the_science_stamp(night: list[SimulatedAlert]) -> None:
    """Science less template is far from zero on the truth's mask and near zero off it."""
    hit = [a for a in of(night, "lsst") if a.truth is not None and a.truth.snr > 30]
    assert len(hit) >= 4
    for alert in hit:
        record, truth = record_of(alert), alert.truth
        assert truth is not None
        image = np.abs(fits.getdata(io.BytesIO(record["cutoutDifference"])))
        assert np.median(image[truth.mask]) > 3 * np.median(image[~truth.mask])


def test_a_ztf_stamp_loses_pixels_at_the_chips_edge_and_keeps_its_source() -> None:
    """Truth and stamp lose the same pixels; 300 of 300 stamps have pixel (31, 31)."""
    rng = np.random.default_rng(0)
    sky = draw_sky(rng, ZTF, event=False)
    triplet, everywhere = expose(rng, sky), Truth("HP", np.ones((63, 63), dtype=bool), 0.0, 1.0)
    shapes, missing = Counter[tuple[int, ...]](), 0
    for _ in range(300):
        lost, truth = at_the_edge(rng, triplet, everywhere)
        image = lost.images[Plane.SCIENCE]
        assert truth is not None
        assert np.array_equal(truth.mask, np.isfinite(image))
        assert truth.mask[31, 31]
        shapes[image.shape] += 1
        missing += not truth.mask.all()
    assert 275 < shapes[63, 63] < 300
    assert 15 < missing < 60


def test_the_exposures_end_can_be_read_from_the_packet(night: list[SimulatedAlert]) -> None:
    """ZTF dates the start (JD, UTC), LSST the middle (MJD, TAI)."""
    for alert in night:
        record = record_of(alert)
        if alert.survey == "ztf":
            end = (record["candidate"]["jd"] - 2440587.5) * 86400 + 30
        else:
            end = (record["diaSource"]["midpointMjdTai"] - 40587) * 86400 + 15 - 37
        assert alert.light_end_unix_s == pytest.approx(end, abs=1e-3)


def test_lsst_flags_some_contaminants_and_nothing_else() -> None:
    """So a filter can agree with some flags and add others."""
    flags = {True: 0, False: 0}
    for alert in alerts(5, 60, surveys=("lsst",), mix={"CR": 0.5}):
        flagged = record_of(alert)["diaSource"]["pixelFlags_cr"]
        assert alert.truth is not None or not flagged
        flags[flagged] += alert.truth is not None
    assert min(flags.values()) > 5


def test_the_source_of_an_lsst_stamp_is_where_its_header_says(night: list[SimulatedAlert]) -> None:
    """On pixel x - CUTMINX - 1, within half a pixel of the middle, as in real packets."""
    for alert in of(night, "lsst"):
        record = record_of(alert)
        header = fits.getheader(io.BytesIO(record["cutoutScience"]))
        column = record["diaSource"]["x"] - header["CUTMINX"] - 1
        assert abs(column - (header["NAXIS1"] - 1) / 2) < 0.51


def test_negative_detections_are_sent_as_their_survey_sends_them() -> None:
    """ZTF turns the difference, so that they are bright in it; LSST does not."""
    negative = Counter[str]()
    for alert in alerts(5, 60, mix={"DCL": 0.3}):
        record = record_of(alert)
        if alert.survey == "ztf":
            data = gzip.decompress(record["cutoutDifference"]["stampData"])
            positive, bright = record["candidate"]["isdiffpos"] == "t", True
        else:
            data = record["cutoutDifference"]
            positive = bright = not record["diaSource"]["isNegative"]
            assert positive == (record["diaSource"]["psfFlux"] > 0)
        image = fits.getdata(io.BytesIO(data))
        middle = 31 if alert.survey == "ztf" else len(image) // 2
        core = image[middle - 1 : middle + 2, middle - 1 : middle + 2]
        negative[alert.survey] += not positive
        if abs(core.sum()) > 9 * np.nanstd(image):
            assert bright == (core.sum() > 0)
    assert min(negative["ztf"], negative["lsst"]) > 5
