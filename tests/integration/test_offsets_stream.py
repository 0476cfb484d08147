"""What is committed, and what is stepped over, by a worker on a real Kafka."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from filter_process import FilterProcess
from filter_site import SETTLE_S, Site, answered, packets, repeated
from kafka_desk import Broker

GUARANTEES = ("at-least-once", "exactly-once")
OFTEN = '{"session.timeout.ms" = 6000, "statistics.interval.ms" = 500}'


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    topics = {name: broker.topic(stem=name) for name in ("annotations", "rejected")}
    with Site(broker, tmp_path, engine_home, broker.topic(2, stem="alerts"), topics) as made:
        yield made


def start(site: Site, guarantee: str) -> FilterProcess:
    return site.start(delivery__guarantee=guarantee, kafka__consumer=OFTEN)


def until(true: Callable[[], object], worker: FilterProcess) -> None:
    end = time.monotonic() + SETTLE_S
    while not true():
        assert time.monotonic() < end, worker.log.read_text()
        time.sleep(0.2)


def lag(site: Site, worker: FilterProcess) -> set[str]:
    """Of the partitions that are shown."""
    return {
        line.rpartition(" ")[2]
        for line in worker.lines("streamfilter_consumer_lag{")
        if site.alerts in line
    }


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_lag_is_0_behind_a_transactional_producer(
    site: Site, samples: Path, guarantee: str
) -> None:
    """On the worker's page and as the broker has it, also after a restart."""
    values = dict(list(packets(samples).items())[:4])
    producer = Producer(
        {"bootstrap.servers": site.broker.bootstrap, "transactional.id": site.alerts}
    )
    producer.init_transactions(30)
    for number, (key, value) in enumerate(values.items()):
        producer.begin_transaction()
        producer.produce(site.alerts, value, key, number % 2)
        producer.commit_transaction(30)
    worker = start(site, guarantee)
    group = f"group-{site.alerts}"
    until(lambda: {0: 4, 1: 4} == site.broker.committed(group, site.alerts), worker)
    until(lambda: {"0.0"} == lag(site, worker), worker)
    assert set(values) == answered(site)
    assert 0 == worker.stop()
    again = start(site, guarantee)
    until(lambda: {"0.0"} == lag(site, again), again)
    assert 0 == again.stop()
    assert {0: 4, 1: 4} == site.broker.committed(group, site.alerts)
    assert set(values) == answered(site)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_what_retention_took_under_a_lagging_group_is_counted(
    site: Site, samples: Path, guarantee: str
) -> None:
    """The log has the range; what is left is answered."""
    values = dict(list(repeated(packets(samples), 1).items())[:20])
    keys = list(values)
    site.broker.produce(site.alerts, list(values.values())[:5], keys=keys[:5], partition=0)
    first = start(site, guarantee)
    site.wait(set(keys[:5]), answered)
    assert 0 == first.stop()
    site.broker.produce(site.alerts, list(values.values())[5:], keys=keys[5:], partition=0)
    site.broker.delete_before(site.alerts, 0, 15)
    worker = start(site, guarantee)
    site.wait(set(keys[15:]), answered)
    (said,) = (e for e in worker.events() if e.get("event") == "offsets skipped")
    assert (site.alerts, 0, 5, 14) == (
        said["topic"], said["partition"], said["first"], said["last"],
    )  # fmt: skip
    labels = f'{{reason="retention",topic="{site.alerts}"}}'
    assert 10 == worker.metric(f"streamfilter_skipped_total{labels}")
    assert set(keys[:5] + keys[15:]) == answered(site)
