"""librdkafka's statistics, reduced to what the metrics need."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """One broker as a client sees it."""

    name: str
    """Host and port."""
    up: bool
    rtt_s: float | None
    """Mean time of a request in the last interval; None where there was none."""
    errors: int
    """Requests and answers that failed, since the client began."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The state of one client at one moment."""

    lag: Mapping[tuple[str, int], int]
    """Messages after the committed offset, by topic and partition; absent where not known. Before
    the first commit, messages after the last one read."""
    brokers: tuple[BrokerHealth, ...]
    prefetched_messages: int
    """Fetched and not yet read (consumer)."""
    queued_messages: int
    """Sent and not yet acknowledged (producer)."""
    rebalances: int
    """Number of rebalances since the client joined its group."""


def parsed(document: Mapping[str, Any]) -> Statistics:
    """Returns statistics from librdkafka's JSON (STATISTICS.md of librdkafka 2).

    Parameters
    ----------
    document
        The JSON object; a missing number counts as 0.
    """
    partitions = list(_partitions(document))
    return Statistics(
        lag={
            (topic, number): lag
            for topic, number, each in partitions
            if (lag := _lag(each)) is not None
        },
        brokers=tuple(_brokers(document)),
        prefetched_messages=sum(each.get("fetchq_cnt", 0) for _, _, each in partitions),
        queued_messages=document.get("msg_cnt", 0),
        rebalances=document.get("cgrp", {}).get("rebalance_cnt", 0),
    )


def _lag(partition: Mapping[str, Any]) -> int | None:
    """Returns the lag behind the committed offset; before the first commit, behind the reading."""
    lags = (partition.get(key, -1) for key in ("consumer_lag", "consumer_lag_stored"))
    return next((lag for lag in lags if lag >= 0), None)


def _partitions(document: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yields real partitions: -1 is librdkafka's queue for messages without a partition."""
    for name, topic in document.get("topics", {}).items():
        for partition in topic.get("partitions", {}).values():
            if partition["partition"] >= 0:
                yield name, partition["partition"], partition


def _brokers(document: Mapping[str, Any]) -> Iterator[BrokerHealth]:
    """Yields real brokers: negative ids repeat bootstrap addresses and the coordinator."""
    for broker in document.get("brokers", {}).values():
        if broker["nodeid"] >= 0:
            rtt_us = broker.get("rtt", {})
            yield BrokerHealth(
                broker["nodename"],
                broker["state"] == "UP",
                rtt_us["avg"] / 1e6 if rtt_us.get("cnt") else None,
                broker.get("txerrs", 0) + broker.get("rxerrs", 0),
            )
