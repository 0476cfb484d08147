"""A topic of alerts, topics of outputs, and workers as users run them."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from filter_process import EndsWorkers, FilterProcess
from kafka_desk import Broker

OUTPUTS = ("annotations", "enriched", "clean", "contaminated", "rejected")
SETTLE_S = 240.0  # several brokers and workers may share two cores


@dataclass
class Site(EndsWorkers):
    """A topic of alerts, topics of outputs, and workers of one group."""

    broker: Broker
    folder: Path
    home: Path
    alerts: str
    topics: dict[str, str]
    workers: list[FilterProcess] = field(default_factory=list)

    @classmethod
    def whole(cls, broker: Broker, folder: Path, home: Path) -> Self:
        """Alerts in four partitions, and a topic for each output."""
        topics = {name: broker.topic(stem=name) for name in OUTPUTS}
        return cls(broker, folder, home, broker.topic(4, stem="alerts"), topics)

    def start(self, **overrides: str) -> FilterProcess:
        """Start one more worker and wait until it is warm."""
        return self.launch(**overrides).wait_ready()

    def log(self) -> str:
        """All that the workers said."""
        return "\n".join(worker.log.read_text() for worker in self.workers)

    def launch(self, **overrides: str) -> FilterProcess:
        """Start one more worker."""
        settings = {
            "kafka.bootstrap": self.broker.bootstrap,
            "kafka.group": f"group-{self.alerts}",
            "kafka.consumer": '{"session.timeout.ms" = 6000}',
            "alerts.topics": f'["{self.alerts}"]',
            "engine.workers": "1",
            **{f"outputs.{name}": topic for name, topic in self.topics.items()},
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = FilterProcess(log, settings, self.home)
        self.workers.append(worker)
        return worker

    def committed(self) -> int:
        """How many alerts the workers have committed."""
        return sum(self.broker.committed(f"group-{self.alerts}", self.alerts).values())

    def wait_for_share(self, worker: FilterProcess) -> None:
        """Return once this worker has read something."""
        end = time.monotonic() + SETTLE_S
        while worker.metric("streamfilter_messages_total") == 0:
            assert time.monotonic() < end, worker.log.read_text()
            time.sleep(0.05)

    def counts(self, name: str) -> Counter[bytes | None]:
        """Messages of an output by the key of their alert."""
        return self.broker.counts(self.topics[name])

    def wait(self, keys: set[bytes], done: Callable[["Site"], set[bytes | None]]) -> None:
        """Return once every key is done."""
        end = time.monotonic() + SETTLE_S
        while missing := keys - done(self):
            assert time.monotonic() < end, f"{len(missing)} missing: {sorted(missing)[:5]}"
            time.sleep(0.3)


def answered(site: Site) -> set[bytes | None]:
    """Keys that were annotated or rejected."""
    return set(site.counts("annotations")) | set(site.counts("rejected"))


def packets(samples: Path) -> dict[bytes, bytes]:
    """Every real packet, keyed by folder and file."""
    files = [*samples.glob("*/*.avro"), *samples.glob("lsst/*.bin")]
    found = {f"{f.parent.name}/{f.name}".encode(): f.read_bytes() for f in sorted(files)}
    assert len(found) > 60
    return found


def repeated(values: dict[bytes, bytes], times: int) -> dict[bytes, bytes]:
    """The same packets under further keys."""
    return {key + b"#%d" % n: value for n in range(times) for key, value in values.items()}
