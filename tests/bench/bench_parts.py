"""CPU microseconds of each part of an alert's way, in one thread and without Kafka.

    python tests/bench/bench_parts.py [--json] [--engine stampmask] [--survey ztf|lsst] [--batch N]

Packets go through in batches as a worker makes them. CPU seconds of the thread are counted, so
time that others have the core is not; the figure of a part is the least of the repeats, because
others also empty the caches.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench_stream import PATTERNS, arguments
from machine import facts

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.pipeline import Item, Pipeline
from streamfilter.alerts.rules import policy
from streamfilter.alerts.surveys import Surveys
from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest
from streamfilter.inference.runtimes import open_engine
from streamfilter.limits import Limits
from streamfilter.records import Alert, EngineIdentity, Message, Origin, Plane, Times
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource

PARTS = ("decode", "normalise", "network", "evidence", "verdict", "encode")


class Clock:
    """CPU nanoseconds of this thread by part."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count a block."""
        started = time.thread_time_ns()
        yield
        self.spent[name] += time.thread_time_ns() - started


@dataclass(frozen=True, slots=True)
class Timed:
    """A network whose runs are counted apart."""

    engine: Engine
    clock: Clock

    @property
    def manifest(self) -> Manifest:
        """The network's inputs and outputs."""
        return self.engine.manifest

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return self.engine.runtime

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        """Run once on zeros of each shape."""
        self.engine.warm_up(shapes)

    def infer(self, batch: Tensor) -> Tensor:
        """The raw probabilities of a batch."""
        with self.clock.part("network"):
            return self.engine.infer(batch)

    def close(self) -> None:
        """Release what the runtime holds."""
        self.engine.close()


class Way:
    """An alert's way from bytes to bytes."""

    def __init__(self, engine: Engine, batch: int) -> None:
        limits, surveys, network = Limits(), Surveys.load(), engine.manifest
        finder = SchemaFinder([PackageSource()], limits)
        self._engine, self._batch, self._encoder = engine, batch, Encoder(finder)
        self._pipeline = Pipeline(
            decoder=Decoder(finder, surveys, limits),
            planes=(Plane.SCIENCE,),
            policies={name: policy(name, network) for name in surveys.names},
            engine=EngineIdentity(network.name, network.onnx_sha256, engine.runtime),
            network=network,
        )

    def go(self, messages: Sequence[Message]) -> Counter[str]:
        """CPU nanoseconds by part for all messages."""
        clock, batcher = Clock(), Batcher[int, tuple[Alert, Item]](max_items=self._batch)
        for message in messages:
            with clock.part("decode"):
                alert = self._pipeline.decode(message)
            if not isinstance(alert, Alert):
                raise SystemExit(f"a packet is not decoded: {alert.detail}")
            with clock.part("normalise"):
                prepared = self._pipeline.prepare(alert)
            for item in prepared.items:
                if batch := batcher.add(item.side, (alert, item), 0.0):
                    self._judge(batch.items, clock)
        for batch in batcher.flush():
            self._judge(batch.items, clock)
        clock.spent["evidence"] -= clock.spent["network"]
        return clock.spent

    def _judge(self, stamps: Sequence[tuple[Alert, Item]], clock: Clock) -> None:
        with clock.part("evidence"):
            items = [item for _, item in stamps]
            evidence = self._pipeline.evaluate(Timed(self._engine, clock), items)
        for (alert, _), found in zip(stamps, evidence, strict=True):
            with clock.part("verdict"):
                times = Times(0.0, 0.0, 0.0, 0.0)
                annotation = self._pipeline.conclude(alert, [found], times)
            with clock.part("encode"):
                self._encoder.headers(annotation)
                self._encoder.annotation(annotation, "annotations")


def measure(given: argparse.Namespace) -> dict[str, object]:
    """Microseconds an alert."""
    home = default_home(os.environ)
    way = Way(open_engine(given.engine, given.runtime, home, 1), given.batch)
    values = [path.read_bytes() for path in sorted(given.samples.glob(PATTERNS[given.survey]))]
    if not values:
        raise SystemExit(f"no packets at {given.samples / PATTERNS[given.survey]}")
    messages = [Message(Origin("bench", 0, n), value) for n, value in enumerate(values)]
    way.go(messages)
    runs = [way.go(messages) for _ in range(given.repeats)]
    parts_us = {
        part: round(min(run[part] for run in runs) / 1000 / len(messages), 1) for part in PARTS
    }
    return {
        "engine": given.engine,
        "survey": given.survey,
        "packets": len(messages),
        "without_network_us": round(sum(parts_us.values()) - parts_us["network"], 1),
        **{f"{part}_us": value for part, value in parts_us.items()},
        "machine": facts("onnxruntime", "numpy"),
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__.partition("\n")[0], alerts=0)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    found = measure(parser.parse_args())
    if found and "--json" in sys.argv:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        print(f"{key:20} {value}")


if __name__ == "__main__":
    main()
