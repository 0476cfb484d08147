"""Detectors to exposures: nothing lost, state bounded, the clock passed in."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.exposures import tracking
from streamfilter.exposures.focal_plane import FocalPlaneRules, FocalPlanes, Step
from streamfilter.exposures.records import (
    Closing,
    DetectorArrived,
    DetectorEvidence,
    EarlierVerdict,
    Irregularity,
    Judgement,
    Shapes,
    TileEvidence,
)
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.records import Origin

RULES = TrackingRules()


def judge(detectors: tuple[DetectorEvidence, ...]) -> Judgement:
    return tracking.judge_exposure(detectors, Shapes(0), RULES)


def planes(**rules: float) -> FocalPlanes:
    return FocalPlanes(judge, FocalPlaneRules(**rules))  # type: ignore[arg-type]


def arrived(
    detector: str, offset: int = 0, exposure: str = "e1", expected: int | None = 2
) -> DetectorArrived:
    tile = TileEvidence(0, 0, 0.9, 30, 1.0, 1.0, 0.8)
    judgement = tracking.judge_detector([tile], Shapes(0), RULES)
    evidence = DetectorEvidence("test", 0, detector, judgement, tiles=(tile,))
    return DetectorArrived(exposure, "cam", evidence, expected, Origin("exposures", 0, offset))


def offsets(step: Step) -> list[int]:
    return [origin.offset for closed in step.closed for origin in closed.origins]


def test_an_exposure_closes_when_all_detectors_came() -> None:
    """Its offsets may be committed only after its verdict is delivered."""
    plane = planes()
    assert Step() == plane.add(arrived("1", 10), 0.0)
    step = plane.add(arrived("2", 11), 1.0)
    assert [10, 11] == offsets(step)
    verdict = step.closed[0].verdict
    assert (Closing.COMPLETE, 1, 2, ()) == (
        verdict.closing,
        verdict.revision,
        len(verdict.detectors),
        verdict.irregularities,
    )
    assert 0 == plane.open_exposures


def test_an_exposure_closes_when_its_time_is_over() -> None:
    """The verdict says that detectors are missing."""
    plane = planes(wait_s=30)
    plane.add(arrived("1"), 100.0)
    assert Step() == plane.tick(129.9)
    (closed,) = plane.tick(130.0).closed
    assert Closing.TIMED_OUT == closed.verdict.closing
    assert (Irregularity.DETECTORS_MISSING,) == closed.verdict.irregularities


def test_an_exposure_waits_from_its_last_detector_on() -> None:
    """The wait starts anew with each detector, so a slow worker still closes the exposure once."""
    plane = planes(wait_s=30)
    for number in range(5):
        assert Step() == plane.add(arrived(f"{number}", number, expected=6), 29.0 * number)
        assert Step() == plane.tick(29.0 * number + 28.9)
    plane.add(arrived("0", 9, expected=6), 145.0)  # delivered twice: nothing to wait for
    (closed,) = plane.tick(146.0).closed
    assert (Closing.TIMED_OUT, 5) == (closed.verdict.closing, len(closed.verdict.detectors))


def test_a_late_detector_gives_a_new_revision() -> None:
    """The revision has all detectors; only the late one's offset is still to be committed."""
    plane = planes(wait_s=30)
    plane.add(arrived("1", 1), 0.0)
    plane.tick(30.0)
    step = plane.add(arrived("2", 2), 40.0)
    verdict = step.closed[0].verdict
    assert (2, Closing.LATE_DETECTOR) == (verdict.revision, verdict.closing)
    assert ["1", "2"] == [found.detector for found in verdict.detectors]
    assert [2] == offsets(step)


def test_a_detector_delivered_twice_counts_once() -> None:
    """The second one's offset may be committed at once, and the verdict reports a duplicate."""
    plane = planes()
    plane.add(arrived("1", 1), 0.0)
    assert (Origin("exposures", 0, 2),) == plane.add(arrived("1", 2), 0.0).ignored
    verdict = plane.add(arrived("2", 3), 0.0).closed[0].verdict
    assert (Irregularity.DUPLICATE_DETECTOR,) == verdict.irregularities
    assert 2 == verdict.judgement.tiles_used


def test_the_planes_of_a_cube_are_one_detector_together() -> None:
    """Two detectors are expected: a cube of three planes, and an image. None is one too many."""
    focal = planes()
    for number in (1, 2, 3):
        cube = arrived(f"1 plane {number}", 1)
        evidence = replace(cube.evidence, planes=3)
        assert Step() == focal.add(replace(cube, evidence=evidence), 0.0)
    (closed,) = focal.add(arrived("2", 2), 0.0).closed
    verdict = closed.verdict
    assert (Closing.COMPLETE, (), 4) == (
        verdict.closing,
        verdict.irregularities,
        len(verdict.detectors),
    )


def test_a_cube_without_all_planes_is_a_detector_that_is_missing() -> None:
    """Of three planes two came, and the time is over."""
    focal = planes(wait_s=30)
    for number in (1, 2):
        cube = arrived(f"1 plane {number}", 1, expected=1)
        focal.add(replace(cube, evidence=replace(cube.evidence, planes=3)), 0.0)
    (closed,) = focal.tick(30.0).closed
    assert (Irregularity.DETECTORS_MISSING,) == closed.verdict.irregularities


def test_the_same_message_again_stays_open() -> None:
    """After a rebalance a message may be read again: its offset still waits for the verdict."""
    plane = planes()
    plane.add(arrived("1", 1), 0.0)
    assert Step() == plane.add(arrived("1", 1), 0.0)
    step = plane.add(arrived("2", 2), 0.0)
    assert ([1, 2], ()) == (offsets(step), step.closed[0].verdict.irregularities)


def test_a_wrong_number_of_detectors_is_reported() -> None:
    """There are more than announced, or announcements differ: the larger number is expected."""
    plane = planes()
    plane.add(arrived("1", 1, expected=1), 0.0)
    more = plane.add(arrived("2", 2, expected=1), 0.0).closed[0].verdict
    assert (Irregularity.MORE_DETECTORS_THAN_EXPECTED,) == more.irregularities
    plane.add(arrived("1", 3, "e2", expected=3), 0.0)
    plane.add(arrived("2", 4, "e2", expected=2), 0.0)
    differs = plane.add(arrived("3", 5, "e2", expected=3), 0.0).closed[0].verdict
    assert (Irregularity.EXPECTED_NUMBER_DIFFERS,) == differs.irregularities


def test_without_a_number_the_time_closes() -> None:
    """A producer need not say how many detectors there are."""
    plane = planes()
    assert Step() == plane.add(arrived("1", expected=None), 0.0)
    assert () == plane.tick(60.0).closed[0].verdict.irregularities


def test_exposures_of_two_instruments_do_not_mix() -> None:
    """The same id under another instrument is another exposure."""
    plane = planes()
    plane.add(arrived("1"), 0.0)
    other = arrived("2")
    plane.add(DetectorArrived("e1", "other", other.evidence, 2, other.origin), 0.0)
    assert 2 == plane.open_exposures


def test_state_is_bounded() -> None:
    """The oldest exposure is judged with what it has; closed ones are forgotten in turn."""
    plane = planes(most_open=3, most_closed=2, most_detectors=5)
    for number in range(50):
        step = plane.add(arrived("1", number, f"e{number}"), float(number))
        assert ([number - 3] if number >= 3 else []) == offsets(step)
    assert 3 == plane.open_exposures
    for number in range(20):
        plane.add(arrived(str(number), 100 + number, "big", expected=None), 60.0)
    found = {c.verdict.exposure_id: c.verdict for c in plane.tick(1000.0).closed}
    assert 5 == len(found["big"].detectors)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=60))
def test_every_offset_is_settled_once(events: list[tuple[int, int]]) -> None:
    """For any order of detectors, each offset is given once, and none is left after closing."""
    plane, told = planes(most_open=2, most_closed=1, wait_s=7), []
    for offset, (exposure, detector) in enumerate(events):
        now = float(offset)
        for step in (
            plane.add(arrived(str(detector), offset, str(exposure)), now),
            plane.tick(now),
        ):
            told += offsets(step) + [origin.offset for origin in step.ignored]
    told += offsets(plane.tick(float(len(events) + 7)))
    assert list(range(len(events))) == sorted(told)


def test_bounds_that_close_nothing_are_refused() -> None:
    """The error names the wrong value."""
    with pytest.raises(ValueError, match="must be above 0"):
        FocalPlaneRules(wait_s=0)


def test_detectors_of_partitions_that_went_are_forgotten() -> None:
    """Another worker now reads and judges them; this one publishes no incomplete verdict."""
    plane = planes(wait_s=10)
    plane.add(arrived("1", 10), 0.0)
    plane.forget({("exposures", 1)})
    assert 1 == plane.open_exposures
    plane.forget({("exposures", 0)})
    assert (0, Step()) == (plane.open_exposures, plane.tick(100.0))


def test_what_is_read_again_after_forgetting_counts_once() -> None:
    """The partition was assigned again: the exposure is complete without irregularities."""
    plane = planes()
    plane.add(arrived("1", 10), 0.0)
    plane.forget({("exposures", 0)})
    plane.add(arrived("1", 10), 5.0)
    step = plane.add(arrived("2", 11), 6.0)
    assert ([10, 11], ()) == (offsets(step), step.closed[0].verdict.irregularities)


def test_a_late_detector_finds_the_verdict_of_a_worker_before() -> None:
    """It raises that revision, and the detectors of then count."""
    earlier = EarlierVerdict(2, (arrived("1").evidence, arrived("2").evidence))
    known = {("cam", "e1"): earlier}
    plane = FocalPlanes(judge, FocalPlaneRules(wait_s=10), lambda *key: known.get(key))
    plane.add(arrived("3", expected=3), 0.0)
    (closed,) = plane.tick(10.0).closed
    verdict = closed.verdict
    assert (3, Closing.LATE_DETECTOR, ()) == (
        verdict.revision,
        verdict.closing,
        verdict.irregularities,
    )
    assert ["1", "2", "3"] == [each.detector for each in verdict.detectors]


def test_messages_of_a_published_verdict_that_are_read_again_do_not_revise_it() -> None:
    """After a crash between the verdict and its offset, the same verdict comes once more."""
    earlier = EarlierVerdict(1, (arrived("1").evidence,))
    plane = FocalPlanes(judge, FocalPlaneRules(wait_s=10), lambda *_: earlier)
    plane.add(arrived("1", expected=2), 0.0)
    (closed,) = plane.tick(10.0).closed
    assert (1, Closing.TIMED_OUT) == (closed.verdict.revision, closed.verdict.closing)
