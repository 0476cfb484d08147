"""From Kafka to Kafka: alerts/s beside the engine's own stamps/s, latency, and scaling.

    python tests/bench/bench_stream.py [--json] [--alerts N] [--survey ztf|lsst] [--engine NAME]
        [--rate R]

A real Kafka is started on this machine, and shares its cores with what is measured. Latency is
from the append of the alert to the append of its annotation, both by the broker's clock. The
engine's own rate is measured before and after each run of the stream, on the same stamps, with
as many threads at a time as the worker has judges. CPU milliseconds are the workers' own, without
the broker's.
"""

import argparse
import itertools
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import checkout  # noqa: F401 - finds what is imported below
import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer
from filter_process import FilterProcess
from kafka_desk import Broker
from kafka_node import KafkaNode
from machine import facts

from streamfilter.alerts.normalise import side_of
from streamfilter.inference.cache import default_home
from streamfilter.inference.manifest import Per, load, names
from streamfilter.inference.runtimes import open_engine
from streamfilter.records import Message
from training.samples import samples_folder

PARTITIONS = 8
BATCH = 16
ENGINE_S = 5.0
PATTERNS = {"ztf": "ztf/24*.avro", "lsst": "lsst/1*.bin"}
STAMP_PX = {"ztf": 63, "lsst": 30}
"""Side of a survey's usual stamps."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the stream."""

    workers: int
    judges: int
    alerts: int
    engine_stamps_per_s: float
    alerts_per_s: float
    share_of_engine: float
    cpu_ms_per_alert: float
    """Of all workers together."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """From append to append at a steady rate, in milliseconds."""

    offered_per_s: float
    alerts: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def engine_rate(name: str, home: Path, judges: int, stamp_px: int) -> float:
    """Stamps/s of the network alone: full batches, one thread each, ``judges`` at a time."""
    engine = open_engine(name, "onnxruntime", home, 1)
    network = engine.manifest
    side = side_of((stamp_px, stamp_px), network.sides_px)
    shape = (BATCH, len(network.planes), side, side)
    batch = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    engine.infer(batch)
    end = time.monotonic() + ENGINE_S
    done = [0] * judges

    def work(number: int) -> None:
        while time.monotonic() < end:
            engine.infer(batch)
            done[number] += BATCH

    threads = [threading.Thread(target=work, args=(n,)) for n in range(judges)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(done) / (time.monotonic() - started)
    engine.close()
    return rate


class Bench:
    """A broker, packets, and the cache of engines."""

    def __init__(
        self, broker: Broker, folder: Path, survey: str, samples: Path, engine: str
    ) -> None:
        self.broker = broker
        self.folder = folder
        self.engine = engine
        self._stamp_px = STAMP_PX[survey]
        self._home = default_home(os.environ)
        self._packets = [path.read_bytes() for path in sorted(samples.glob(PATTERNS[survey]))]
        if not self._packets:
            raise SystemExit(f"no packets at {samples / PATTERNS[survey]}")

    def topics(self) -> tuple[str, str]:
        """One of alerts and one of annotations, stamped by the broker."""
        alerts, out = (
            self.broker.topic(n, message_timestamp_type="LogAppendTime") for n in (PARTITIONS, 1)
        )
        return alerts, out

    @contextmanager
    def workers(
        self, count: int, judges: int, alerts: str, out: str, **more: str
    ) -> Iterator[list[FilterProcess]]:
        """Workers that are warm and have their partitions."""
        settings = {
            "kafka.bootstrap": self.broker.bootstrap,
            "kafka.group": f"bench-{uuid.uuid4().hex}",
            "alerts.topics": f'["{alerts}"]',
            "outputs.annotations": out,
            "outputs.rejected": "",
            "engine.name": self.engine,
            "engine.workers": str(judges),
            **{key.replace("__", "."): value for key, value in more.items()},
        }
        processes = []
        try:
            for number in range(count):
                log = self.folder / f"worker-{number}.log"
                processes.append(FilterProcess(log, settings, self._home))
            for process in processes:
                process.wait_ready()
            yield processes
        finally:
            for process in processes:
                process.stop()

    def produce(self, topic: str, alerts: int) -> None:
        """Append so many alerts at once; keys spread them evenly over the partitions."""
        values = itertools.islice(itertools.cycle(self._packets), alerts)
        self.broker.produce(topic, values, keys=[b"%d" % number for number in range(alerts)])

    def throughput(self, workers: int, judges: int, alerts: int, **more: str) -> Run:
        """Alerts/s of a backlog, from the first annotation to the last."""
        before = self._engine_rate(workers * judges)
        topic, out = self.topics()
        with self.workers(workers, judges, topic, out, **more) as processes:
            # The workers wait with their partitions: the backlog comes at once.
            began_s = sum(each.cpu_s() for each in processes)
            self.produce(topic, alerts)
            stamps = self.appended(out, alerts)
            cpu_s = sum(each.cpu_s() for each in processes) - began_s
        engine = (before + self._engine_rate(workers * judges)) / 2
        # The first tenth fills the queues, the last is a worker that has nothing left to do.
        low, high = int(0.1 * alerts), int(0.9 * alerts)
        rate = float((high - low) / (stamps[high] - stamps[low]) * 1000)
        return Run(
            workers=workers,
            judges=judges,
            alerts=alerts,
            engine_stamps_per_s=engine,
            alerts_per_s=rate,
            share_of_engine=rate / engine,
            cpu_ms_per_alert=1000 * cpu_s / alerts,
        )

    def _engine_rate(self, callers: int) -> float:
        return engine_rate(self.engine, self._home, callers, self._stamp_px)

    def latency(self, judges: int, rate_per_s: float, alerts: int) -> Latency:
        """Latency of alerts that come evenly."""
        topic, out = self.topics()
        with self.workers(1, judges, topic, out):
            self.produce_evenly(topic, rate_per_s, alerts)
            self.appended(out, alerts)
        ended = {origin_of(m): float(m.timestamp_ms or 0) for m in self.broker.read(out)}
        return self.latency_of(topic, ended, rate_per_s)

    def latency_of(
        self, topic: str, ended: Mapping[tuple[int, int], float], rate_per_s: float
    ) -> Latency:
        """From the append of each alert; in the first tenth of the time clients connect."""
        began = {place_of(m): m.timestamp_ms or 0 for m in self.broker.read(topic)}
        # A topic is read partition by partition.
        in_time = sorted(began, key=began.__getitem__)
        found = np.array([ended[place] - began[place] for place in in_time[len(began) // 10 :]])
        p50, p90, p99 = np.quantile(found, (0.5, 0.9, 0.99))
        return Latency(
            offered_per_s=rate_per_s,
            alerts=len(found),
            p50_ms=float(p50),
            p90_ms=float(p90),
            p99_ms=float(p99),
            max_ms=float(found.max()),
        )

    def produce_evenly(self, topic: str, rate_per_s: float, alerts: int) -> None:
        """Append alerts one by one at a steady rate."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "linger.ms": 0})
        started = time.monotonic()
        for number, value in enumerate(itertools.islice(itertools.cycle(self._packets), alerts)):
            time.sleep(max(0.0, started + number / rate_per_s - time.monotonic()))
            producer.produce(topic, value, str(number).encode())
            producer.poll(0)
        producer.flush()

    def appended(self, topic: str, count: int) -> npt.NDArray[np.int64]:
        """Append times of a topic in order, in milliseconds, once it holds ``count``."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            # Marks of transactions count in the size.
            found = self.broker.read(topic) if self.broker.size(topic) >= count else []
            if len(found) >= count:
                return np.sort([m.timestamp_ms or 0 for m in found])
            time.sleep(0.2)
        raise SystemExit(f"{topic} did not reach {count} messages")


def place_of(message: Message) -> tuple[int, int]:
    """Partition and offset of an alert."""
    return message.origin.partition, message.origin.offset


def origin_of(message: Message) -> tuple[int, int]:
    """Partition and offset of the alert of an annotation."""
    headers = dict(message.headers)
    partition, offset = headers["streamfilter-partition"], headers["streamfilter-offset"]
    return int(partition or b""), int(offset or b"")


def measure(bench: Bench, alerts: int, rate_per_s: float | None) -> dict[str, object]:
    """All figures, ratios first."""
    cores = os.cpu_count() or 1
    whole = bench.throughput(1, cores, alerts)
    offered_per_s = rate_per_s or whole.engine_stamps_per_s / 2
    latency = bench.latency(cores, offered_per_s, alerts // 2)
    one = bench.throughput(1, 1, alerts // 2)
    two = bench.throughput(2, 1, alerts // 2)
    return {
        "share_of_engine": round(whole.share_of_engine, 3),
        "two_workers_over_one": round(two.alerts_per_s / one.alerts_per_s, 2),
        "offered_per_s": round(offered_per_s, 1),
        "p99_ms_at_that_rate": round(latency.p99_ms, 1),
        "latency": asdict(latency),
        "runs": [asdict(run) for run in (whole, one, two)],
        "machine": facts("confluent-kafka", "onnxruntime", "numpy"),
    }


def arguments(description: str, alerts: int) -> argparse.ArgumentParser:
    """What benchmarks of the stream are told."""
    engines = [name for name in names() if load(name).per is Per.PIXEL]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alerts", type=int, default=alerts)
    parser.add_argument("--survey", choices=sorted(PATTERNS), default="ztf")
    parser.add_argument("--engine", choices=engines, default="maximask")
    parser.add_argument("--samples", type=Path, default=samples_folder())
    return parser


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Bench]:
    """A bench on a Kafka of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        node = KafkaNode(Path(scratch))
        node.start()
        try:
            broker = Broker(node.bootstrap, node)
            yield Bench(broker, Path(scratch), given.survey, given.samples, given.engine)
        finally:
            node.remove()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__.partition("\n")[0], alerts=4000)
    parser.add_argument(
        "--rate", type=float, help="alerts/s at which latency is measured (half of the engine's)"
    )
    given = parser.parse_args()
    with opened(given) as bench:
        measured = measure(bench, given.alerts, given.rate)
    found = {"survey": given.survey, "engine": given.engine, **measured}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        if not isinstance(value, list):
            print(f"{key:24} {value}")
    for run in found["runs"]:
        print("run".ljust(24), run)


if __name__ == "__main__":
    main()
