"""A worker between a source and a sink in memory, with a network that answers at once."""

import queue
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from prometheus_client import CollectorRegistry

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.pipeline import FurtherEngine, Pipeline
from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Flow, Outputs, Settings
from streamfilter.files import bundled_folder
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest, load
from streamfilter.kafka.assignee import Assignee, Nobody
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.progress import Stall
from streamfilter.kafka.sink import Done, KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.records import (
    EngineIdentity,
    Headers,
    Message,
    Origin,
    Output,
    Plane,
)
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import FolderSource
from streamfilter.service.alerts.survey_topics import Absent, SurveyTopics
from streamfilter.service.alerts.ticket import InForce
from streamfilter.service.alerts.worker import AlertWorker
from streamfilter.service.assembly.alerts import assembled, policy_of
from streamfilter.service.delivery.at_least_once import AtLeastOnce
from streamfilter.simulate.visits import alerts

PARTITION = ("alerts", 0)
TOPICS = Outputs(annotations="annotations", clean="clean", rejected="rejected")


class MemorySource:
    """A source of messages, spread over partitions; ``ended`` when all are read, none held."""

    def __init__(
        self, values: Sequence[bytes | None], headers: Headers = (), partitions: int = 1
    ) -> None:
        self._waiting = [
            Message(Origin("alerts", n % partitions, n // partitions), value, b"%d" % n, 1, headers)
            for n, value in enumerate(values)
        ]
        self.worker: Assignee = Nobody()
        self.registry: CollectorRegistry | None = None
        self.assigned = tuple(("alerts", n) for n in range(partitions))
        self.committed: dict[tuple[str, int], int] = {}
        self.commits = 0
        self.pauses = 0
        self.paused = False
        self.held: set[tuple[str, int]] = set()
        self.ended = threading.Event()

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        if not self._waiting:
            self.ended.wait(timeout_s)
            if not (
                self.registry and self.registry.get_sample_value("streamfilter_held_partitions")
            ):
                self.ended.set()
        ready = [m for m in self._waiting if ("alerts", m.origin.partition) not in self.held]
        taken = [] if self.paused else ready[:max_messages]
        if self._waiting and not taken:
            time.sleep(timeout_s)
        self._waiting = [message for message in self._waiting if message not in taken]
        return taken

    def pause(self) -> None:
        self.pauses += 1
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def hold(self, partition: tuple[str, int]) -> None:
        self.held.add(partition)

    def release(self, partition: tuple[str, int]) -> None:
        self.held.discard(partition)

    def commit(self, offsets: dict[tuple[str, int], int], *, wait: bool) -> bool:
        self.committed |= offsets
        self.commits += 1
        return True

    def behind_marks(self, settled: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        return {}

    def stalled(self, limit_s: float) -> tuple[Stall, ...]:
        return ()

    def join(self, assignee: Assignee) -> None:
        self.worker = assignee

    def close(self) -> None:
        self.worker.revoked(self.assigned)


class MemorySink:
    """Acknowledges outputs in the thread that polls; refuses those over a size."""

    def __init__(self, *, largest: int = 2**30, away: bool = False) -> None:
        self.sent: list[Output] = []
        self._reports: queue.SimpleQueue[tuple[Output, Done, Undeliverable | None]] = (
            queue.SimpleQueue()
        )
        self._largest, self._away = largest, away
        self._serving = threading.local()

    def send(self, output: Output, done: Done) -> None:
        assert not getattr(self._serving, "now", False), "sent while acknowledgements are served"
        headers = sum(len(name) + len(value or b"") for name, value in output.headers)
        refused = len(output.value or b"") + len(output.key or b"") + headers > self._largest
        if not refused:
            self.sent.append(output)
        if not self._away:
            self._reports.put((output, done, Undeliverable("too large") if refused else None))

    def poll(self, timeout_s: float) -> int:
        try:
            output, done, refusal = self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return 0
        self._serving.now = True
        done(output, refusal)
        self._serving.now = False
        return 1

    def flush(self, timeout_s: float) -> int:
        return self._reports.qsize()

    def to(self, topic: str) -> list[Output]:
        """The acknowledged outputs of a topic."""
        return [output for output in self.sent if output.topic == topic]


class CleanSky:
    """An engine that finds nothing anywhere."""

    manifest = load("maximask")
    runtime = "none"

    def warm_up(self, shapes: object) -> None: ...

    def infer(self, batch: Tensor) -> Tensor:
        return np.zeros((len(batch), len(self.manifest.codes), *batch.shape[2:]), np.float32)

    def close(self) -> None: ...


def finder() -> SchemaFinder:
    """Finds the schemas of simulated packets."""
    folder = FolderSource(bundled_folder("schemas") / "simulated")
    return SchemaFinder([folder], Settings().limits)


class SimulatedPipeline(Pipeline):
    """The pipeline as it runs; tests override a step to let it fail."""

    def __init__(
        self,
        schemas: SchemaFinder | None = None,
        settings: Settings | None = None,
        network: Manifest = CleanSky.manifest,
        also: Sequence[FurtherEngine] = (),
    ) -> None:
        settings = settings or Settings()
        surveys = Surveys.load(())
        networks = [network, *(each.network for each in also)]
        super().__init__(
            decoder=Decoder(schemas or finder(), surveys, settings.limits),
            planes=[Plane.SCIENCE],
            policies={name: policy_of(settings, name, networks) for name in surveys.names},
            engine=EngineIdentity(network.name, "00" * 32, "none"),
            network=network,
            also=also,
        )


def packets(count: int) -> list[bytes]:
    """Simulated alerts in their wire forms."""
    return [alert.value for alert in alerts(1, count, scenes=count)]


def worker(
    source: MemorySource,
    sink: MemorySink,
    *,
    pipeline: Pipeline | None = None,
    encoder: Encoder | None = None,
    registry: CollectorRegistry | None = None,
    engine: Engine | None = None,
    also: Sequence[Engine] = (),
    batch_size: int = 4,
    max_wait_s: float = 0.01,
    judges: int = 1,
    schema_wait_s: float = 1.0,
    stall_s: float = 300.0,
    topics: Outputs = TOPICS,
    absent: Absent = lambda _: (),
    **flow: Any,
) -> AlertWorker:
    """A worker on these messages; ``flow`` has its limits."""
    source.registry = registry = registry or CollectorRegistry()
    ledger = Ledger()
    return assembled(
        InForce(pipeline or SimulatedPipeline(), topics),
        engines=(engine or CleanSky(), *also),
        encoder=encoder or Encoder(finder()),
        source=cast("KafkaSource", source),
        delivery=AtLeastOnce(cast("KafkaSink", sink), ledger),
        ledger=ledger,
        batcher=Batcher(max_items=batch_size, max_wait_s=max_wait_s),
        judges=judges,
        flow=Flow(**flow),
        schema_wait_s=schema_wait_s,
        stall_s=stall_s,
        survey_topics=SurveyTopics(absent),
        metrics=AlertMetrics(registry),
    )


def run_to_the_end(made: AlertWorker, source: MemorySource, limit_s: float = 10.0) -> None:
    """Run until all is read, then stop as SIGTERM does; raises what the worker raises."""

    def stop() -> None:
        source.ended.wait(limit_s)
        made.stop()

    threading.Thread(target=stop, daemon=True).start()
    made.run()
