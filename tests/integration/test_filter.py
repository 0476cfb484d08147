"""The whole path on a real Kafka, with real packets: produce, filter, consume, account."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fastavro
import numpy as np
import pytest
from filter_process import FilterProcess
from filter_site import OUTPUTS, SETTLE_S, Site, answered, packets, repeated
from kafka_desk import Broker

import streamfilter


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    with Site.whole(broker, tmp_path, engine_home) as made:
        yield made


def test_every_real_packet_is_annotated_or_rejected(site: Site, samples: Path) -> None:
    """Good packets come out annotated, enriched and routed once; the damaged ones rejected."""
    values = packets(samples)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start()
    site.wait(set(values), answered)
    assert worker.stop() == 0
    broken = Counter(key for key in values if key.startswith(b"broken/"))
    good = Counter(list(values)) - broken
    assert broken == site.counts("rejected")
    assert good == site.counts("annotations") == site.counts("enriched")
    assert good == site.counts("clean") + site.counts("contaminated")
    assert site.committed() == len(values)


def test_what_is_published_can_be_read(site: Site, samples: Path) -> None:
    """The cosmic-ray track is dropped by its class, in the annotation and in the headers."""
    key = b"lsst/170587117053804617.bin"
    site.broker.produce(site.alerts, [packets(samples)[key]], keys=[key])
    site.start()
    site.wait({key}, answered)
    (message,) = site.broker.read(site.topics["annotations"])
    assert message.value is not None
    assert len(message.value) < 1000
    record = streamfilter.read(message.value)
    assert ("contaminated", "CR") == (record["verdict"]["label"], record["verdict"]["contaminant"])
    assert dict(message.headers)["streamfilter-verdict"] == b"contaminated"
    assert {key} == set(site.counts("contaminated"))
    (enriched,) = site.broker.read(site.topics["enriched"])
    assert enriched.value is not None
    whole = streamfilter.read(enriched.value, schemas=site.home / "schemas" / "published")
    assert record == whole["streamfilter"]


def test_an_enriched_container_needs_nothing_new(site: Site, samples: Path) -> None:
    """A reader of ZTF's containers reads the enriched ones with the same code."""
    key = b"ztf/2695378462115010012.avro"
    original = packets(samples)[key]
    site.broker.produce(site.alerts, [original], keys=[key])
    site.start()
    site.wait({key}, answered)
    (message,) = site.broker.read(site.topics["enriched"])
    path = site.folder / "enriched.avro"
    path.write_bytes(message.value or b"")
    with path.open("rb") as file:
        (record,) = fastavro.reader(file)
    assert isinstance(record, dict)
    assert "streamfilter" in record
    assert record["candid"] == 2695378462115010012


def test_a_rejected_message_keeps_its_bytes_and_says_why(site: Site, samples: Path) -> None:
    """What was damaged can be looked at and replayed."""
    values = {k: v for k, v in packets(samples).items() if k.startswith(b"broken/")}
    assert len(values) == 5
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    site.start()
    site.wait(set(values), answered)
    found = site.broker.read(site.topics["rejected"])
    assert values == {message.key: message.value for message in found}
    assert all(dict(message.headers)["streamfilter-reason"] for message in found)


def test_two_workers_share_and_one_leaving_loses_nothing(site: Site, samples: Path) -> None:
    """A rebalance in both directions while alerts flow: each alert is answered."""
    values = repeated(packets(samples), 6)
    # Both leave in order: a machine so busy that sessions time out is not what is tested.
    patient = '{"session.timeout.ms" = 45000}'
    first, second = site.start(kafka__consumer=patient), site.start(kafka__consumer=patient)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    site.wait_for_share(second)
    assert first.stop() == 0
    site.wait(set(values), answered)
    assert second.stop() == 0
    annotated = site.counts("annotations") + site.counts("rejected")
    assert set(values) == set(annotated)
    # Both left in order, so nothing was read twice.
    assert Counter(list(values)) == annotated


def test_a_killed_worker_is_replaced_without_loss(site: Site, samples: Path) -> None:
    """After SIGKILL in the middle the next worker goes on at the last commit."""
    values = repeated(packets(samples), 6)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    first = site.start()
    while first.metric("streamfilter_messages_total") < len(values) / 4:
        time.sleep(0.05)
    first.kill()
    second = site.start()
    site.wait(set(values), answered)
    assert second.stop() == 0
    assert site.committed() == len(values)


def test_memory_stays_bounded_when_the_topic_holds_far_more(site: Site, samples: Path) -> None:
    """A backlog of 300 MB waits at the broker, not in the worker."""
    values = [value for key, value in packets(samples).items() if key.startswith(b"lsst/")]
    many = [values[n % len(values)] for n in range(2400)]
    assert sum(map(len, many)) > 300e6
    site.broker.produce(site.alerts, many)
    worker = site.start()
    while worker.metric("streamfilter_messages_total") < 800:
        time.sleep(0.2)
    assert worker.peak_mb() < 1000
    assert worker.metric("streamfilter_in_flight_messages") <= 512
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 30


def test_what_an_output_topic_refuses_is_rejected(site: Site, samples: Path) -> None:
    """A topic with a small limit loses nothing: the alert comes out as rejected."""
    site.topics["enriched"] = site.broker.topic(stem="small", max_message_bytes="20000")
    key = b"lsst/170587117053804617.bin"
    site.broker.produce(site.alerts, [packets(samples)[key]], keys=[key])
    worker = site.start()
    site.wait({key}, lambda site: set(site.counts("rejected")))
    (message,) = site.broker.read(site.topics["rejected"])
    assert dict(message.headers)["streamfilter-reason"] == b"output_too_large"
    assert message.value == packets(samples)[key]
    assert worker.stop() == 0
    assert site.committed() == 1


def test_headers_that_no_output_takes_lose_no_alert(site: Site, samples: Path) -> None:
    """It comes out as rejected, once and without them: where it stands is in ours."""
    for name in OUTPUTS:
        site.topics[name] = site.broker.topic(stem="small", max_message_bytes="20000")
    key = b"ztf/2695378462115010012.avro"
    big = np.random.default_rng(1).bytes(50_000)  # brokers measure what is compressed
    headers = (("big", big), ("streamfilter-reason", b"none"))
    site.broker.produce(site.alerts, [packets(samples)[key]], keys=[key], headers=headers)
    worker = site.start()
    end = time.monotonic() + SETTLE_S
    while not (found := site.broker.read(site.topics["rejected"])):
        assert time.monotonic() < end, worker.log.read_text()
        time.sleep(0.2)
    assert worker.stop() == 0
    (message,) = found
    said = dict(message.headers)
    assert (None, None, "big" in said) == (message.value, message.key, False)
    assert (b"output_too_large", site.alerts.encode()) == (
        said["streamfilter-reason"],
        said["streamfilter-topic"],
    )
    assert site.committed() == 1


def test_metrics_tell_what_happened(site: Site, samples: Path) -> None:
    """Counters, stages, latencies, lag and brokers stand on the page that Prometheus reads."""
    values = {k: v for k, v in packets(samples).items() if k.startswith((b"ztf/", b"broken/"))}
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    settings = '{"statistics.interval.ms" = 500}'
    worker = site.start(kafka__consumer=settings)
    site.wait(set(values), answered)
    lag = f'streamfilter_consumer_lag{{partition="0",topic="{site.alerts}"}}'
    end = time.monotonic() + SETTLE_S
    while len(values) > site.committed() or [f"{lag} 0.0"] != worker.lines(lag):
        assert time.monotonic() < end, worker.lines(lag)
        time.sleep(0.1)
    assert worker.metric("streamfilter_messages_total") == len(values)
    assert worker.metric('streamfilter_rejected_total{reason="avro_malformed"}') == 5
    alerts = [line for line in worker.lines("streamfilter_alerts_total") if 'survey="ztf"' in line]
    assert sum(float(line.split()[-1]) for line in alerts) == len(values) - 5
    for stage in ("decode", "normalise", "queue", "infer", "conclude", "produce"):
        assert worker.metric(f'streamfilter_stage_seconds_count{{stage="{stage}"}}') > 0, stage
    for since in ("received", "message", "light"):
        assert worker.metric(f'streamfilter_latency_seconds_count{{since="{since}"}}') > 0, since
    assert any(line.endswith(" 1.0") for line in worker.lines("streamfilter_broker_up"))


def test_a_wrong_configuration_exits_2_and_names_the_key(tmp_path: Path, engine_home: Path) -> None:
    """Nothing starts half."""
    worker = FilterProcess(tmp_path / "log", {"batch.size": "0"}, engine_home)
    assert worker.process.wait(20) == 2
    assert "batch.size" in worker.log.read_text()
