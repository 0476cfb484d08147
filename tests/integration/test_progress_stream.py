"""A worker that cannot work says so, and ends where another could do better."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from filter_site import SETTLE_S, Site, answered, packets
from kafka_desk import Broker

KEY = b"ztf/2695378462115010012.avro"
PROTOCOLS = {
    "classic": '{"group.instance.id" = "filter-0", "session.timeout.ms" = 6000}',
    "consumer": '{"group.instance.id" = "filter-0", "group.protocol" = "consumer"}',
}


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    topics = {name: broker.topic(stem=name) for name in ("annotations", "rejected")}
    alerts = broker.topic(2, stem="alerts", max_message_bytes="40000000")
    with Site(broker, tmp_path, engine_home, alerts, topics) as made:
        yield made


def until(true: Callable[[], object], of: Callable[[], object]) -> None:
    """Wait until it is true; the other tells why it was not."""
    end = time.monotonic() + SETTLE_S
    while not true():
        assert time.monotonic() < end, of()
        time.sleep(0.2)


def test_a_batch_that_cannot_be_unpacked_makes_its_worker_unhealthy(
    site: Site, samples: Path
) -> None:
    """The page, the log and the metric name topic, partition and offset; the other one goes on."""
    bomb = Producer(
        {
            "bootstrap.servers": site.broker.bootstrap, "compression.type": "zstd",
            "message.max.bytes": 30_000_000, "batch.size": 30_000_000, "linger.ms": 1000,
        }
    )  # fmt: skip
    for _ in range(20):
        bomb.produce(site.alerts, bytes(1_000_000), b"bomb", 0)
    assert 0 == bomb.flush(30)
    site.broker.produce(site.alerts, [packets(samples)[KEY]], keys=[KEY], partition=1)
    small = (
        '{"receive.message.max.bytes" = 3000000, "fetch.max.bytes" = 2000000, '
        '"message.max.bytes" = 1000000, "statistics.interval.ms" = 500}'
    )
    worker = site.start(kafka__consumer=small, kafka__stall_s="5")
    until(lambda: worker.get("/healthz")[0] == 503, worker.log.read_text)
    place = f"{site.alerts}[0]@0: nothing read, though it goes on to 20"
    assert place in worker.get("/healthz")[1]
    labels = f'{{partition="0",topic="{site.alerts}"}}'
    assert worker.metric(f"streamfilter_stalled_seconds{labels}") > 5
    assert 1 == worker.metric("streamfilter_stalls_total")
    (said,) = (e for e in worker.events() if e.get("event") == "partition stands still")
    assert (site.alerts, 0, 0) == (said["topic"], said["partition"], said["offset"])
    assert "compressed" in str(said["detail"])
    site.wait({KEY}, answered)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_worker_of_one_instance_id_ends_one_of_them(site: Site, protocol: str) -> None:
    """In the classic protocol the first, in the newer one the second; it says what mends it."""
    site.start(kafka__consumer=PROTOCOLS[protocol])
    site.launch(kafka__consumer=PROTOCOLS[protocol])
    first, second = (worker.process for worker in site.workers)
    until(lambda: first.poll() or second.poll(), site.log)
    ended = site.workers[0 if protocol == "classic" else 1]
    assert 1 == ended.process.poll()
    assert "give each worker its own" in ended.log.read_text()
    (other,) = (worker for worker in site.workers if worker is not ended)
    assert 0 == other.wait_ready().stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_worker_s_instance_id_is_its_next_one_s(
    site: Site, samples: Path, protocol: str
) -> None:
    """At once in the classic protocol; in the newer one when its session is over, after tries."""
    site.start(kafka__consumer=PROTOCOLS[protocol]).kill()
    site.broker.produce(site.alerts, [packets(samples)[KEY]], keys=[KEY])
    tries = 0
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end and not answered(site):
        worker = site.launch(kafka__consumer=PROTOCOLS[protocol])
        tries += 1
        until(lambda: answered(site) or worker.process.poll(), site.log)  # noqa: B023
    assert {KEY} == answered(site)
    assert (tries == 1) or protocol == "consumer"
    assert 0 == worker.stop()
