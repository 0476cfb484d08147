"""The doctor beside a worker that runs, on a real Kafka: it is seen, and not disturbed."""

import json
import subprocess
import sys
from pathlib import Path

from filter_process import FilterProcess
from kafka_desk import Broker

PATIENCE_S = 60.0


def test_a_running_worker_is_seen_and_not_disturbed(
    broker: Broker, tmp_path: Path, engine_home: Path
) -> None:
    """Its group has one member before and after, and its port is taken by itself."""
    topics = {name: broker.topic(stem=name) for name in ("alerts", "annotations", "rejected")}
    settings = {
        "kafka.bootstrap": broker.bootstrap,
        "kafka.group": f"g-{topics['alerts']}",
        "alerts.topics": f'["{topics["alerts"]}"]',
        "outputs.annotations": topics["annotations"],
        "outputs.rejected": topics["rejected"],
        "engine.workers": "1",
        "engine.home": str(engine_home),
    }
    with FilterProcess(tmp_path / "worker.log", settings, engine_home) as worker:
        worker.wait_ready()
        (page,) = [str(event["metrics"]) for event in worker.events() if "metrics" in event]
        port = page.removesuffix("/metrics").rpartition(":")[2]
        beside = settings | {"metrics.port": port}
        options = [f"--set={key}={value}" for key, value in beside.items()]
        done = subprocess.run(
            [sys.executable, "-m", "streamfilter", "doctor", "--json", *options],
            capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        found = {each["check"]: each["found"] for each in json.loads(done.stdout)["checks"]}
        assert 0 == done.returncode, done.stdout
        assert "stable, 1 members" == found["group"]
        assert "a worker answers there" in found["metrics"]
        assert 1 == worker.metric("streamfilter_rebalances_total")
        assert 0 == worker.stop()
    assert {} == broker.committed(settings["kafka.group"], topics["alerts"])
