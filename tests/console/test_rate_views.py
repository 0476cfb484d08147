"""Detectors are counted by survey, the worst first, and what is left out is said."""

import re

from streamfilter.console.rate_views import places_table
from streamfilter.records import Label

Counts = dict[tuple[str, ...], int]


def rows_of(table: str) -> list[list[str]]:
    """The texts of the cells, row by row."""
    body = table.partition("<tbody>")[2]
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in body.split("<tr>")[1:]]


def test_a_detector_of_one_survey_is_not_another_s() -> None:
    """With the classes of what was contaminated; the last hour beside all."""
    total: Counts = {
        ("ztf", "40", "g", Label.CONTAMINATED, "CR"): 2,
        ("ztf", "40", "g", Label.CONTAMINATED, "HCL"): 3,
        ("lsst", "40", "g", Label.CLEAN, ""): 9,
    }
    hour: Counts = {("ztf", "40", "g", Label.CONTAMINATED, "HCL"): 1}
    assert [
        ["ztf", "40", "g", "0 / 0", "0 / 0", "1 / 5", "HCL 3, CR 2"],
        ["lsst", "40", "g", "0 / 9", "0 / 0", "0 / 0", ""],
    ] == rows_of(places_table(hour, total))


def test_rows_that_are_left_out_are_told() -> None:
    """LSSTCam has more pairs of detector and filter than a page shows."""
    total: Counts = {("lsst", str(n), "r", Label.CONTAMINATED, "CR"): n + 1 for n in range(300)}
    table = places_table({}, total)
    rows = rows_of(table)
    assert (250, "299") == (len(rows), rows[0][1])
    assert "the 250 of 300 with the most contaminated ones" in table
