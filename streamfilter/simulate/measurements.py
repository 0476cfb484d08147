"""Simulates what the surveys measure of a source, under their own field names."""

from collections.abc import Callable

import numpy as np

from streamfilter.simulate.cameras import Conditions
from streamfilter.simulate.contaminants import Truth

EXPOSURE_S = 30.0
"""Both surveys' usual exposure."""

Measurements = dict[str, float | int | str | bool]

# Flags that LSST sets for a class. They are set for about half of the injections, so that a filter
# can agree with some and add others.
_LSST_FLAGS = {
    "CR": ("pixelFlags", "pixelFlags_cr"),
    "TRL": ("pixelFlags", "pixelFlags_streak", "pixelFlags_streakCenter"),
    "HCL": ("pixelFlags", "pixelFlags_bad"),
    "DCL": ("pixelFlags", "pixelFlags_bad", "pixelFlags_interpolated"),
    "HP": ("pixelFlags", "pixelFlags_bad"),
}


def measure(
    rng: np.random.Generator,
    conditions: Conditions,
    truth: Truth | None,
    ra_deg: float,
    dec_deg: float,
    *,
    negative: bool,
) -> Measurements:
    """Returns the fields of the survey's detection record, without ids and times.

    Parameters
    ----------
    truth
        The contaminant; None for a real event.
    negative
        Whether there is less light at the alert than in the template.
    """
    # The fraction of a pixel comes from the stamp's middle and the offset from it.
    y, x = (
        float(rng.integers(60, 3000)) + conditions.middle_px % 1 + o for o in conditions.offset_px
    )
    column, row = _POSITION[conditions.camera.survey]
    place: Measurements = {"ra": ra_deg, "dec": dec_deg, column: x, row: y}
    return place | _MEASURE[conditions.camera.survey](rng, conditions, truth, negative)


def _ztf_measured(
    rng: np.random.Generator, conditions: Conditions, truth: Truth | None, negative: bool
) -> Measurements:
    """Returns a ZTF candidate's numbers; most contaminants get low scores, but not all."""
    real = truth is None
    snr = float(5 * rng.random() ** (-1 / 1.4)) if truth is None else truth.snr
    score = float(rng.beta(8, 1.2)) if real else float(rng.beta(1.5, 3))
    elong = float(rng.uniform(1, 1.3)) if real else float(rng.uniform(1, 4))
    return {
        "fid": int(rng.integers(1, 4)),
        "programid": 1,
        "diffmaglim": 20.5,
        "isdiffpos": "f" if negative else "t",
        "rcid": int(rng.integers(0, 64)),
        "field": int(rng.integers(200, 880)),
        "magpsf": 20.5 - 2.5 * float(np.log10(snr / 5)),
        "sigmapsf": 1.09 / snr,
        "fwhm": conditions.fwhm_px if real else float(rng.uniform(0.6, 3)),
        "classtar": float(rng.random()),
        "elong": elong,
        "seeratio": conditions.fwhm_px / 2.2,
        "nneg": 0 if real else int(rng.integers(0, 5)),
        "nbad": 0 if real else int(rng.integers(0, 3)),
        "sumrat": float(rng.uniform(0.9, 1)) if real else float(rng.uniform(0.4, 1)),
        "rb": score,
        "drb": score,
        "drbversion": "simulated",
        "rbversion": "simulated",
        "ndethist": 1,
        "ncovhist": int(rng.integers(1, 900)),
        "scorr": snr,
        "magzpsci": 26.3,
        "exptime": EXPOSURE_S,
        "ssdistnr": -999.0,
        "ssmagnr": -999.0,
        "ssnamenr": "null",
    }


def _lsst_measured(
    rng: np.random.Generator, conditions: Conditions, truth: Truth | None, negative: bool
) -> Measurements:
    """Returns a diaSource's numbers and flags; about half of the contaminants are flagged."""
    snr = float(5 * rng.random() ** (-1 / 1.4)) if truth is None else truth.snr
    sigma = conditions.sigma_e / conditions.camera.gain_e_per_unit * conditions.fwhm_px
    sign = -1 if negative else 1
    flags: Measurements = {}
    if truth is not None and rng.random() < 0.5:
        flags = dict.fromkeys(_LSST_FLAGS[truth.code], True)
    return {
        **flags,
        "visit": 2_099_010_100_001,
        "detector": int(rng.integers(0, 189)),
        "ssObjectId": 0,
        "parentDiaSourceId": 0,
        "isNegative": negative,
        "snr": snr,
        "psfFlux": sign * snr * sigma,
        "psfFluxErr": sigma,
        "apFlux": sign * snr * sigma * 1.1,
        "apFluxErr": sigma * 2,
        "trailLength": float(rng.uniform(0.1, 1.5)),
        "extendedness": float(rng.random()),
        # Alerts below 0.5 are not sent.
        "reliability": float(rng.uniform(0.5, 1.0)),
        "band": str(rng.choice(list("ugrizy"))),
        "bboxSize": conditions.side_px - 20,
    }


_MEASURE: dict[
    str, Callable[[np.random.Generator, Conditions, Truth | None, bool], Measurements]
] = {
    "ztf": _ztf_measured,
    "lsst": _lsst_measured,
}
_POSITION = {"ztf": ("xpos", "ypos"), "lsst": ("x", "y")}
