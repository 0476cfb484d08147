"""librdkafka's statistics, reduced to what the metrics need."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
class PartitionStanding:
    """Where reading a partition stands; -1 where that is not known yet."""

    position: int
    """Offset of the next message to read, after those that were read and markers."""
    fetched: int
    """Offset of the next message to fetch; the messages between the two wait in the client."""
    end: int
    """Offset up to which messages may be read: an open transaction ends it."""


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
    prefetched_bytes: int = 0
    """Fetched and not yet read (consumer)."""
    standing: Mapping[tuple[str, int], PartitionStanding] = field(default_factory=dict)
    """The partitions about which a consumer has had an answer."""


OnStatistics = Callable[[Statistics], None]


def serve_statistics(on_statistics: OnStatistics, text: str) -> None:
    """Parse librdkafka's JSON and call the function with it."""
    on_statistics(parsed(json.loads(text)))


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
        # All partitions of a consumer share one queue, and each reports the whole of it.
        prefetched_bytes=max((each.get("fetchq_size", 0) for _, _, each in partitions), default=0),
        standing={
            (topic, number): _standing(each)
            for topic, number, each in partitions
            if each.get("hi_offset", -1) >= 0
        },
    )


def _standing(partition: Mapping[str, Any]) -> PartitionStanding:
    """Returns the position; before the first read that is the commit, else the beginning."""
    places = (partition.get(key, -1) for key in ("app_offset", "committed_offset", "lo_offset"))
    stable, high = partition.get("ls_offset", -1), partition["hi_offset"]
    return PartitionStanding(
        position=next((place for place in places if place >= 0), -1),
        fetched=partition.get("next_offset", -1),
        end=min(stable, high) if stable >= 0 else high,
    )


def _lag(partition: Mapping[str, Any]) -> int | None:
    """Returns the lag behind the committed offset; before the first commit, behind the position."""
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
