"""The demo's exposures, over the embedded broker."""

from pathlib import Path

from streamfilter.demo import exposures
from streamfilter.demo.exposures import FIGURE, SimulatedVisit, run
from streamfilter.demo.site import open_broker
from streamfilter.simulate.frames import Exposure


def test_the_drifted_exposure_is_found_among_those_that_tracked(
    tmp_path: Path, engine_home: Path
) -> None:
    """Each is complete, with four detectors, and the page is drawn."""
    with open_broker() as broker:
        found = run(broker.bootstrap, seed=1, out=tmp_path, home=engine_home, say=lambda line: None)
    assert ["ok", "tracking_error", "ok"] == [each.decision for each in found]
    assert all(each.right for each in found)
    for each in found:
        assert each.verdict is not None
        assert ("complete", 4) == (each.verdict["closing"], len(each.verdict["detectors"]))
    assert 50_000 < (tmp_path / FIGURE).stat().st_size


def test_a_lost_exposure_is_not_right() -> None:
    """An exposure judged differently from its simulation is not right either."""
    tracked, drifted, _ = exposures.visits()
    wrong = {"judgement": {"decision": "ok"}}
    assert [True, False, False] == [
        SimulatedVisit(*each).right
        for each in ((tracked, wrong, 1.0), (drifted, wrong, 1.0), (tracked, None, 1.0))
    ]
    assert isinstance(tracked, Exposure)
