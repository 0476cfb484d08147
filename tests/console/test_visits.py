"""Exposures are put together from their detectors' records."""

import re
from dataclasses import replace
from typing import Any

import pytest
from card_factories import NOON

from streamfilter.console.mosaic import mosaic
from streamfilter.console.visits import MOST, TILES_OF, Tile, Visits


def record(kind: str, exposure_id: str = "e1", detector: str | None = None, **more: Any) -> Any:
    """As the tracking topic has it."""
    judgement = {
        "decision": "ok", "probability": 0.1, "shapes": {
            "stars": 20, "elongation": 1.1, "position_angle_deg": 3.0, "coherence": 0.5,
            "fwhm_px": 2.5},
    }  # fmt: skip
    made: dict[str, Any] = {
        "kind": kind, "exposure_id": exposure_id, "instrument": "lsstcam", "detector": detector,
        "revision": 1, "judgement": judgement, "tiles": [], "not_evaluated": None,
        "not_judged": None,
        "closing": None, "detectors_expected": 2, "detectors": [], "irregularities": [],
        "filter": "r", "times": {"mid_exposure": NOON, "judged": NOON}, "contaminants": None,
    }  # fmt: skip
    return {**made, **more}


def test_detectors_and_their_exposure_come_together() -> None:
    """In any order; the share of contaminants comes later, with another topic."""
    visits = Visits()
    visits.add(record("detector", detector="94"))
    summary = {"detector": "95", "decision": "cannot_tell", "probability": None,
               "not_evaluated": "too_small", "not_judged": None}  # fmt: skip
    visits.add(record("exposure", detectors=[summary], revision=2, closing="complete"))
    visits.add(record("exposure", revision=1))
    found = {"cr": 0.01, "bg": 0.9, "mask": "/masks/e1/94.mask.fits.fz"}
    visits.add(record("detector", detector="94", contaminants=found))
    visit = visits.at("lsstcam", "e1")
    assert visit is not None
    assert (2, "ok", "complete", 2) == (
        visit.revision, visit.decision, visit.closing, visit.expected
    )  # fmt: skip
    assert {"94": 0.01, "95": None} == {k: d.contaminated for k, d in visit.detectors.items()}
    assert "too_small" == visit.detectors["95"].why
    assert ((("CR", 0.01),), "/masks/e1/94.mask.fits.fz") == (
        visit.detectors["94"].shares, visit.detectors["94"].mask
    )  # fmt: skip


TILES = [
    {"y": y, "x": x, "probability": None if y else 0.7, "stars": 10 * y + x}
    for y in (0, 200)
    for x in (0, 400)
]


def test_tiles_are_held_of_the_newest_exposures() -> None:
    """A record without tiles does not take them away; a late one of an old exposure brings none."""
    visits = Visits()
    for number in range(TILES_OF + 2):
        visits.add(record("detector", f"e{number}", "1", tiles=TILES))
        visits.add(record("detector", f"e{number}", "1"))
    visits.add(record("detector", "e0", "2", tiles=TILES))

    def held(exposure_id: str) -> list[list[Tile]]:
        visit = visits.at("lsstcam", exposure_id)
        assert visit is not None
        return [each.tiles() for each in visit.detectors.values()]

    assert [[], []] == held("e0")
    assert [[]] == held("e1")
    ((first, *_, last),) = held("e2")
    assert (0, 0, 0) == (first.y, first.x, first.stars)
    assert first.probability == pytest.approx(0.7)
    assert Tile(200, 400, None, 2400) == last


@pytest.mark.parametrize("odd", [1e300, -1e300, float("nan"), float("inf")])
def test_an_odd_probability_ends_no_page(odd: float) -> None:
    """Anybody may write to the topic."""
    visits = Visits()
    visits.add(record("detector", detector="1", tiles=[{**TILES[0], "probability": odd}]))
    visit = visits.at("lsstcam", "e1")
    assert visit is not None
    (tile,) = visit.detectors["1"].tiles()
    assert tile.probability in (0.0, 1.0, None)


def test_a_mosaic_has_each_tile_where_it_lies() -> None:
    """Rows count upwards; what was not put through is hollow; a dot grows with the stars."""
    visits = Visits()
    visits.add(record("detector", detector="94", tiles=TILES))
    visits.add(record("detector", detector="95"))
    visit = visits.at("lsstcam", "e1")
    assert visit is not None
    drawn = mosaic(visit)
    assert "mosaic: tiles of 1 detectors" in drawn
    paths = dict(re.findall(r'<path d="([^"]+)" class="([^"]+)"', drawn))
    areas = {name: path.count("M") for path, name in paths.items()}
    assert {"s-3": 2, "t-none": 2, "n-3 on-strong": 1, "n-3": 2} == areas
    low = next(path for path, name in paths.items() if name == "s-3")
    high = next(path for path, name in paths.items() if name == "t-none")
    assert float(low.split()[1].split("h")[0]) > float(high.split()[1].split("h")[0])
    assert "" == mosaic(replace(visit, detectors={}))


def test_only_the_newest_exposures_are_held() -> None:
    """However long the night is."""
    visits = Visits()
    for number in range(MOST + 5):
        visits.add(record("detector", f"e{number}", "1"))
    assert MOST == len(visits.newest(10_000))
    assert f"e{MOST + 4}" == visits.newest(1)[0].exposure_id
