"""The demo: a simulated survey, a real worker and an audit, over an embedded broker.

The embedded broker keeps 5 MB a partition and silently drops the oldest messages. So the survey
never sends many alerts before the earlier ones are annotated.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from streamfilter.alerts.figures import draw, inspect_alert
from streamfilter.config import Settings
from streamfilter.demo.running import running
from streamfilter.demo.side_by_side import REAL, SideBySide, compare
from streamfilter.errors import StreamfilterError, TransportFailed
from streamfilter.files import bundled_folder
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.reading import plain, read
from streamfilter.records import PRODUCER_TIMESTAMP, Label, Message, Origin, Output, Rejected
from streamfilter.service.assembly.alerts import Parts, open_parts, open_worker
from streamfilter.simulate.visits import CADENCE_S, SimulatedAlert, alerts

IN = "demo.alerts"
OUTPUTS = {
    "annotations": "demo.annotations",
    "clean": "demo.clean",
    "contaminated": "demo.contaminated",
    "rejected": "demo.rejected",
}
LABELS = "demo.labels"
"""Topic for what people say at the live page."""
PARTITIONS = 16
TOPICS = {**dict.fromkeys((IN, *OUTPUTS.values()), PARTITIONS), LABELS: 1}
"""Partitions by topic."""
# The embedded broker rebalances fastest in the newer protocol. It answers an empty fetch only when
# the wait is over, even if a message came meanwhile.
CONSUMER: dict[str, str | int] = {"group.protocol": "consumer", "fetch.wait.max.ms": 10}
ANNOTATIONS, METRICS, FIGURE = "annotations.jsonl", "metrics.txt", "alerts.png"
DAMAGED = "damaged"

_DRAWN = 8  # alerts in the figure
_AHEAD = 32  # alerts; 16 partitions of 5 MB hold twenty times that
_RENDERED_FIRST = 200  # distinct skies of the simulation, 10 to 30 ms each
_DAMAGED_EVERY = 100
_SILENCE_S = 30.0  # with no output for this long, something is broken


@dataclass(slots=True)
class Tally:
    """Counts what went in and what came out, alert by alert."""

    truth: dict[str, str] = field(default_factory=dict)
    """Injected class code, REAL or DAMAGED, by alert."""
    annotations: dict[str, dict[str, Any]] = field(default_factory=dict)
    copies: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages by output and alert."""
    latencies_s: list[float] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0

    @property
    def done(self) -> int:
        """Alerts that are annotated or rejected."""
        return sum(1 for output, _ in self.copies if output in ("annotations", "rejected"))

    def verdict(self, alert_id: str) -> str:
        """Returns what came out for an alert: its label, ``rejected`` or ``lost``."""
        if alert_id in self.annotations:
            return _label(self.annotations[alert_id])
        return "rejected" if self.copies["rejected", alert_id] else "lost"

    def table(self) -> dict[str, Counter[str]]:
        """Counts of verdicts by injected truth."""
        rows: dict[str, Counter[str]] = {}
        for alert_id, truth in self.truth.items():
            rows.setdefault(truth, Counter())[self.verdict(alert_id)] += 1
        return dict(sorted(rows.items(), key=lambda row: (row[0] != REAL, row[0])))

    def errors(self) -> list[str]:
        """Returns a line for each alert with wrong outputs; empty if each came out exactly once."""
        errors = []
        for alert_id, truth in self.truth.items():
            copies = {name: self.copies[name, alert_id] for name in OUTPUTS}
            if truth == DAMAGED:
                expected = {"annotations": 0, "clean": 0, "contaminated": 0, "rejected": 1}
            else:
                action = self.annotations.get(alert_id, {}).get("verdict", {}).get("action")
                dropped = action == "drop"
                expected = {
                    "annotations": 1,
                    "clean": int(not dropped),
                    "contaminated": int(dropped),
                    "rejected": 0,
                }
            if copies != expected:
                errors.append(f"alert {alert_id} ({truth}): expected {expected}, found {copies}")
        return errors

    def quantile_s(self, q: float) -> float:
        """Returns a quantile of the latency from the producer to the annotation's consumer."""
        return float(np.quantile(self.latencies_s, q)) if self.latencies_s else float("nan")

    def per_s(self) -> float:
        """Returns the alerts annotated or rejected per second, over the whole run."""
        return self.done / max(self.ended_s - self.started_s, 1e-9)


def settings(bootstrap: str, home: Path | None) -> Settings:
    """Returns the demo's settings: all outputs, and consumer groups of the newer protocol."""
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap": bootstrap,
                "group": "demo-filter",
                "consumer": CONSUMER,
            },
            "alerts": {"topics": [IN]},
            "outputs": {**OUTPUTS, "labels": LABELS},
            "schemas": {"folders": [str(bundled_folder("schemas") / "simulated")]},
            "engine": {"home": str(home) if home else None},
            "metrics": {"port": 0},
        }
    )


def survey(count: int, rate_per_s: float, seed: int) -> Iterator[SimulatedAlert]:
    """Returns the alerts of visits that begin now; none is sent before its visit's light ended."""
    per_visit = max(1, int(rate_per_s * CADENCE_S))
    return alerts(
        seed, count, scenes=_RENDERED_FIRST, per_visit=per_visit, start_unix_s=time.time()
    )


def run(
    bootstrap: str,
    *,
    count: int,
    rate_per_s: float,
    seed: int,
    out: Path,
    home: Path | None,
    say: Callable[[str], None],
    progress: Callable[[Tally], None],
) -> tuple[Tally, SideBySide]:
    """Filter a simulated survey and write what came out into a folder.

    Parameters
    ----------
    bootstrap
        A broker with the ``TOPICS``.

    Returns
    -------
    tuple
        What came out, and both networks side by side on the first alerts.

    Raises
    ------
    StreamfilterError
        The broker or the worker failed, or nothing came out for half a minute.
    """
    out.mkdir(parents=True, exist_ok=True)
    stream = survey(count, rate_per_s, seed)
    first = list(islice(stream, _RENDERED_FIRST))
    registry = CollectorRegistry()
    chosen = settings(bootstrap, home)
    parts = open_parts(chosen, threads=1, say=say)
    worker = open_worker(chosen, parts, registry=registry)
    say(f"{parts.engine.manifest.name} is warm on {parts.engine.runtime}")
    night = chain(first, stream)
    with running(worker, "worker") as failures:
        tally = _survey(bootstrap, count, rate_per_s, night, progress, failures)
    _write(out, tally, registry)
    _draw(out, tally, parts, first)
    return tally, compare(first, home=home, say=say)


def _survey(
    bootstrap: str,
    count: int,
    rate_per_s: float,
    night: Iterator[SimulatedAlert],
    progress: Callable[[Tally], None],
    failures: list[StreamfilterError],
) -> Tally:
    """Send the alerts, read the outputs at the same time, and count both."""
    connection: dict[str, str | int] = {"bootstrap.servers": bootstrap}
    sink = KafkaSink(connection)
    group = {"group.id": "demo-audit", **CONSUMER}
    source = KafkaSource(connection | group, list(OUTPUTS.values()))
    source.join()
    stream = _damage(night)
    tally = Tally()
    sent, last_output_s = 0, time.monotonic()
    try:
        while tally.done < count or not _settled(tally):
            due = int((time.monotonic() - tally.started_s) * rate_per_s)
            while sent < min(due, count, tally.done + _AHEAD):
                _send(sink, tally, *next(stream))
                sent += 1
            sink.poll(0)
            messages = source.poll(256, 0.02)
            # With no alert under way, as at a slow rate, there is no output to wait for.
            if messages or tally.done == sent:
                last_output_s = time.monotonic()
            for message in messages:
                _count(tally, message)
            tally.ended_s = time.monotonic()
            progress(tally)
            if failures:
                raise failures[0]
            if time.monotonic() - last_output_s > _SILENCE_S:
                break  # the table says what is lost
    finally:
        source.close()
        sink.close()
    return tally


def _settled(tally: Tally) -> bool:
    """Whether every annotated alert has also come out by its route."""
    routed = sum(1 for output, _ in tally.copies if output in ("clean", "contaminated"))
    return routed >= len(tally.annotations)


def _damage(stream: Iterator[SimulatedAlert]) -> Iterator[tuple[SimulatedAlert, bytes, str]]:
    """Yields the alerts with their truth; some packets are cut, as by a broken connection."""
    for number, alert in enumerate(stream):
        if number % _DAMAGED_EVERY == _DAMAGED_EVERY - 1:
            yield alert, alert.value[: len(alert.value) * 2 // 3], DAMAGED
        else:
            yield alert, alert.value, alert.truth.code if alert.truth else REAL


def _send(sink: KafkaSink, tally: Tally, alert: SimulatedAlert, value: bytes, truth: str) -> None:
    def done(output: Output, trouble: Undeliverable | None) -> None:
        if trouble:
            raise TransportFailed(f"the embedded broker refused an alert: {trouble.detail}")

    tally.truth[alert.alert_id] = truth
    sent_ms = str(round(time.time() * 1000)).encode()
    headers = ((PRODUCER_TIMESTAMP, sent_ms), ("demo-alert", alert.alert_id.encode()))
    # Without a key librdkafka fills one partition for a while: spread them.
    key = alert.alert_id.encode()
    sink.send(Output(Origin(IN, -1, -1), IN, value, key, headers), done)


def _count(tally: Tally, message: Message) -> None:
    """Add one output message to the tally."""
    output = next(name for name, topic in OUTPUTS.items() if topic == message.origin.topic)
    headers = dict(message.headers)
    alert_id = (headers["demo-alert"] or b"").decode()
    tally.copies[output, alert_id] += 1
    if output == "annotations":
        assert message.value is not None, "an annotation has a value"
        tally.annotations[alert_id] = read(message.value)
    if output in ("annotations", "rejected"):
        sent_s = int(headers[PRODUCER_TIMESTAMP] or b"0") / 1000
        tally.latencies_s.append(time.time() - sent_s)


def _write(out: Path, tally: Tally, registry: CollectorRegistry) -> None:
    """Write the annotations as JSON lines, each with its truth, and the worker's metrics."""
    with (out / ANNOTATIONS).open("w", encoding="utf-8") as file:
        for alert_id, record in tally.annotations.items():
            line = {"truth": tally.truth[alert_id], **record}
            file.write(json.dumps(line, default=plain) + "\n")
    (out / METRICS).write_bytes(generate_latest(registry))


def _draw(out: Path, tally: Tally, parts: Parts, first: Sequence[SimulatedAlert]) -> None:
    """Draw a figure of the first alerts that were not clean."""
    not_clean = {key for key, record in tally.annotations.items() if _label(record) != Label.CLEAN}
    chosen = islice((alert for alert in first if alert.alert_id in not_clean), _DRAWN)
    messages = (Message(Origin(IN, 0, 0), alert.value) for alert in chosen)
    judged = parts.pipeline.judge(parts.engine, messages)
    rows = [
        inspect_alert(parts.pipeline, parts.engine, *each)
        for each in judged
        if not isinstance(each, Rejected)
    ]
    if rows:
        draw(rows, out / FIGURE, others=len(tally.annotations) - len(rows))


def _label(record: dict[str, Any]) -> str:
    return str(record["verdict"]["label"])
