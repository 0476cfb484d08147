"""Sizing is arithmetic: what comes, what a worker does, what is left."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.cli.capacity import (
    CAMERAS,
    FrameCosts,
    Operation,
    Survey,
    even,
    exposure_workers,
    fleet,
    focal_plane,
    plan,
)
from streamfilter.exposures.masking import MaskRules, computed_pixels
from streamfilter.inference.manifest import load

LSST = Survey(alerts_per_visit=10_000, cadence_s=37.0, alert_bytes=120_000)


def test_workers_judge_a_visit_in_the_share_of_the_cadence_that_is_wanted() -> None:
    """10,000 alerts in 18.5 s are 541/s: eleven workers of 50/s, which take 18.2 s."""
    found = fleet(LSST, Operation(utilisation=0.5, efficiency=1.0), 50.0)
    assert (11, 50.0) == (found.workers, found.alerts_per_s)
    assert 18.18 == pytest.approx(found.drain_s, abs=0.01)
    assert 0.491 == pytest.approx(found.busy, abs=0.001)


def test_every_plane_costs_a_stamp_and_the_way_through_kafka_a_share() -> None:
    """Here there are three planes, and four fifths of the engine's rate."""
    survey = Survey(alerts_per_visit=1, cadence_s=1.0, alert_bytes=1, planes=3)
    found = fleet(survey, Operation(efficiency=0.8), 300.0)
    assert 80.0 == pytest.approx(found.alerts_per_s)


def test_what_a_stop_leaves_is_worked_off_with_what_is_spare() -> None:
    """Workers that are half busy catch up a stop of one second in one second."""
    survey = Survey(alerts_per_visit=100, cadence_s=10.0, alert_bytes=1)
    found = fleet(survey, Operation(utilisation=0.5, efficiency=1.0), 20.0)
    assert (0.5, 1.0) == (found.busy, found.catch_up)


def test_workers_that_are_always_busy_never_catch_up() -> None:
    """They have no time to spare."""
    survey = Survey(alerts_per_visit=100, cadence_s=10.0, alert_bytes=1)
    assert math.inf == fleet(survey, Operation(utilisation=1.0, efficiency=1.0), 10.0).catch_up


def test_partitions_leave_room_to_double() -> None:
    """Eleven workers: 24 partitions, of which each has two or three."""
    found = plan(LSST, Operation(utilisation=0.5, efficiency=1.0), 50.0)
    assert (24, True) == (found.partitions, found.enough_partitions)


def test_a_surveys_own_partitions_bound_the_workers() -> None:
    """The plan says that eight partitions are too few for eleven workers."""
    found = plan(LSST, Operation(utilisation=0.5, efficiency=1.0, partitions=8), 50.0)
    assert (8, False) == (found.partitions, found.enough_partitions)


def test_brokers_keep_nights_and_their_copies() -> None:
    """270 alerts/s of 120 kB, ten hours a night, a week, three copies: 24.5 TB."""
    found = plan(LSST, Operation(), 50.0).streams
    assert 32.4e6 == pytest.approx(found.mean_in_per_s, rel=0.01)
    assert 24.5e12 == pytest.approx(found.input_kept, rel=0.01)
    assert found.input_kept / found.output_kept == pytest.approx(120_000 / 640)


def test_a_fetch_holds_about_a_second_of_work() -> None:
    """It is at least a large message, and bounded for the sake of memory."""
    operation = Operation(efficiency=1.0)
    assert 6_000_000 == plan(LSST, operation, 50.0).fetch_bytes
    assert 2**20 == plan(LSST, operation, 1.0).fetch_bytes
    assert 64 * 2**20 == plan(LSST, operation, 5_000.0).fetch_bytes


def test_an_exposure_is_judged_by_one_worker_however_many_there_are() -> None:
    """189 detectors at 10/s take 18.9 s; two workers take turns where 37 s are not enough."""
    assert (1, 18.9) == (
        exposure_workers(LSST, Operation(), 189, 10.0).workers,
        exposure_workers(LSST, Operation(), 189, 10.0).judged_s,
    )
    slow = exposure_workers(LSST, Operation(), 189, 5.0)
    assert (2, 37.8, 8) == (slow.workers, slow.judged_s, slow.partitions)


@given(
    st.integers(1, 10**6), st.floats(1, 1e4), st.floats(0.1, 1e6), st.floats(0.05, 1),
    st.floats(0.05, 1),
)  # fmt: skip
def test_a_plan_is_always_enough_and_one_worker_less_never(
    alerts: int, cadence_s: float, rate: float, utilisation: float, efficiency: float
) -> None:
    """The visit is judged in time, and with one worker less it is not."""
    survey = Survey(alerts_per_visit=alerts, cadence_s=cadence_s, alert_bytes=1)
    found = fleet(survey, Operation(utilisation=utilisation, efficiency=efficiency), rate)
    allowed_s = cadence_s * utilisation
    assert found.drain_s <= allowed_s * (1 + 1e-9)
    if found.workers > 1:
        fewer_s = found.drain_s * found.workers / (found.workers - 1)
        assert fewer_s > allowed_s * (1 - 1e-9)


@given(st.integers(1, 5_000))
def test_partitions_are_never_fewer_than_asked_for(least: int) -> None:
    """They are at most twice as many, or 512 more."""
    assert least <= even(least) <= max(2 * least, least + 512)


def test_a_focal_plane_costs_its_detectors_tiles() -> None:
    """Of DECam 62 detectors; each part's seconds stand alone where the others cost nothing."""
    camera, rules = CAMERAS["decam"], MaskRules(tile_px=768)
    free = {"deepcr_per_mpix": 0.0, "maxitrack_per_tile": 0.0, "sky_per_mpix": 0.0}
    found = focal_plane(camera, FrameCosts(maximask_per_mpix=3.0, **free), rules)
    computed = computed_pixels(4096, 2048, load("maximask"), rules) / 1e6
    assert (0.0, 0.0) == (found.tracking, found.cosmic_rays)
    assert 62 * 3.0 * computed == pytest.approx(found.masks)
    assert 4.096 * 2.048 < computed < 3 * 4.096 * 2.048
    free = {"deepcr_per_mpix": 0.0, "maximask_per_mpix": 0.0, "sky_per_mpix": 0.0}
    assert 62 * 8 * 0.1 == pytest.approx(
        focal_plane(camera, FrameCosts(maxitrack_per_tile=0.1, **free), rules).tracking
    )
