"""librdkafka's statistics are reduced to real partitions and real brokers."""

import time

from joined_source import joined
from kafka_desk import Broker

from streamfilter.kafka.statistics import BrokerHealth, Statistics, parsed

CONSUMER = {
    "type": "consumer", "msg_cnt": 0,
    "brokers": {
        "a:9092/1": {
            "nodeid": 1, "nodename": "a:9092", "state": "UP", "txerrs": 1, "rxerrs": 2,
            "rtt": {"avg": 1500, "cnt": 3},
        },
        "b:9092/2": {
            "nodeid": 2, "nodename": "b:9092", "state": "DOWN", "rtt": {"avg": 0, "cnt": 0},
        },
        "a:9092/bootstrap": {"nodeid": -1, "nodename": "a:9092", "state": "UP"},
        "GroupCoordinator": {"nodeid": -1, "nodename": "a:9092", "state": "UP"},
    },
    "topics": {
        "alerts": {
            "partitions": {
                "0": {"partition": 0, "consumer_lag": 7, "fetchq_cnt": 2},
                "1": {"partition": 1, "consumer_lag": -1, "fetchq_cnt": 1},
                "2": {"partition": 2, "consumer_lag": -1, "consumer_lag_stored": 5},
                "-1": {"partition": -1, "consumer_lag": 99, "fetchq_cnt": 99},
            }
        }
    },
    "cgrp": {"rebalance_cnt": 3},
}  # fmt: skip


def test_a_consumers_statistics_are_read() -> None:
    """Partition -1, a lag of -1 and negative node ids are not reported."""
    assert parsed(CONSUMER) == Statistics(
        lag={("alerts", 0): 7, ("alerts", 2): 5},
        brokers=(
            BrokerHealth("a:9092", True, 0.0015, 3),
            BrokerHealth("b:9092", False, None, 0),
        ),
        prefetched_messages=3,
        queued_messages=0,
        rebalances=3,
    )


def test_a_producers_statistics_are_read() -> None:
    """A missing number counts as 0."""
    found = parsed({"msg_cnt": 5, "brokers": {}, "topics": {}})
    assert Statistics({}, (), 0, 5, 0) == found


def test_a_real_consumer_reports_its_lag(broker: Broker) -> None:
    """Of ten messages with four committed, six are left."""
    topic = broker.topic()
    broker.produce(topic, [b"v"] * 10)
    seen: list[Statistics] = []
    settings: dict[str, str | int] = {"bootstrap.servers": broker.bootstrap, "group.id": topic}
    source = joined({**settings, "statistics.interval.ms": 100}, [topic], on_statistics=seen.append)
    found, end = 0, time.monotonic() + 30.0
    while found < 10 and time.monotonic() < end:
        found += len(source.poll(10, 0.1))
    source.commit({(topic, 0): 4}, wait=True)
    while time.monotonic() < end and not (seen and seen[-1].lag.get((topic, 0)) == 6):
        source.poll(1, 0.1)
    source.close()
    assert ({(topic, 0): 6}, [True]) == (seen[-1].lag, [each.up for each in seen[-1].brokers])
