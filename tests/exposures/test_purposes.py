"""Which headers say that an exposure is not to be judged."""

import pytest

from streamfilter.exposures import purposes
from streamfilter.exposures.records import NotJudged, SetAside


@pytest.mark.parametrize(
    ("name", "header", "reason"),
    [
        ("lco", {"OBSTYPE": "EXPOSE", "SRCTYPE": "EXTRASOLAR", "RATRACK": 0.0}, None),
        ("lco", {"OBSTYPE": "EXPOSE", "SRCTYPE": "MINORPLANET"}, NotJudged.NON_SIDEREAL),
        ("lco", {"OBSTYPE": "EXPOSE", "DECTRACK": -0.004}, NotJudged.NON_SIDEREAL),
        ("lco", {"OBSTYPE": "SKYFLAT"}, NotJudged.CALIBRATION),
        ("lco", {"OBSTYPE": "EXPOSE", "RATRACK": "N/A"}, None),
        ("decam", {"OBSTYPE": "object"}, None),
        ("decam", {"OBSTYPE": "dome flat"}, NotJudged.CALIBRATION),
        ("decam", {"OBSTYPE": "zero"}, NotJudged.CALIBRATION),
        ("decam", {"OBSTYPE": "focus"}, NotJudged.FOCUS),
        ("lsstcam", {"IMGTYPE": "OBJECT"}, None),
        ("lsstcam", {"IMGTYPE": "ACQ"}, None),
        ("lsstcam", {"IMGTYPE": "CWFS"}, NotJudged.FOCUS),
        ("lsstcam", {"IMGTYPE": "SFLAT"}, NotJudged.CALIBRATION),
        ("ztf", {"IMGTYPE": "object"}, None),
        ("ztf", {"IMGTYPE": "flat"}, NotJudged.CALIBRATION),
        ("ztf", {"IMGTYPE": "focus"}, NotJudged.FOCUS),
        ("generic", {"IMAGETYP": "Light Frame"}, None),
        ("generic", {"IMAGETYP": "LIGHT", "FRAME": "Light", "OBSTYPE": "science"}, None),
        ("generic", {"IMAGETYP": "Flat Field"}, NotJudged.CALIBRATION),
        ("generic", {"IMAGETYP": "Dark Frame"}, NotJudged.CALIBRATION),
        ("generic", {"ESO DPR TYPE": "FLAT,SKY"}, NotJudged.CALIBRATION),
        ("generic", {"IMAGETYP": "LIGHT", "BAYERPAT": "RGGB"}, NotJudged.COLOUR_MOSAIC),
        ("generic", {"IMAGETYP": "LIGHT", "BAYERPAT": ""}, None),
        ("none", {"OBSTYPE": "SKYFLAT"}, None),
    ],
)
def test_what_a_header_says_is_what_its_map_makes_of_it(
    name: str, header: dict[str, object], reason: NotJudged | None
) -> None:
    """Science exposures are judged; a keyword that is missing or no number says nothing."""
    found = purposes.set_aside(header.get, purposes.MAPS[name])
    assert reason == (None if found is None else found.reason)


def test_the_generic_map_knows_what_those_of_instruments_know() -> None:
    """So an instrument without a section of its own calls nobody for its flats."""
    generic = purposes.MAPS["generic"]
    for name, conditions in purposes.MAPS.items():
        for reason in conditions:
            assert generic[reason], name


def test_the_reason_names_the_card() -> None:
    """Whoever wonders why nothing was judged finds it in the header."""
    found = purposes.set_aside({"OBSTYPE": "SKYFLAT"}.get, purposes.MAPS["lco"])
    assert SetAside(NotJudged.CALIBRATION, "OBSTYPE is 'SKYFLAT'") == found


@pytest.mark.parametrize("text", ["", "OBSTYPE", "=FLAT", "RATRACK!=1", "OBSTYPE="])
def test_a_condition_that_is_none_is_refused(text: str) -> None:
    """The error shows it, and what is expected."""
    with pytest.raises(ValueError, match="expected KEYWORD=value"):
        purposes.condition(text)
