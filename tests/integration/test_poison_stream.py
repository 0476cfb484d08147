"""What anyone may write into a topic ends no worker and stops no partition."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from filter_site import Site, answered, packets
from kafka_desk import Broker
from raw_record import produce_raw


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    topics = {name: broker.topic(stem=name) for name in ("annotations", "rejected")}
    with Site(broker, tmp_path, engine_home, broker.topic(stem="alerts"), topics) as made:
        yield made


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_a_header_s_name_that_is_not_utf8_is_rejected_and_passed(
    site: Site, samples: Path, guarantee: str
) -> None:
    """Its bytes stand in the rejected topic with the reason, and what follows is annotated."""
    key = b"ztf/2695378462115010012.avro"
    value = packets(samples)[key]
    produce_raw(
        site.broker.bootstrap, site.alerts, [(b"bad\xff", b"v")], value=value, key=b"poison"
    )
    site.broker.produce(site.alerts, [value], keys=[key])
    worker = site.start(delivery__guarantee=guarantee)
    site.wait({b"poison", key}, answered)
    assert {key} == set(site.counts("annotations"))
    (rejected,) = site.broker.read(site.topics["rejected"])
    assert (b"poison", value) == (rejected.key, rejected.value)
    assert dict(rejected.headers)["streamfilter-reason"] == b"headers_malformed"
    assert 0 == worker.stop()
