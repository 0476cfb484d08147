"""SIGHUP on a real Kafka: other rules, priors and routes while alerts and exposures flow."""

import io
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from astropy.io import fits
from filter_process import FilterProcess
from kafka_desk import Broker

import streamfilter
from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.records import Announced
from streamfilter.simulate.visits import alerts

PATIENCE_S = 60.0
ALERTS, BURST = 240, 12
PRIORS = {"a": 0.001, "b": 0.002}
"""Of cosmic rays, by configuration; each has a rule and a route of its own name."""


@dataclass
class Site:
    """A worker with a configuration file, and its topics."""

    file: Path
    broker: Broker
    topics: dict[str, str]
    worker: FilterProcess | None = None

    def write(self, name: str, **changes: Mapping[str, object]) -> None:
        """Write one of the two configurations, with changes of sections."""
        rule = {
            "name": f"rule-{name}", "contaminant": "CR", "statistic": "peak", "above": 0.0,
            "label": "suspect", "action": "flag",
        }  # fmt: skip
        survey = {"priors": {"CR": PRIORS[name]}, "rules": [rule]}
        tables: dict[str, Mapping[str, object]] = {
            "kafka": {"bootstrap": self.broker.bootstrap, "group": f"g-{self.topics['alerts']}"},
            "alerts": {"topics": [self.topics["alerts"]]},
            "engine": {"workers": 1},
            # What is read keeps its configuration: not all is to be read before the first change.
            "flow": {"max_in_flight": 8},
            "logs": {"form": "json"},
            "outputs": {
                "annotations": self.topics["annotations"], "clean": self.topics[name],
                "rejected": self.topics["rejected"], "tracking": self.topics["tracking"],
            },
            "surveys": {"ztf": survey},
        }  # fmt: skip
        self.file.write_text(tomli_w.dumps(tables | changes))

    def start(self, home: Path, *options: str) -> FilterProcess:
        log, file = self.file.with_suffix(".log"), str(self.file)
        self.worker = FilterProcess(log, {}, home, "--config", file, *options)
        return self.worker.wait_ready()

    def hang_up(self, result: str = "taken") -> None:
        """SIGHUP, and wait for what becomes of it."""
        assert self.worker is not None
        sample = f'streamfilter_config_reloads_total{{result="{result}"}}'
        before, end = self.worker.metric(sample), time.monotonic() + PATIENCE_S
        self.worker.process.send_signal(signal.SIGHUP)
        while self.worker.metric(sample) == before:
            assert time.monotonic() < end, self.worker.log.read_text()
            time.sleep(0.05)

    def wait(self, topic: str, count: int) -> None:
        """Until so many messages stand in a topic."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.count(topic)) < count:
            assert time.monotonic() < end, f"{found} of {count}"
            time.sleep(0.1)

    def count(self, topic: str) -> int:
        """Messages of a topic that are committed; ends of transactions are none."""
        return self.broker.counts(self.topics[topic]).total()


@pytest.fixture
def site(broker: Broker, tmp_path: Path) -> Iterator[Site]:
    names = ("alerts", "annotations", "rejected", "tracking", "exposures", *PRIORS)
    topics = {name: broker.topic(stem=name, max_message_bytes="4000000") for name in names}
    made = Site(tmp_path / "site.toml", broker, topics)
    made.write("a")
    yield made
    if made.worker is not None:
        made.worker.__exit__()


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_alerts_are_judged_and_routed_by_one_configuration_each(
    site: Site, engine_home: Path, guarantee: str
) -> None:
    """Reloads while alerts flow: none lost, none doubled; rule, prior and route go together."""
    values = {
        b"%d" % n: alert.value
        for n, alert in enumerate(alerts(1, ALERTS, scenes=20, surveys=("ztf",)))
    }
    keys = list(values)

    def flow() -> None:
        for n in range(0, ALERTS, BURST):
            burst = keys[n : n + BURST]
            site.broker.produce(site.topics["alerts"], [values[k] for k in burst], keys=list(burst))

    delivery = {"guarantee": guarantee}
    site.write("a", delivery=delivery)
    worker, producer = site.start(engine_home), threading.Thread(target=flow)
    producer.start()
    for name in ("b", "a", "b"):
        site.wait("annotations", site.count("annotations") + 24)
        site.write(name, delivery=delivery)
        site.hang_up()
    producer.join()
    site.wait("annotations", ALERTS)
    assert 0 == worker.stop()
    routed = {name: site.broker.counts(site.topics[name]) for name in PRIORS}
    assert Counter(keys) == site.broker.counts(site.topics["annotations"])
    assert Counter(keys) == routed["a"] + routed["b"]
    changes = 0
    last = "a"
    for message in site.broker.read(site.topics["annotations"]):
        record = streamfilter.read(message.value or b"")
        (name,) = (each for each in PRIORS if message.key in routed[each])
        assert f"rule-{name}" == record["verdict"]["rule"]
        assert pytest.approx(PRIORS[name]) == record["priors"]["cr"]["prior"]
        changes, last = changes + (name != last), name
    assert 3 == changes


def test_what_cannot_be_is_refused_and_what_was_stays_in_force(
    site: Site, engine_home: Path
) -> None:
    """An impossible prior, a file that is no TOML, a topic that is not there."""
    worker = site.start(engine_home)
    (before,) = worker.lines("streamfilter_config_info")
    site.write("b", surveys={"ztf": {"priors": {"CR": 2.0}}})
    site.hang_up("refused")
    site.file.write_text("[")
    site.hang_up("refused")
    site.write("b", outputs={"annotations": "no-such-topic"})
    site.hang_up("refused")
    assert 0 == worker.metric("streamfilter_config_last_reload_successful")
    assert [before] == worker.lines("streamfilter_config_info")
    errors = [str(e["error"]) for e in worker.events() if e["event"] == "configuration refused"]
    for words, error in zip(("priors.CR", "not TOML", "no-such-topic"), errors, strict=True):
        assert words in error
    site.broker.produce(
        site.topics["alerts"], [a.value for a in alerts(1, 2, scenes=2, surveys=("ztf",))]
    )
    site.wait("a", 2)
    site.write("b")
    site.hang_up()
    assert 1 == worker.metric("streamfilter_config_last_reload_successful")
    assert [before] != worker.lines("streamfilter_config_info")


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_names_with_the_survey_come_in_force(site: Site, engine_home: Path, guarantee: str) -> None:
    """Once a survey has such a topic: a name that no topic has for any survey is refused."""
    delivery, stem = {"guarantee": guarantee}, site.topics["annotations"]
    site.write("a", delivery=delivery)
    worker = site.start(engine_home)
    outputs = {
        "annotations": f"{stem}-{{survey}}", "clean": site.topics["a"],
        "rejected": site.topics["rejected"],
    }  # fmt: skip
    site.write("a", delivery=delivery, outputs=outputs)
    site.hang_up("refused")
    (refused,) = (e for e in worker.events() if e["event"] == "configuration refused")
    assert f"'{stem}-{{survey}}'" in str(refused["error"])
    assert "streamfilter topics create" in str(refused["error"])
    site.topics["of ztf"] = site.broker.topic(name=f"{stem}-ztf")
    site.hang_up()
    made = alerts(1, 6, scenes=6, surveys=("ztf",))
    site.broker.produce(site.topics["alerts"], [each.value for each in made])
    site.wait("of ztf", 6)
    assert 0 == site.count("annotations")


def test_keys_that_need_a_restart_are_named(site: Site, engine_home: Path) -> None:
    """What else was changed is in force; values, which may be secret, are not told."""
    worker = site.start(engine_home)
    kafka = {"bootstrap": site.broker.bootstrap, "group": "marker-other"}
    site.write("b", batch={"size": 4}, kafka=kafka)
    site.hang_up()
    (named,) = (e for e in worker.events() if e["event"] == "changed, but needs a restart")
    assert ["batch.size", "kafka.group"] == named["keys"]
    assert "marker-other" not in worker.log.read_text()
    site.broker.produce(
        site.topics["alerts"], [a.value for a in alerts(1, 2, scenes=2, surveys=("ztf",))]
    )
    site.wait("b", 2)


def test_exposures_are_judged_under_a_new_prior(site: Site, engine_home: Path) -> None:
    """And an exposure that waits for detectors waits no longer than the new patience."""
    out = io.BytesIO()
    sky = np.random.default_rng(1).normal(1000, 10, (420, 420)).astype(np.float32)
    fits.PrimaryHDU(sky).writeto(out)
    exposures = {"topics": [site.topics["exposures"]], "group": f"e-{site.topics['exposures']}"}

    def announce(name: str) -> None:
        announced = Announced(exposure_id=name, instrument="camera", detectors_expected=2)
        value = encode_exposure(announced, out.getvalue())
        site.broker.produce(site.topics["exposures"], [value], keys=[name.encode()])

    site.write("a", exposures=exposures)
    site.start(engine_home, "--only", "exposures")
    announce("first")
    site.wait("tracking", 1)
    site.write("a", exposures=exposures | {"prior": 0.3, "wait_s": 2.0})
    site.hang_up()
    announce("second")
    site.wait("tracking", 4)
    found = [streamfilter.read(m.value or b"") for m in site.broker.read(site.topics["tracking"])]
    priors = {(r["kind"], r["exposure_id"]): r["judgement"]["prior"] for r in found}
    assert {
        ("detector", "first"): 0.05, ("exposure", "first"): 0.3,
        ("detector", "second"): 0.3, ("exposure", "second"): 0.3,
    } == pytest.approx(priors)  # fmt: skip
