"""From a trailed exposure on a real Kafka to the message that wakes the operator."""

import io
import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from debian_tools import WITH_TEMPLATES
from kafka_desk import Broker
from kafka_node import free_ports
from prometheus_node import configured, prometheus_command, running
from test_exposure_stream import MIB_40, Site

DELIVERED_S = 60.0  # the promise of the runbook


def trailed_frame(seed: int = 1) -> bytes:
    """Simulated stars, each drawn out to 14 pixels while the telescope did not follow."""
    rng = np.random.default_rng(seed)
    image = rng.normal(1000, 10, (512, 512))
    y, x = np.mgrid[:512, :512]
    for _ in range(120):
        y0, x0, flux = *rng.uniform(10, 500, 2), 10 ** rng.uniform(2.3, 3.6)
        for step in np.linspace(-7, 7, 15):
            away = (y - y0 - 0.5 * step) ** 2 + (x - x0 - 0.87 * step) ** 2
            image += flux / 5 * np.exp(-away / (2 * 1.5**2))
    out = io.BytesIO()
    fits.PrimaryHDU(image.astype(np.float32)).writeto(out)
    return out.getvalue()


@contextmanager
def receiver() -> Iterator[tuple[int, "queue.Queue[dict[str, Any]]"]]:
    """A webhook on loopback: its port, and what was delivered."""
    delivered: queue.Queue[dict[str, Any]] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            delivered.put(json.loads(body))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, delivered
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    exposures = broker.topic(stem="exposures", max_message_bytes=MIB_40)
    tracking, rejected = broker.topic(stem="tracking"), broker.topic(stem="rejected")
    made = Site(broker, tmp_path, engine_home, exposures, tracking, rejected)
    yield made
    for worker in made.workers:
        worker.__exit__()


def test_a_trailed_exposure_wakes_the_operator(site: Site, debian: Path, tmp_path: Path) -> None:
    """Worker, Prometheus, Alertmanager and webhook, as deployed, within a minute."""
    if subprocess.run(("unshare", "-rm", "true"), capture_output=True).returncode:
        pytest.skip("no name spaces: unshare -rm must be allowed to lay templates over /usr/share")
    page, prometheus, manager = (f"127.0.0.1:{port}" for port in free_ports(3))
    site.start(metrics__port=page.rpartition(":")[2])
    with ExitStack() as stack:
        hook, delivered = stack.enter_context(receiver())
        configured(tmp_path, {
            "streamfilter:9464": page,
            "alertmanager:9093": manager,
            "127.0.0.1:9095": f"127.0.0.1:{hook}",
        })  # fmt: skip
        stack.enter_context(running(
            tmp_path / "alertmanager.log", *WITH_TEMPLATES, debian.parent / "share",
            debian / "prometheus-alertmanager",
            f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/silences",
            f"--web.listen-address={manager}", "--cluster.listen-address=",
        ))  # fmt: skip
        command = prometheus_command(debian, tmp_path, prometheus)
        stack.enter_context(running(tmp_path / "prometheus.log", *command))
        site.announce("e1", trailed_frame())
        (alert,) = delivered.get(timeout=DELIVERED_S)["alerts"]
    assert ("firing", "StreamfilterTrackingError", "camera") == (
        alert["status"],
        *(alert["labels"][name] for name in ("alertname", "instrument")),
    )
    assert ("e1 ", "RUNBOOK.md#streamfiltertrackingerror") == tuple(
        alert["annotations"][name] for name in ("exposures", "runbook_url")
    )
