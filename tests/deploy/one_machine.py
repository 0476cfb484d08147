"""The services of deploy/compose/compose.yaml as processes of this machine, without containers.

``python tests/deploy/one_machine.py`` runs them until Ctrl-C. Commands, settings, rules and routes
are those of the compose file; addresses and paths are changed. Kafka comes from Maven Central,
Prometheus and Alertmanager from Debian's packages. Grafana is left out: it cannot be had so.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
if __name__ == "__main__":  # the tests have it from pytest's settings
    sys.path.append(str(ROOT / "tests" / "kafka_server"))

from debian_tools import WITH_TEMPLATES, tools  # noqa: E402
from kafka_node import KafkaNode, free_ports  # noqa: E402
from prometheus_node import configured, running  # noqa: E402

COMPOSE = ROOT / "deploy" / "compose"
TOPICS_S = 60.0
# Of the image, so no settings of the broker's.
_NO_SETTINGS = ("KAFKA_CONTROLLER_QUORUM_VOTERS",)


def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return found["services"]


def broker_settings(environment: Mapping[str, str]) -> str:
    """Lines of ``server.properties`` that the image makes of its environment, with our ports."""
    lines = []
    for name, value in environment.items():
        if name in _NO_SETTINGS:
            continue  # the node is the only voter, and is told so when its storage is formatted
        for was, now in (
            ("://:", "://127.0.0.1:"), ("kafka:", "127.0.0.1:"), ("localhost:", "127.0.0.1:"),
            (":29092", ":${third_port}"), (":9092", ":${port}"), (":9093", ":${controller_port}"),
            ("/var/lib/kafka/data", "${data}"),
        ):  # fmt: skip
            value = value.replace(was, now)
        lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}")
    return "\n".join(lines) + "\n"


class Machine:
    """All services but Grafana, from start to end.

    ``changed`` replaces arguments of the simulator.
    """

    def __init__(self, folder: Path, changed: Mapping[str, str] = {}) -> None:
        self._folder = folder
        self._services = services()
        self._changed = changed
        self._running = ExitStack()
        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self.worker, self.prometheus, self.alertmanager = addresses
        self.node = KafkaNode(folder, more=broker_settings(self._services["kafka"]["environment"]))

    def __enter__(self) -> "Machine":
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def logs(self) -> str:
        """The last lines of each service."""
        files = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{each.name}: {each.read_text()[-1500:]}" for each in files)

    def _start(self) -> None:
        """In the order of the compose file's conditions."""
        self._running.callback(self.node.remove)
        self.node.start()
        topics = self._streamfilter("topics")
        subprocess.run(topics, check=True, timeout=TOPICS_S, stdout=subprocess.DEVNULL)
        self._add("streamfilter", *self._worker())
        self._add(
            "simulator",
            *(self._changed.get(each, each) for each in self._streamfilter("simulator")),
        )
        configured(
            self._folder,
            {"streamfilter:9464": self.worker, "alertmanager:9093": self.alertmanager},
        )
        debian = tools()
        self._add(
            "prometheus", str(debian / "prometheus"),
            *self._with_places("prometheus", {"/etc/prometheus": "", "=/prometheus": "=/series"}),
            f"--web.listen-address={self.prometheus}",
        )  # fmt: skip
        self._add(
            "alertmanager", *WITH_TEMPLATES, str(debian.parent / "share"),
            str(debian / "prometheus-alertmanager"),
            *self._with_places(
                "alertmanager", {"/etc/alertmanager": "", "=/alertmanager": "=/silences"}
            ),
            f"--web.listen-address={self.alertmanager}", "--cluster.listen-address=",
        )  # fmt: skip

    def _add(self, name: str, *command: str) -> None:
        self._running.enter_context(running(self._folder / f"{name}.log", *command))

    def _streamfilter(self, service: str) -> list[str]:
        """The command of one of our own services."""
        given = [
            each.replace("kafka:9092", self.node.bootstrap) for each in self._arguments(service)
        ]
        return [sys.executable, "-m", "streamfilter", *given]

    def _arguments(self, service: str) -> list[str]:
        command: list[str] = self._services[service]["command"]
        return command

    def _with_places(self, service: str, places: Mapping[str, str]) -> list[str]:
        """A service's arguments with folders of this machine."""
        made = self._arguments(service)
        for was, now in places.items():
            at = now.replace("=/", f"={self._folder}/") or str(self._folder)
            made = [each.replace(was, at) if was in each else each for each in made]
        return made

    def _worker(self) -> list[str]:
        """``run`` over site.toml, as the image's CMD has it."""
        text = (COMPOSE / "site.toml").read_text()
        host, _, port = self.worker.partition(":")
        for was, now in (
            ("kafka:9092", self.node.bootstrap),
            ("/etc/streamfilter/schemas", str(ROOT / "schemas" / "simulated")),
            ('host = "0.0.0.0"', f'host = "{host}"\nport = {port}'),
        ):
            assert was in text, f"site.toml has no {was}"
            text = text.replace(was, now)
        (path := self._folder / "site.toml").write_text(text)
        return [sys.executable, "-m", "streamfilter", "run", "--config", str(path)]


def main() -> None:
    """Run until Ctrl-C."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    with tempfile.TemporaryDirectory(prefix="one-machine-") as name, Machine(Path(name)) as machine:
        print(f"Kafka {machine.node.bootstrap}, worker http://{machine.worker}/metrics")
        print(f"Prometheus http://{machine.prometheus}, Alertmanager http://{machine.alertmanager}")
        print(f"logs {name}; Ctrl-C ends all")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            print("ending")


if __name__ == "__main__":
    main()
