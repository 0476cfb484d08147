"""The library says what ``streamfilter run`` publishes, of every real packet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filter_site import Site, answered, packets
from kafka_desk import Broker

import streamfilter

TWO = {
    "engine__name": "stampmask",
    "engine__also": '[{name = "maximask", when = {classes = ["CR", "TRL"], above = 0.02}}]',
}


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    with Site.whole(broker, tmp_path, engine_home) as made:
        yield made


def told(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what differs from one reading to the next: times and the place."""
    also = [{key: each[key] for key in each if key != "infer_s"} for each in record["also"]]
    left = {key: value for key, value in record.items() if key not in ("times", "origin")}
    return left | {"also": also}


def near(value: Any) -> Any:
    """The value, in which numbers are equal to those that differ by float32's rounding alone.

    Networks of several planes add their numbers in an order that depends on the batch.
    """
    if isinstance(value, dict):
        return {key: near(each) for key, each in value.items()}
    if isinstance(value, list):
        return [near(each) for each in value]
    return pytest.approx(value, rel=1e-3, abs=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize("settings", [{}, TWO], ids=["one", "two"])
def test_the_library_says_what_the_stream_publishes(
    site: Site, samples: Path, settings: dict[str, str]
) -> None:
    """Annotations field by field, rejections by reason and detail; of one engine, and of two."""
    values = packets(samples)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start(**settings)
    site.wait(set(values), answered)
    assert worker.stop() == 0
    published = {
        message.key: streamfilter.read(message.value or b"")
        for message in site.broker.read(site.topics["annotations"])
    }
    refused = {
        message.key: dict(message.headers) for message in site.broker.read(site.topics["rejected"])
    }
    assert set(values) == {*published, *refused}
    assert len(published) > 60
    assert len(refused) == 5
    asked = [key for key, record in published.items() if record["also"]]
    assert bool(settings) == bool(asked)
    more = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    with streamfilter.Filter(overrides=[f"engine.home={site.home}", *more]) as filter_:
        for key, judged in zip(values, filter_.judge(values.values()), strict=True):
            if judged.rejected is not None:
                headers = refused[key]
                assert headers["streamfilter-reason"] == judged.rejected.reason.encode()
                assert headers["streamfilter-detail"] == judged.rejected.detail.encode()
            else:
                expected = told(published[key])
                assert (near(expected) if settings else expected) == told(judged.record()), key
