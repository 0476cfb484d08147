"""Makes alerts in their surveys' true wire forms: ZTF's object container, LSST's Confluent form.

Stamps take the most time and are rendered once per scene; a packet is a record around them.
"""

from dataclasses import dataclass

import numpy as np

from streamfilter.records import Plane
from streamfilter.simulate.cameras import CAMERAS, Conditions
from streamfilter.simulate.contaminants import INJECT, Truth, truth_of
from streamfilter.simulate.measurements import EXPOSURE_S, Measurements, measure
from streamfilter.simulate.sky import Triplet, draw_sky, expose
from streamfilter.simulate.stamps import Cards, at_the_edge, lsst_stamp, ztf_stamp
from streamfilter.simulate.writers import Record, confluent, object_container, writer

_ID_BASE = 9_000_000_000_000_000_000
_JD_OF_UNIX_EPOCH = 2_440_587.5
_MJD_OF_UNIX_EPOCH = 40_587.0
# TAI - UTC since 2017.
_LEAP_S = 37.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A rendered alert without id and time; many packets may share it."""

    survey: str
    truth: Truth | None
    object_number: int
    measured: Measurements
    tail: bytes
    """The encoded fields after the detection: history and stamps."""


def render(
    rng: np.random.Generator,
    survey: str,
    code: str | None,
    *,
    object_number: int,
    before_unix_s: float,
) -> Scene:
    """Draw a field, inject a contaminant and expose it.

    Parameters
    ----------
    code
        Class of the contaminant; None for a real event.
    object_number
        The survey's number of the object.
    before_unix_s
        The object's history ends before this.
    """
    sky = draw_sky(rng, CAMERAS[survey], event=code is None)
    truth, triplet = None, None
    if code is None:
        triplet = expose(rng, sky)
    else:
        injection = INJECT[code](rng, sky.conditions)
        truth, triplet = truth_of(injection, sky.conditions), expose(rng, sky, (injection,))
    ra_deg, dec_deg = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 0.5)))
    measured = measure(
        rng, sky.conditions, truth, float(ra_deg), float(dec_deg), negative=triplet.negative
    )
    # Contaminants do not come back to the same place; most real events have earlier detections.
    ages = 2.9 * np.arange(0 if truth else rng.integers(0, 20), 0, -1)
    earlier = [before_unix_s - _DAY_S * float(age) for age in ages]
    if survey == "ztf":
        triplet, truth = at_the_edge(rng, triplet, truth)
        tail = _ztf_tail(triplet, measured, object_number, earlier)
    else:
        tail = _lsst_tail(triplet, measured, object_number, earlier, sky.conditions)
    return Scene(survey, truth, object_number, measured, tail)


def alert_id(number: int) -> int:
    """Returns the id of the n-th simulated alert, larger than any survey's own."""
    return _ID_BASE + number


def packet(scene: Scene, number: int, light_end_unix_s: float) -> bytes:
    """Returns the message value of the n-th alert, whose exposure ended at the given time."""
    if scene.survey == "ztf":
        candid = alert_id(number)
        record: Record = {
            "schemavsn": "4.02",
            "publisher": "streamfilter simulation",
            "objectId": f"ZTFsim{scene.object_number:06d}",
            "candid": candid,
            "candidate": _ztf_detection(scene.measured, candid, light_end_unix_s),
        }
        return object_container("ztf", writer("ztf").encode_head(record) + scene.tail)
    source = _lsst_detection(scene.measured, number, scene.object_number, light_end_unix_s)
    record = {"diaSourceId": source["diaSourceId"], "diaSource": source}
    return confluent(writer("lsst").encode_head(record) + scene.tail)


def _ztf_detection(measured: Measurements, candid: int, light_end_unix_s: float) -> Record:
    jd = (light_end_unix_s - EXPOSURE_S) / _DAY_S + _JD_OF_UNIX_EPOCH
    # As ZTF numbers its images: milli-days since 2017-01-01, then the readout channel.
    pid = int((jd - 2_457_754.5) * 1000) * 10**6 + 10**4 * int(measured["rcid"])
    return {**measured, "jd": jd, "pid": pid, "candid": candid}


def _ztf_tail(
    triplet: Triplet, measured: Measurements, object_number: int, earlier: list[float]
) -> bytes:
    history = [
        _ztf_detection(measured, alert_id(object_number) - 10**9 - n, end)
        for n, end in enumerate(earlier)
    ]
    record: Record = {"prv_candidates": history or None}
    for plane, cutout, suffix in (
        (Plane.SCIENCE, "cutoutScience", "targ_sci"),
        (Plane.TEMPLATE, "cutoutTemplate", "ref"),
        (Plane.DIFFERENCE, "cutoutDifference", "targ_scimref"),
    ):
        name = f"ZTFsim{object_number:06d}_{suffix}.fits.gz"
        image = triplet.images[plane]
        # ZTF sends a negative detection's difference as template minus science.
        turned = plane is Plane.DIFFERENCE and measured["isdiffpos"] == "f"
        record[cutout] = {"fileName": name, "stampData": ztf_stamp(-image if turned else image)}
    return writer("ztf").encode_tail(record)


def _lsst_detection(
    measured: Measurements, number: int, object_number: int, light_end_unix_s: float
) -> Record:
    tai_s = light_end_unix_s + _LEAP_S
    return {
        **dict.fromkeys(writer("lsst").flags, False),
        **measured,
        "diaSourceId": alert_id(number),
        "diaObjectId": alert_id(object_number),
        "midpointMjdTai": (tai_s - EXPOSURE_S / 2) / _DAY_S + _MJD_OF_UNIX_EPOCH,
        "timeProcessedMjdTai": tai_s / _DAY_S + _MJD_OF_UNIX_EPOCH,
    }


def _lsst_tail(
    triplet: Triplet,
    measured: Measurements,
    object_number: int,
    earlier: list[float],
    conditions: Conditions,
) -> bytes:
    history = [
        _lsst_detection(measured, object_number - 10**9 - n, object_number, end)
        for n, end in enumerate(earlier)
    ]
    cards = _lsst_cards(measured, conditions)
    return writer("lsst").encode_tail(
        {
            "prvDiaSources": history or None,
            "diaObject": {
                "diaObjectId": alert_id(object_number),
                "ra": measured["ra"],
                "dec": measured["dec"],
                "nDiaSources": 1 + len(history),
                "firstDiaSourceMjdTai": history[0]["midpointMjdTai"] if history else None,
            },
            "cutoutDifference": lsst_stamp(triplet, Plane.DIFFERENCE, cards),
            "cutoutScience": lsst_stamp(triplet, Plane.SCIENCE, cards),
            "cutoutTemplate": lsst_stamp(triplet, Plane.TEMPLATE, cards),
        }
    )


def _lsst_cards(measured: Measurements, conditions: Conditions) -> Cards:
    """Returns the primary header of an LSST stamp: where it was cut, and a linear WCS."""
    x, y = float(measured["x"]), float(measured["y"])
    # As in real stamps: the source is on pixel x - CUTMINX - 1, counted from 0.
    corner_x, corner_y = (
        round(at - 1 - conditions.middle_px - offset)
        for at, offset in zip((x, y), reversed(conditions.offset_px), strict=True)
    )
    degrees = conditions.camera.arcsec_per_px / 3600
    return {
        "CUTMINX": corner_x,
        "CUTMINY": corner_y,
        "ROTPA": 0.0,
        "BUNIT": conditions.camera.unit,
        "WCSAXES": 2,
        "CRPIX1": x - corner_x,
        "CRPIX2": y - corner_y,
        "PC1_1": -degrees,
        "PC2_2": degrees,
        "CDELT1": 1.0,
        "CDELT2": 1.0,
        "CRVAL1": float(measured["ra"]),
        "CRVAL2": float(measured["dec"]),
    }
