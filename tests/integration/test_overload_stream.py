"""More alerts than the network can judge, on a real Kafka: held back, or shed."""

from pathlib import Path

import pytest
from test_filter import Site, answered, packets, repeated, site

__all__ = ["site"]


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
    for partition in range(4):
        keys = [message.key for message in came if message.origin.partition == partition]
        assert keys
        assert keys == [key for key in left if key in set(keys)]
