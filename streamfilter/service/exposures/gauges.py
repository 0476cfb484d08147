"""Shows exposures in the metrics."""

import time

from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    ExposureVerdict,
    NotJudged,
)
from streamfilter.metrics.exposures import ExposureMetrics


def count_decision(
    metrics: ExposureMetrics,
    kind: str,
    instrument: str,
    decision: str,
    not_judged: NotJudged | None = None,
) -> None:
    """Count a decision on a ``detector`` or an ``exposure``, or why there is to be none."""
    label = metrics.instrument(instrument)
    for reason in NotJudged:
        metrics.not_judged.labels(kind, label, reason)
    if not_judged is not None:
        metrics.not_judged.labels(kind, label, not_judged).inc()
        return
    for each in Decision:
        metrics.decisions.labels(kind, label, each)  # a share needs all of them, from 0
    metrics.decisions.labels(kind, label, decision).inc()


def show_verdict(metrics: ExposureMetrics, verdict: ExposureVerdict) -> None:
    """Count a verdict, and show it until the instrument's next one."""
    judgement, label = verdict.judgement, metrics.instrument(verdict.instrument)
    count_decision(metrics, "exposure", verdict.instrument, judgement.decision, verdict.not_judged)
    metrics.probability.labels(label).set(
        float("nan") if judgement.probability is None else judgement.probability
    )
    if (areas := verdict.contaminants) is not None:
        metrics.searched(verdict.instrument, areas.shares)
    metrics.last.judged(
        label,
        verdict.exposure_id,
        judgement.decision is Decision.TRACKING_ERROR,
        {each.detector: (_failed(each), each.judgement.probability) for each in verdict.detectors},
        time.time(),
    )


def _failed(evidence: DetectorEvidence) -> float | None:
    """Returns 1 for a tracking error, 0 for none, None where that is undecided."""
    decision = evidence.judgement.decision
    return None if decision is Decision.CANNOT_TELL else float(decision is Decision.TRACKING_ERROR)
