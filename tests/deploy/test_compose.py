"""The compose file: what it names is there, and its services work together as processes."""

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import go_tools
import pytest
import yaml
from debian_tools import ToolsUnavailable
from kafka_node import HERE as KAFKA
from kafka_node import KafkaUnavailable
from one_machine import COMPOSE, ROOT, Machine, services
from prometheus_node import Prometheus

PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+")
OURS = "streamfilter:cpu"
SEEN_S = 150.0


@pytest.mark.tool
@pytest.mark.parametrize("files", [("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")])
def test_compose_accepts_the_files(files: tuple[str, ...]) -> None:
    """The reader of Docker Compose: every key known, every service and volume named is there."""
    try:
        reader = go_tools.tool("compose")
    except go_tools.ToolsUnavailable as why:
        pytest.skip(f"the compose file cannot be read: {why}")
    done = subprocess.run(
        (reader, "--format", "json", *files),
        cwd=COMPOSE, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    found = json.loads(done.stdout)["services"]
    assert set(services()) == set(found)
    built = {each["build"]["context"] for each in found.values() if "build" in each}
    assert {str(ROOT)} == built


def test_images_are_pinned_and_kafka_is_the_one_that_is_tested() -> None:
    """By their versions; ours is built of this checkout."""
    images = {each["image"] for each in services().values()} - {OURS}
    assert len(images) == 4
    assert all(PINNED.fullmatch(image) for image in images)
    (version,) = re.findall(
        r"kafka_2.13</artifactId>\s*<version>(.*?)<", (KAFKA / "pom.xml").read_text()
    )
    assert f"apache/kafka:{version}" in images


def test_what_is_mounted_is_there() -> None:
    """A folder that is missing would be made, empty and root's."""
    mounted = [v.split(":")[0] for each in services().values() for v in each.get("volumes", ())]
    paths = [each for each in mounted if each.startswith(".")]
    assert len(paths) >= 6
    assert [] == [each for each in paths if not (COMPOSE / each).exists()]
    volumes = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["volumes"]
    assert set(volumes) == {each for each in mounted if not each.startswith(".")}


def test_services_have_no_more_rights_than_they_need() -> None:
    """No capability, a root that is read only (but Kafka's), ports for this machine alone."""
    for name, each in services().items():
        assert (["ALL"], ["no-new-privileges:true"]) == (each["cap_drop"], each["security_opt"])
        assert name == "kafka" or each["read_only"]
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", ()))


def test_a_worker_that_stops_has_the_time_that_it_takes() -> None:
    """flow.drain_s and 15 s where the broker hangs, for alerts and then for exposures."""
    assert "60s" == services()["streamfilter"]["stop_grace_period"]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    """Where the provisioning looks for them. It has not been seen in a Grafana."""
    grafana, deploy = services()["grafana"], ROOT / "deploy" / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((deploy / "dashboards" / "streamfilter.yml").read_text())[
        "providers"
    ]
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    (source,) = yaml.safe_load((deploy / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert "${PROMETHEUS_URL}" == source["url"]
    assert "http://prometheus:9090" == grafana["environment"]["PROMETHEUS_URL"]


def test_the_gpu_file_changes_services_that_are_there() -> None:
    """The worker alone, of the other variant, with a GPU."""
    changed = yaml.safe_load((COMPOSE / "compose.gpu.yaml").read_text())["services"]
    assert {"streamfilter"} == set(changed)
    assert {"VARIANT": "gpu"} == changed["streamfilter"]["build"]["args"]


def answer(url: str) -> Any:
    """A page's JSON; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return json.loads(page.read())
    except OSError:
        return None


def firing(machine: Machine) -> set[str]:
    """Names of the alerts that Alertmanager has."""
    alerts = answer(f"http://{machine.alertmanager}/api/v2/alerts") or []
    return {each["labels"]["alertname"] for each in alerts}


def counted(machine: Machine) -> dict[str, float]:
    """What Prometheus has scraped."""
    asked = Prometheus(machine.prometheus, time.time())
    if answer(f"http://{machine.prometheus}/api/v1/status/buildinfo") is None:
        return {}
    exprs = (
        'up{job="streamfilter"}',
        'sum(streamfilter_alerts_total{verdict="clean"})',
        'sum(streamfilter_alerts_total{verdict="contaminated"})',
        'streamfilter_exposure_decisions_total{kind="exposure",decision="ok"}',
        'streamfilter_exposure_decisions_total{kind="exposure",decision="tracking_error"}',
    )
    return {each: found[0].values[-1] for each in exprs if (found := asked.instant(each))}


@pytest.mark.tool
def test_the_services_work_together(engine_home: Path, tmp_path: Path) -> None:
    """What is simulated is judged and counted; a drift of the telescope reaches Alertmanager."""
    if subprocess.run(("unshare", "-rm", "true"), capture_output=True).returncode:
        pytest.skip("no name spaces: unshare -rm must be allowed to lay templates over /usr/share")
    try:
        machine = Machine(tmp_path, {"30": "8", "4": "2"})
    except (KafkaUnavailable, ToolsUnavailable) as why:
        pytest.skip(f"no services: {why}")
    with machine:
        end, found = time.monotonic() + SEEN_S, dict[str, float]()
        while len(
            [n for n in found.values() if n]
        ) < 5 or "StreamfilterTrackingError" not in firing(machine):
            assert time.monotonic() < end, f"{found} {firing(machine)}\n{machine.logs()}"
            time.sleep(2)
            found = counted(machine)
