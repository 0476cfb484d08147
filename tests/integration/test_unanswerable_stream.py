"""No answer, no commit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from filter_site import SETTLE_S, Site, answered, packets
from kafka_desk import Broker


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    # Less than an annotation, or our headers alone.
    topics = {
        name: broker.topic(stem=name, max_message_bytes="200")
        for name in ("annotations", "rejected")
    }
    with Site(broker, tmp_path, engine_home, broker.topic(stem="alerts"), topics) as made:
        yield made


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_where_nothing_can_be_answered_nothing_is_committed(
    site: Site, samples: Path, guarantee: str
) -> None:
    """The worker ends with exit code 1 and names the message and the topic that must be mended."""
    values = dict(list(packets(samples).items())[:5])
    worker = site.start(delivery__guarantee=guarantee)
    site.broker.produce(site.alerts, list(values.values()), keys=list(values))
    assert 1 == worker.process.wait(SETTLE_S)
    said = worker.log.read_text()
    assert f"{site.alerts}[0]@0 has no answer: {site.topics['rejected']} does not take" in said
    assert set() == answered(site)
    assert {} == site.broker.committed(f"group-{site.alerts}", site.alerts)
