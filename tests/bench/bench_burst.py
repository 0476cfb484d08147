"""A visit's burst: all its alerts at once, on a worker that waits for them.

    python tests/bench/bench_burst.py [--json] [--alerts N] [--survey ztf|lsst] [--engine NAME]
        [--overload shed] [--workers N] [--judges N]

A real Kafka is started on this machine, and shares its cores with the worker. Seconds in queue
are from the append of the alert to the append of its annotation, both by the broker's clock; a
burst that outlasts the engine makes them as long as the drain. Memory is the largest resident set
of a worker; what it had after its warm-up is beside it.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from bench_stream import PARTITIONS, Bench, arguments, opened, origin_of, place_of
from filter_process import FilterProcess
from machine import facts

_LOOK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Burst:
    """How one burst drained."""

    overload: str
    workers: int
    judges: int
    alerts: int
    partitions: int
    produced_s: float
    drain_s: float
    """From the first append of an alert to the last append of an annotation."""
    alerts_per_s: float
    p50_s: float
    p99_s: float
    max_s: float
    order_kept: bool
    """In every partition annotations stand in the order of their alerts, each once."""
    not_evaluated: int
    most_in_flight: int
    """Of one worker."""
    warm_mb: float
    peak_mb: float


class Watch:
    """Looks at the workers' in-flight gauges until it is told to end."""

    def __init__(self, processes: Sequence[FilterProcess]) -> None:
        self.most = 0.0
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            for each in self._processes:
                self.most = max(self.most, each.metric("streamfilter_in_flight_messages"))


def burst(bench: Bench, alerts: int, overload: str, workers: int, judges: int) -> Burst:
    """Send all alerts at once and wait for the last annotation."""
    topic, out = bench.topics()
    with bench.workers(workers, judges, topic, out, flow__overload=overload) as processes:
        warm_mb = max(each.peak_mb() for each in processes)
        started = time.monotonic()
        with Watch(processes) as watch:
            bench.produce(topic, alerts)
            produced_s = time.monotonic() - started
            bench.appended(out, alerts)
        lines = [line for each in processes for line in each.lines("streamfilter_shed_total{")]
        shed = sum(float(line.rpartition(" ")[2]) for line in lines)
        peak_mb = max(each.peak_mb() for each in processes)
    began = {place_of(m): m.timestamp_ms or 0 for m in bench.broker.read(topic)}
    annotations = bench.broker.read(out)
    ended = {origin_of(m): m.timestamp_ms or 0 for m in annotations}
    places = [origin_of(m) for m in annotations]
    queued_s = np.array([ended[place] - began[place] for place in began]) / 1000
    p50, p99 = np.quantile(queued_s, (0.5, 0.99))
    drain_s = (max(ended.values()) - min(began.values())) / 1000
    return Burst(
        overload=overload,
        workers=workers,
        judges=judges,
        alerts=alerts,
        partitions=PARTITIONS,
        produced_s=round(produced_s, 1),
        drain_s=round(drain_s, 1),
        alerts_per_s=round(alerts / drain_s, 1),
        p50_s=round(float(p50), 2),
        p99_s=round(float(p99), 2),
        max_s=round(float(queued_s.max()), 2),
        order_kept=all(
            [p for p in places if p[0] == n] == sorted(p for p in began if p[0] == n)
            for n in range(PARTITIONS)
        ),
        not_evaluated=int(shed),
        most_in_flight=int(watch.most),
        warm_mb=round(warm_mb),
        peak_mb=round(peak_mb),
    )


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__.partition("\n")[0], alerts=10_000)
    parser.add_argument("--overload", choices=("hold", "shed"), default="hold")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--judges", type=int, default=os.cpu_count() or 1, help="of each worker")
    given = parser.parse_args()
    with opened(given) as bench:
        measured = burst(bench, given.alerts, given.overload, given.workers, given.judges)
    found = {"survey": given.survey, "engine": given.engine, **asdict(measured)}
    found["machine"] = facts("confluent-kafka", "onnxruntime", "numpy")
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        print(f"{key:20} {value}")
    if not found["order_kept"]:
        raise SystemExit("annotations are out of order, or missing, or twice")


if __name__ == "__main__":
    main()
