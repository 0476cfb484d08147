"""Every query of every dashboard, asked of a real Prometheus that has watched a real worker."""

import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kafka_desk import Broker
from kafka_node import free_ports
from notices import SECRET
from prometheus_node import (
    DEPLOY,
    Prometheus,
    QueryFailed,
    configured,
    prometheus_command,
    running,
)
from simulated_night import send_alerts, send_exposures
from test_alerting import receiver
from test_dashboards import FILES, Json, named, panels
from test_exposure_stream import MIB_40, Site

SCRAPED_S = 120.0  # on two busy cores; a tenth of it on idle ones
# What Grafana puts in, here so that all of the run lies within.
STANDS_FOR = {
    "$__rate_interval": "5m",
    "$__range": "5m",
    "${__from:date:seconds}": "0",
    "$instance": ".*",
    "$survey": ".*",
    "$instrument": ".*",
}
EMPTY_HERE = {
    "Memory of GPUs": "the networks run on the CPU",
    "Time of a transaction": "where exposures are watched too, outputs go out by themselves",
}
"""Panels that cannot show anything in this run, and why."""


class NoAnswer(Exception):
    """A query came to nothing."""


@pytest.fixture(scope="module")
def prometheus(
    broker: Broker, debian: Path, engine_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """One that has scraped a worker through two waves of alerts and exposures.

    Two, because a rate needs an increase after a series was first seen.
    """
    folder = tmp_path_factory.mktemp("watched")
    topics = {stem: broker.topic(stem=stem) for stem in ("alerts", "annotations", "tracking")}
    large = {s: broker.topic(stem=s, max_message_bytes=MIB_40) for s in ("exposures", "rejected")}
    topics["contaminants"] = broker.topic(stem="contaminants")
    site = Site(
        broker, folder, engine_home, large["exposures"], topics["tracking"], large["rejected"]
    )
    page, address = (f"127.0.0.1:{port}" for port in free_ports(2))
    with ExitStack() as stack:
        hook, _ = stack.enter_context(receiver())
        worker = start(site, topics, page, hook)
        stack.callback(worker.__exit__)
        configured(folder, {"streamfilter:9464": page, "interval: 5s": "interval: 2s"})
        command = prometheus_command(debian, folder, address)
        stack.enter_context(running(folder / "prometheus.log", *command))
        asked = Prometheus(address, time.time())
        watch(asked, site, topics["alerts"])
        yield asked


def start(site: Site, topics: dict[str, str], page: str, hook: int) -> Any:
    return site.start(
        only="",
        kafka__group=f"group-{topics['alerts']}",
        alerts__topics=f'["{topics["alerts"]}"]',
        schemas__folders=f'["{DEPLOY.parent / "schemas" / "simulated"}"]',
        outputs__annotations=topics["annotations"],
        outputs__contaminants=topics["contaminants"],
        exposures__contaminants__topics=f'["{site.exposures}"]',
        exposures__contaminants__group=f"{site.group}-masks",
        exposures__contaminants__tile_px="480",
        engine__workers="1",
        engine__also='[{name = "stampmask"}]',
        flow__overload="shed",
        metrics__port=page.rpartition(":")[2],
        webhook__url=f"http://127.0.0.1:{hook}/",
        webhook__secret=SECRET,
        outgoing__internal_networks='["127.0.0.0/8"]',
    )


def watch(asked: Prometheus, site: Site, topic: str) -> None:
    """Send a wave when the one before was judged and scraped."""
    judged, told, alerts, exposures = (
        "sum(streamfilter_latency_seconds_count{since='received'})",
        "sum(streamfilter_exposure_decisions_total{kind='exposure'})",
        0,
        0,
    )
    asked.until("streamfilter_ready", 1, SCRAPED_S)
    for wave in (1, 2):
        exposures += send_exposures(site, wave)
        alerts += send_alerts(site.broker, topic, wave)
        asked.until(judged, alerts, SCRAPED_S)
        asked.until(told, exposures, SCRAPED_S)
    notices = 'streamfilter_webhook_notices_total{result="delivered"}'
    asked.until(notices, 2, SCRAPED_S)
    asked.until("streamfilter_contaminants_latency_seconds_count{since='received'}", 5, SCRAPED_S)
    # The recording rules are one evaluation behind.
    asked.until("streamfilter:cannot_tell:ratio_rate30m", 0.1, SCRAPED_S)


def answered(asked: Prometheus, panel: Json) -> None:
    """Ask a panel's queries as Grafana does.

    Raises
    ------
    NoAnswer
        One is refused, has no number, or its series lack a label that the panel shows.
    """
    for target in panel["targets"]:
        expr = target["expr"]
        for name, value in STANDS_FOR.items():
            expr = expr.replace(name, value)
        try:
            found = (asked.instant if target["instant"] else asked.range)(expr)
        except QueryFailed as error:
            raise NoAnswer(f"{expr}: {error}") from error
        if not any(math.isfinite(value) for series in found for value in series.values):
            raise NoAnswer(f"{expr}: no number in {len(found)} series")
        shown = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        shown |= columns(panel) - {"Value"}
        if missing := shown - set().union(*(series.labels for series in found)):
            raise NoAnswer(f"{expr}: its series have no label {', '.join(sorted(missing))}")


def columns(panel: Json) -> set[str]:
    """What a table shows."""
    steps = {each["id"]: each["options"] for each in panel.get("transformations", ())}
    return set(steps.get("filterFieldsByName", {}).get("include", {}).get("names", ()))


@pytest.mark.parametrize("panel", panels(), ids=named)
def test_a_panel_has_an_answer(prometheus: Prometheus, panel: Json) -> None:
    """Each of its queries gives a number, under the labels that it shows."""
    if panel["title"] in EMPTY_HERE:
        with pytest.raises(NoAnswer, match="no number"):
            answered(prometheus, panel)
    else:
        answered(prometheus, panel)


def test_panels_that_are_empty_here_exist() -> None:
    """None is excused that is not there."""
    assert set() == set(EMPTY_HERE) - {panel["title"] for panel in panels()}


def test_every_rule_can_be_evaluated(prometheus: Prometheus) -> None:
    """Over series of a real worker, whose labels a test of rules can only guess."""
    assert {} == prometheus.ailing_rules()


@pytest.mark.parametrize(
    "alert",
    ["BrokersDown", "Stuck", "WorkerDown", "WorkerUnready", "SchemaWaits", "OutputRefused",
     "EngineChanged", "EnginesDiffer", "WebhookFails"],
)  # fmt: skip
def test_a_worker_that_is_well_raises_no_alert_of_trouble(
    prometheus: Prometheus, alert: str
) -> None:
    """Neither firing nor pending, over the gauges that librdkafka and the worker really show."""
    assert [] == prometheus.instant(f'ALERTS{{alertname="Streamfilter{alert}"}}')


def variables() -> set[str]:
    lists = [json.loads(path.read_text()).get("templating", {}).get("list", []) for path in FILES]
    found = (each for variables in lists for each in variables if each["type"] == "query")
    return {each["query"]["query"] for each in found}


@pytest.mark.parametrize("query", sorted(variables()))
def test_a_variable_has_values(prometheus: Prometheus, query: str) -> None:
    """What can be chosen at the top of a dashboard."""
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert found is not None
    assert prometheus.label_values(found[1], found[2])


@pytest.mark.parametrize(
    ("fault", "repaired"),
    [
        ("streamfilter_message_total", "streamfilter_messages_total"),
        ("sum(rate(", "sum(rate("[:-1]),
        ("{{outputs}}", "{{output}}"),
    ],
    ids=["metric misspelt", "syntax", "label misspelt"],
)
def test_a_fault_in_a_panel_is_found(prometheus: Prometheus, fault: str, repaired: str) -> None:
    """The check above fails on it."""
    (panel,) = (each for each in panels() if each["title"] == "Alerts in and out")
    spoilt = json.dumps(panel).replace(repaired, fault)
    assert spoilt != json.dumps(panel)
    answered(prometheus, panel)
    with pytest.raises(NoAnswer):
        answered(prometheus, json.loads(spoilt))
