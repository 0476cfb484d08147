"""Reads published records back into verdicts, so that a late detector finds its exposure again."""

from collections.abc import Iterable, Mapping
from typing import Any

from streamfilter.contaminants import CODES
from streamfilter.exposures.records import (
    ContaminantAreas,
    Decision,
    DetectorEvidence,
    EarlierVerdict,
    FrameReason,
    Judgement,
    NotJudged,
    Shapes,
    Voice,
)

Record = Mapping[str, Any]
Key = tuple[str, str]
"""Instrument and exposure."""


def collected(records: Iterable[Record]) -> dict[Key, EarlierVerdict]:
    """Returns the last verdict on each exposure, in the order in which the exposures were judged.

    Parameters
    ----------
    records
        ``streamfilter.v1.Tracking``, in the order in which they were published.
    """
    detectors: dict[Key, dict[str, DetectorEvidence]] = {}
    verdicts: dict[Key, Record] = {}
    for record in records:
        key = record["instrument"], record["exposure_id"]
        if record["kind"] == "detector":
            detectors.setdefault(key, {})[record["detector"]] = _evidence(record)
        elif key not in verdicts or verdicts[key]["revision"] <= record["revision"]:
            verdicts[key] = record
    return {
        key: EarlierVerdict(
            verdict["revision"],
            tuple(
                detectors.get(key, {}).get(each["detector"]) or _in_short(each, verdict)
                for each in verdict["detectors"]
            ),
        )
        for key, verdict in verdicts.items()
    }


def _evidence(record: Record) -> DetectorEvidence:
    """Returns what a detector's record says, without its tiles."""
    said = record["judgement"]
    judgement = Judgement(
        **{
            **said,
            "decision": Decision(said["decision"]),
            "voice": Voice(said["voice"]),
            "shapes": Shapes(**said["shapes"]),
        }
    )
    areas = record["contaminants"]
    return DetectorEvidence(
        source="",
        hdu=None,
        detector=record["detector"],
        judgement=judgement,
        not_evaluated=_reason(record),
        detail=record["detail"],
        contaminants=None
        if areas is None
        else ContaminantAreas(
            areas["pixels"],
            {code: areas[code.lower()] for code in CODES if code.lower() in areas},
            areas["mask"],
        ),
        not_judged=_set_aside(record),
    )


def _in_short(summary: Record, verdict: Record) -> DetectorEvidence:
    """Returns a detector without a record of its own: its frame could not be read."""
    judgement = Judgement(
        decision=Decision(summary["decision"]),
        voice=Voice.NONE,
        probability=summary["probability"],
        log_odds=None,
        weight=0.0,
        mean_log_odds=None,
        reference_mean=None,
        prior=verdict["judgement"]["prior"],
        tiles_used=0,
        tiles_abstained=0,
        shapes=Shapes(0),
    )
    name, reason = summary["detector"], _reason(summary)
    return DetectorEvidence(
        "", None, name, judgement, not_evaluated=reason, not_judged=_set_aside(summary)
    )


def _reason(record: Record) -> FrameReason | None:
    return None if record["not_evaluated"] is None else FrameReason(record["not_evaluated"])


def _set_aside(record: Record) -> NotJudged | None:
    return None if record["not_judged"] is None else NotJudged(record["not_judged"])
