"""The notice that a webhook gets of an exposure, and the signature that proves its sender."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from streamfilter import __version__
from streamfilter.exposures.records import Announced, Decision, DetectorEvidence, ExposureVerdict

TIMESTAMP = "Streamfilter-Timestamp"
"""Header with the Unix seconds of the attempt: receivers refuse old ones, against replays."""
SIGNATURE = "Streamfilter-Signature"
"""Header with ``v1=`` and the HMAC-SHA256 of timestamp, full stop and body, hexadecimal."""
ID = "Streamfilter-Id"
"""Header that is the same for every attempt, also after a restart: receivers act on each once."""

KIND = "exposure_decision"
_WORST = 10
"""Detectors in a notice: a focal plane has hundreds, all of them in the tracking record."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A decision to be reported."""

    verdict: ExposureVerdict
    announced: Announced
    """From the first message of the exposure."""
    previous: Decision | None
    """The decision on this exposure that was reported before."""

    @property
    def identity(self) -> str:
        """Returns a digest of exposure, revision and decision; 32 hexadecimal digits."""
        verdict = self.verdict
        parts = (verdict.instrument, verdict.exposure_id, str(verdict.revision))
        text = "\0".join((*parts, verdict.judgement.decision))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def worth_telling(decision: Decision, previous: Decision | None) -> bool:
    """Whether a decision is news: a tracking error, or the end of one that was reported."""
    return decision != previous and Decision.TRACKING_ERROR in (decision, previous)


def body(notice: Notice, picture: bytes | None) -> bytes:
    """Returns the JSON of a notice, in UTF-8.

    Parameters
    ----------
    picture
        PNG of the worst detectors; None where there is none.
    """
    verdict, announced = notice.verdict, notice.announced
    judgement = verdict.judgement
    mid_unix_s = announced.mid_exposure_unix_s
    failed = [e for e in verdict.detectors if e.judgement.decision == Decision.TRACKING_ERROR]
    record = {
        "kind": KIND,
        "id": notice.identity,
        "instrument": verdict.instrument,
        "exposure_id": verdict.exposure_id,
        "filter": announced.filter,
        "exposure_time_s": announced.exposure_time_s,
        "mid_exposure": None
        if mid_unix_s is None
        else datetime.fromtimestamp(mid_unix_s, UTC).isoformat(),
        "decision": judgement.decision,
        "previous_decision": notice.previous,
        "revision": verdict.revision,
        "closing": verdict.closing,
        "irregularities": list(verdict.irregularities),
        "voice": judgement.voice,
        "probability": judgement.probability,
        "network_probability": judgement.network_probability,
        "prior": judgement.prior,
        "shapes": asdict(judgement.shapes),
        "detectors": {
            "expected": verdict.detectors_expected,
            "arrived": len(verdict.detectors),
            "tracking_error": len(failed),
        },
        "worst_detectors": [_detector(each) for each in worst(verdict.detectors, _WORST)],
        "picture": None
        if picture is None
        else {"media_type": "image/png", "base64": base64.b64encode(picture).decode()},
        "streamfilter": __version__,
    }
    return json.dumps(record, allow_nan=False).encode()


def headers(secret: str, notice: Notice, content: bytes, now_unix_s: float) -> Mapping[str, str]:
    """Returns the headers of one attempt, with its signature."""
    timestamp = str(int(now_unix_s))
    signed = hmac.new(secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"streamfilter/{__version__}",
        ID: notice.identity,
        TIMESTAMP: timestamp,
        SIGNATURE: f"v1={signed.hexdigest()}",
    }


def worst(detectors: tuple[DetectorEvidence, ...], most: int) -> list[DetectorEvidence]:
    """Returns the detectors that speak most for a tracking error, in this order."""
    return sorted(detectors, key=loudness, reverse=True)[:most]


def loudness(evidence: DetectorEvidence) -> tuple[bool, float]:
    """Returns how much a detector speaks for a tracking error; least where it was not judged."""
    judgement = evidence.judgement
    known = -1.0 if judgement.probability is None else judgement.probability
    return judgement.decision == Decision.TRACKING_ERROR, known


def _detector(evidence: DetectorEvidence) -> dict[str, object]:
    return {
        "detector": evidence.detector,
        "decision": evidence.judgement.decision,
        "probability": evidence.judgement.probability,
        "not_evaluated": evidence.not_evaluated,
    }
