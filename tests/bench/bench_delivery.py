"""Exactly-once beside at-least-once: alerts/s and latency, in one run and in turn.

    python tests/bench/bench_delivery.py [--json] [--alerts N] [--survey ztf|lsst]

A real Kafka is started on this machine, and shares its cores with what is measured. Rates are held
against the engine's own before and after each run, because the machine is not always as fast.
Latency is from the append of an alert, by the broker's clock, until a reader of committed data has
its annotation: in a transaction it is not visible when it is appended.
"""

import json
import os
import threading
import time

import numpy as np
from bench_stream import Bench, Latency, arguments, opened, origin_of
from confluent_kafka import Consumer, TopicPartition
from machine import facts

from streamfilter.kafka.messages import message_of

GUARANTEES = ("at-least-once", "exactly-once")
TURNS = 2


def latency(bench: Bench, judges: int, rate_per_s: float, alerts: int, guarantee: str) -> Latency:
    """Of alerts that come evenly."""
    topic, out = bench.topics()
    ended: dict[tuple[int, int], float] = {}
    reader = threading.Thread(target=watch, args=(bench, out, alerts, ended))
    with bench.workers(1, judges, topic, out, delivery__guarantee=guarantee):
        reader.start()
        bench.produce_evenly(topic, rate_per_s, alerts)
        reader.join()
    return bench.latency_of(topic, ended, rate_per_s)


def watch(bench: Bench, topic: str, count: int, ended: dict[tuple[int, int], float]) -> None:
    """When each annotation was read, in milliseconds, until all are here."""
    consumer = Consumer(
        {
            "bootstrap.servers": bench.broker.bootstrap,
            "group.id": "bench-reader",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    end = time.monotonic() + 300
    while len(ended) < count and time.monotonic() < end:
        raw = consumer.poll(0.1)
        if raw is not None and raw.error() is None:
            ended[origin_of(message_of(raw))] = time.time() * 1000
    consumer.close()


def compare(bench: Bench, alerts: int) -> dict[str, object]:
    """Both, in turn; ratios first."""
    cores, turns = os.cpu_count() or 1, GUARANTEES * TURNS
    runs = [bench.throughput(1, cores, alerts, delivery__guarantee=each) for each in turns]
    offered = min(run.engine_stamps_per_s for run in runs) / 2
    waits = [latency(bench, cores, offered, alerts // 2, each) for each in turns]
    least, exactly = (
        float(np.mean([run.share_of_engine for run in runs[n :: len(GUARANTEES)]])) for n in (0, 1)
    )
    p99_least, p99_exactly = (
        float(np.mean([wait.p99_ms for wait in waits[n :: len(GUARANTEES)]])) for n in (0, 1)
    )
    return {
        "throughput_exactly_over_at_least": round(exactly / least, 3),
        "p99_ms_more": round(p99_exactly - p99_least, 1),
        "share_of_engine": [round(run.share_of_engine, 3) for run in runs],
        "alerts_per_s": [round(run.alerts_per_s, 1) for run in runs],
        "p50_ms": [round(wait.p50_ms, 1) for wait in waits],
        "p99_ms": [round(wait.p99_ms, 1) for wait in waits],
        "offered_per_s": round(offered, 1),
        "in_turn": GUARANTEES,
        "machine": facts("confluent-kafka", "onnxruntime", "numpy"),
    }


def main() -> None:
    """Measure and print."""
    given = arguments(__doc__.partition("\n")[0], alerts=2000).parse_args()
    with opened(given) as bench:
        found = {"survey": given.survey, **compare(bench, given.alerts)}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        print(f"{key:34} {value}")


if __name__ == "__main__":
    main()
