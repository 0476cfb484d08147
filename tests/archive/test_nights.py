"""Nights of annotations as records, and how long things took."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from factories import make_annotation

from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.archive.durations import Durations
from streamfilter.archive.topic_nights import TopicAnnotations
from streamfilter.limits import Limits
from streamfilter.reading import read
from streamfilter.schemas.finder import SchemaFinder


def durations(*seconds: float) -> Durations:
    found = Durations()
    for each in seconds:
        found.add(each)
    return found


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_quantiles_are_within_one_per_cent(share: float) -> None:
    """Of durations from milliseconds to days; each is one that occurred."""
    seconds = np.random.default_rng(1).lognormal(1.0, 3.0, 5000)
    expected = np.quantile(seconds, share, method="inverted_cdf")
    assert pytest.approx(expected, rel=0.01) == durations(*seconds).quantile(share)


def test_clocks_that_differ_are_seen() -> None:
    """A negative duration is told as one; one of nothing is 0; none has no quantile."""
    found = durations(-3.0, -3.0, 0.0, 5.0)
    assert pytest.approx(-3.0, rel=0.01) == found.quantile(0.5)
    assert 0.0 == found.quantile(0.75)
    assert pytest.approx(5.0, rel=0.01) == found.quantile(1.0)
    assert durations().quantile(0.5) is None
    assert {"alerts": 0, "p50": None, "p90": None, "p99": None} == durations().as_json()


ANNOTATED = datetime(2026, 11, 30, 8, tzinfo=UTC)


def annotation(offset: int, *, light_s: float | None, received_s: float = 0.5) -> dict[str, Any]:
    """A record as it is published, annotated so long after light and receipt."""
    encoder = Encoder(SchemaFinder([], Limits()))
    record = copy.deepcopy(read(encoder.annotation(make_annotation(), "")))
    record["origin"]["offset"] = offset
    light_end = None if light_s is None else ANNOTATED - timedelta(seconds=light_s)
    record["times"] |= {
        "annotated": ANNOTATED,
        "received": ANNOTATED - timedelta(seconds=received_s),
        "light_end": light_end,
    }
    return record


def of_records(*records: dict[str, Any]) -> TopicAnnotations:
    def again() -> Iterator[dict[str, Any]]:
        return iter(records)

    return TopicAnnotations(again, Surveys.load(), {"internal": 1, "avro_malformed": 2})


def test_nights_of_records_have_their_latency() -> None:
    """LSST's nights begin at 12 h UTC; an alert without a time has a night of its own."""
    day = 86_400.0
    found = of_records(
        annotation(0, light_s=40.0),
        annotation(1, light_s=80.0, received_s=1.5),
        annotation(2, light_s=day),
        annotation(3, light_s=None),
    )
    first, second, unknown = found.nights()
    assert ["2026-11-28", "2026-11-29", "unknown"] == [
        each.night for each in (first, second, unknown)
    ]
    assert ("lsst", 2) == (second.survey, second.alerts)
    assert 2 == second.number("action", "drop") == second.number("rule", "cosmic-ray-core")
    assert pytest.approx(40.0, rel=0.01) == second.from_light.quantile(0.5)
    assert pytest.approx(1.5, rel=0.01) == second.from_receipt.quantile(0.99)
    assert (0, 1) == (unknown.from_light.count, unknown.from_receipt.count)
    told = second.as_json()
    assert pytest.approx(80.0, rel=0.01) == told["light_to_annotation_s"]["p99"]
    assert 2 == told["receipt_to_annotation_s"]["alerts"]
    assert {"avro_malformed": 2, "internal": 1} == found.rejected()


def test_an_alert_that_was_published_twice_counts_once() -> None:
    """Its origin names it; far offsets and other partitions are others."""
    other = annotation(7, light_s=40.0)
    other["origin"]["partition"] = 1
    records = [annotation(each, light_s=40.0) for each in (7, 8, 7, 123_456, 8)]
    found = of_records(*records, other)
    (night,) = found.nights()
    assert (4, 2) == (night.alerts, found.repeated)


def test_disagreements_of_records_are_listed() -> None:
    """With their keys, also at a second reading."""
    differs = annotation(0, light_s=40.0)
    differs["survey_flags"] |= {"agreement": "survey_only", "flagged": ["CR", "SAT"]}
    found = of_records(differs, annotation(1, light_s=40.0))
    assert 2 == found.nights()[0].alerts
    (listed,) = found.disagreements()
    assert ("lsst", "2026-11-29", "survey_only", ["CR", "SAT"]) == tuple(
        listed[each] for each in ("survey", "night", "agreement", "flagged")
    )
