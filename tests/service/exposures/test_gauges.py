"""What the metrics page says of exposures."""

from dataclasses import replace

import pytest
from exposure_factories import make_evidence, make_verdict
from prometheus_client import CollectorRegistry

from streamfilter.exposures.records import Decision, NotJudged
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.service.exposures.gauges import show_verdict

CAMERA = {"kind": "exposure", "instrument": "camera"}


@pytest.mark.parametrize("reason", [None, *NotJudged])
def test_what_is_not_to_be_judged_is_counted_apart(reason: NotJudged | None) -> None:
    """A night of flats is no night on which nobody can tell, which would call somebody."""
    registry = CollectorRegistry()
    unsure = replace(make_evidence().judgement, decision=Decision.CANNOT_TELL, probability=None)
    detectors = (make_evidence(judgement=unsure, not_judged=reason),)
    show_verdict(ExposureMetrics(registry), make_verdict(judgement=unsure, detectors=detectors))
    decided = registry.get_sample_value(
        "streamfilter_exposure_decisions_total", {**CAMERA, "decision": "cannot_tell"}
    )
    assert (reason is None) == bool(decided)
    counted = {
        each: registry.get_sample_value(
            "streamfilter_exposure_not_judged_total", {**CAMERA, "reason": each}
        )
        for each in NotJudged
    }
    assert {each: float(each is reason) for each in NotJudged} == counted
