"""What a webhook is told, and how it knows who told it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exposure_factories import make_announced, make_evidence

from streamfilter import webhook
from streamfilter.exposure_records import Closing, Decision, ExposureVerdict, FrameReason
from streamfilter.webhook import Notice

PAGE = Path(__file__).parent.parent / "deploy" / "EXPOSURES.md"
SECRET = "0123456789abcdef"


def make_verdict(**changes: Any) -> ExposureVerdict:
    evidence = make_evidence()
    judgement = evidence.judgement
    fields: dict[str, Any] = {
        "exposure_id": "e1",
        "instrument": "camera",
        "revision": 1,
        "closing": Closing.COMPLETE,
        "judgement": judgement,
        "detectors": (evidence,),
        "detectors_expected": 2,
    }
    return ExposureVerdict(**{**fields, **changes})


def make_notice(**changes: Any) -> Notice:
    return Notice(make_verdict(**changes), make_announced(), None)


def test_a_notice_says_what_failed_and_how_surely() -> None:
    """Times are ISO 8601 in UTC; numbers are those of the judgement."""
    told = json.loads(webhook.body(make_notice(), b"PNG"))
    assert (
        "exposure_decision",
        "camera",
        "e1",
        "tracking_error",
        None,
        1,
        "both",
        0.9375,
    ) == tuple(
        told[name]
        for name in (
            *("kind", "instrument", "exposure_id", "decision", "previous_decision", "revision"),
            *("voice", "probability"),
        )
    )
    assert "2025-12-06T05:46:40.250000+00:00" == told["mid_exposure"]
    assert {"expected": 2, "arrived": 1, "tracking_error": 1} == told["detectors"]
    assert {"media_type": "image/png", "base64": "UE5H"} == told["picture"]
    assert 1.75 == told["shapes"]["elongation"]


def test_the_worst_detectors_come_first_and_are_few() -> None:
    """One that was not judged is the least of them."""
    judgement = make_evidence().judgement
    ok = replace(judgement, decision=Decision.OK, probability=0.2)
    unread = replace(judgement, decision=Decision.CANNOT_TELL, probability=None)
    many = [make_evidence(detector=f"ok{n}", judgement=ok) for n in range(20)]
    last = make_evidence(detector="last")
    first = make_evidence(detector="0", judgement=unread, not_evaluated=FrameReason.TRUNCATED)
    told = json.loads(webhook.body(make_notice(detectors=(first, *many, last)), None))
    assert ["last", "ok0"] == [each["detector"] for each in told["worst_detectors"]][:2]
    assert (10, None) == (len(told["worst_detectors"]), told["picture"])


@pytest.mark.parametrize(
    ("decision", "previous", "told"),
    [
        (Decision.TRACKING_ERROR, None, True),
        (Decision.TRACKING_ERROR, Decision.OK, True),
        (Decision.TRACKING_ERROR, Decision.TRACKING_ERROR, False),
        (Decision.OK, Decision.TRACKING_ERROR, True),
        (Decision.OK, None, False),
        (Decision.OK, Decision.CANNOT_TELL, False),
    ],
)
def test_only_a_change_to_or_from_a_tracking_error_is_told(
    decision: Decision, previous: Decision | None, told: bool
) -> None:
    """A hundred late detectors that change nothing are no news."""
    assert told == webhook.worth_telling(decision, previous)


def genuine() -> Callable[[str, dict[str, str], bytes], bool]:
    """The function that the page on exposures gives to receivers."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "def genuine" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[[str, dict[str, str], bytes], bool] = names["genuine"]
    return found


def test_the_documented_check_tells_true_from_false(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another secret, another body and an old notice are found out."""
    monkeypatch.setattr("time.time", lambda: 1_765_000_000.0)
    notice = make_notice()
    content = webhook.body(notice, None)
    headers = dict(webhook.headers(SECRET, notice, content, 1_765_000_000.5))
    check = genuine()
    assert check(SECRET, headers, content)
    assert not check(SECRET + "x", headers, content)
    assert not check(SECRET, headers, content + b" ")
    old = dict(webhook.headers(SECRET, notice, content, 1_764_999_000))
    assert not check(SECRET, old, content)
    assert not check(SECRET, {**old, webhook.TIMESTAMP: "1765000000"}, content)


def test_the_identity_is_that_of_exposure_revision_and_decision() -> None:
    """A receiver can tell a repetition from news."""
    ids = {make_notice(**c).identity for c in ({}, {"revision": 2}, {"exposure_id": "e2"}, {})}
    assert 3 == len(ids)
