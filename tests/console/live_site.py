"""A real worker on a real broker, the simulated survey, and the page that shows it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka_desk import Broker
from prometheus_client import CollectorRegistry

from streamfilter.config import Settings
from streamfilter.console.assembly import Console
from streamfilter.files import bundled_folder
from streamfilter.service.assembly.alerts import open_parts, open_worker
from streamfilter.simulate.visits import alerts

SETTLE_S = 60.0


def until(done: Callable[[], Any], words: str = "", limit_s: float = SETTLE_S) -> Any:
    """Wait for something, and return it."""
    end_s = time.monotonic() + limit_s
    while not (found := done()):
        assert time.monotonic() < end_s, f"not within {limit_s} s: {words}"
        time.sleep(0.05)
    return found


@dataclass
class LiveSite:
    """Topics, and a page over them."""

    broker: Broker
    settings: Settings
    console: Console
    url: str = ""
    sent: list[str] = field(default_factory=list)
    """Ids of the alerts that were sent."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Of the worker."""

    @property
    def topic(self) -> str:
        """Of the alerts."""
        return self.settings.alerts.topics[0]

    def send(self, count: int, *, seed: int = 1, **simulated: Any) -> None:
        """Let the simulated survey send alerts, now."""
        stream = alerts(seed, count, start_unix_s=time.time() - 60, **simulated)
        made = list(stream)
        self.sent += [each.alert_id for each in made]
        self.broker.produce(self.topic, [each.value for each in made])


def settings_of(broker: Broker, home: Path, **sections: dict[str, Any]) -> Settings:
    """Settings of a site with topics of its own."""
    topics = {
        name: broker.topic(2, stem=name)
        for name in ("annotations", "rejected", "labels", "tracking", "contaminants")
    }
    found: dict[str, Any] = {
        "kafka": {"bootstrap": broker.bootstrap, "group": f"group-{topics['labels']}"},
        "alerts": {"topics": [broker.topic(2, stem="alerts")]},
        "outputs": topics,
        "schemas": {"folders": [str(bundled_folder("schemas") / "simulated")]},
        "engine": {"home": str(home), "workers": 1},
        "console": {"port": 0, "packets_per_s": 50},
    }
    for name, section in sections.items():
        found[name] = {**found.get(name, {}), **section}
    return Settings.model_validate(found)


@contextmanager
def running(console: Console) -> Iterator[None]:
    """Let a page answer on a thread."""
    thread = threading.Thread(target=console.run, name="console")
    thread.start()
    try:
        until(lambda: console.server.started, "the page starts")
        yield
    finally:
        console.stop()
        thread.join(30)


@contextmanager
def live_site(broker: Broker, home: Path, **sections: dict[str, Any]) -> Iterator[LiveSite]:
    """A page over topics of its own, and no worker yet."""
    settings = settings_of(broker, home, **sections)
    console = Console(settings, say=print)
    with running(console):
        yield LiveSite(broker, settings, console, console.url)


@contextmanager
def working(site: LiveSite) -> Iterator[None]:
    """A real worker that answers what the survey sends."""
    parts = open_parts(site.settings, threads=1, say=print)
    worker = open_worker(site.settings, parts, registry=site.registry)
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()
