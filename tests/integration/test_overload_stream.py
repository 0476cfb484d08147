"""More alerts than the network can judge, on a real Kafka: held back, or shed."""

import time
from collections import Counter
from pathlib import Path

import pytest
from filter_site import SETTLE_S, Site, answered, packets, repeated
from test_filter import site

from streamfilter.records import Message

__all__ = ["site"]


def assert_in_order(came: list[Message], left: list[bytes | None]) -> None:
    """Within each partition outputs stand as the alerts did."""
    for partition in range(4):
        keys = [message.key for message in came if message.origin.partition == partition]
        assert keys
        assert keys == [key for key in left if key in set(keys)]


@pytest.mark.parametrize(("policy", "judged"), [("hold", True), ("shed", False)])
def test_a_backlog_drains_in_order(site: Site, samples: Path, policy: str, judged: bool) -> None:
    """Within a partition annotations come as the alerts did, whether they were judged or shed."""
    good = {key: value for key, value in packets(samples).items() if not key.startswith(b"broken")}
    values = repeated(good, 2)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start(flow__overload=policy, flow__shed_after_s="0.001", engine__workers="2")
    site.wait(set(values), answered)
    lines = worker.lines("streamfilter_shed_total{")
    shed = sum(float(line.rpartition(" ")[2]) for line in lines)
    assert worker.metric("streamfilter_age_seconds_count") == len(values)
    assert worker.stop() == 0
    assert (0 if judged else len(values)) == shed
    came = site.broker.read(site.alerts)
    left = [message.key for message in site.broker.read(site.topics["annotations"])]
    assert_in_order(came, left)


def test_a_burst_drains_in_order_within_its_bounds(site: Site, samples: Path) -> None:
    """Some hundred alerts at once: no more is in flight than allowed, and memory stays put."""
    good = {key: value for key, value in packets(samples).items() if not key.startswith(b"broken")}
    values = repeated(good, 8)
    assert len(values) > 400
    most, most_bytes = 24, 1_500_000
    worker = site.start(
        flow__max_in_flight=str(most),
        flow__max_in_flight_bytes=str(most_bytes),
        engine__workers="2",
    )
    warm_mb = worker.peak_mb()
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    seen = []
    end = time.monotonic() + SETTLE_S
    while worker.metric('streamfilter_outputs_total{output="annotations"}') < len(values):
        assert time.monotonic() < end
        names = ("in_flight_messages", "in_flight_bytes")
        seen.append([worker.metric(f"streamfilter_{name}") for name in names])
        time.sleep(0.1)
    grown_mb = worker.peak_mb() - warm_mb
    assert worker.stop() == 0
    messages, sizes = zip(*seen, strict=True)
    assert 1 < max(messages) <= most
    # One large message may pass the bound.
    assert max(sizes) <= most_bytes + max(map(len, good.values()))
    assert grown_mb < 150
    assert Counter(list(values)) == site.counts("annotations")
    came = site.broker.read(site.alerts)
    left = [message.key for message in site.broker.read(site.topics["annotations"])]
    assert_in_order(came, left)
