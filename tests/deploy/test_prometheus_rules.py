"""The rules of Prometheus, held against promtool and the runbook."""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.metrics.exposures import ExposureMetrics, describe_masking
from streamfilter.metrics.kafka import BrokerState
from streamfilter.metrics.process import ConfigMetrics
from streamfilter.metrics.webhook import WebhookMetrics

HERE = Path(__file__).parent
DEPLOY = HERE.parent.parent / "deploy"
RULES = (DEPLOY / "prometheus" / "streamfilter.rules.yml").read_text()
ROUTES = DEPLOY / "alertmanager" / "alertmanager.yml"
CASES = ("rules_test.yml", "rules_week_test.yml")
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def said(*command: str | Path, given: str = "") -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_configuration_and_rules(debian: Path) -> None:
    """The configuration names a rules file that Prometheus can load."""
    text = said(debian / "promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert "1 rule files found" in text


def test_amtool_accepts_the_routes(debian: Path) -> None:
    """Alertmanager can load its configuration."""
    assert "2 receivers" in said(debian / "amtool", "check-config", ROUTES)


@pytest.mark.parametrize(("severity", "receiver"), [("page", "operators"), ("ticket", "desk")])
def test_only_pages_wake_somebody(debian: Path, severity: str, receiver: str) -> None:
    """Tickets go to a receiver of their own."""
    command = ("config", "routes", "test", f"--config.file={ROUTES}", f"severity={severity}")
    assert receiver == said(debian / "amtool", *command).strip()


def test_inhibitions_name_alerts_that_exist() -> None:
    """A renamed alert would wake somebody twice."""
    named = set(re.findall(r"Streamfilter\w+", ROUTES.read_text()))
    assert named
    assert set() == named - set(ALERTS)


@pytest.mark.parametrize("cases", CASES)
def test_rules_fire_and_keep_quiet(debian: Path, cases: str) -> None:
    """Each case of the file holds."""
    assert "SUCCESS" in said(debian / "promtool", "test", "rules", HERE / cases)


def test_every_alert_fires_in_a_case() -> None:
    """No alert is without a world in which it fires; the healthy one keeps all quiet."""
    cases = "".join((HERE / name).read_text() for name in CASES)
    unproved = set(ALERTS) - set(re.findall(r'alertname="(\w+)"', cases))
    assert set() == unproved, f"give each a case in tests/deploy/{CASES[0]}"
    assert set(ALERTS) == set(re.findall(r'alertname="(\w+)"', cases))


def test_runbook_and_alerts_are_the_same_set() -> None:
    """Each alert links to a section of its own, and no section is left over."""
    sections = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    links = re.findall(r"runbook_url: RUNBOOK.md#(\w+)", RULES)
    assert set() == set(ALERTS) - set(sections), "give each a section in deploy/RUNBOOK.md"
    assert sorted(ALERTS) == sorted(sections)
    assert [name.lower() for name in ALERTS] == links


def test_the_runbook_says_how_urgent_an_alert_is() -> None:
    """Each section begins with what the rules say: page or ticket."""
    told = re.findall(r"^## (\w+)\n\*(Page|Ticket)\.\* ", RUNBOOK, re.MULTILINE)
    rules = re.findall(r"- alert: (\w+).*?severity: (\w+)", RULES, re.DOTALL)
    assert {name: severity.capitalize() for name, severity in rules} == dict(told)


def page() -> str:
    registry = CollectorRegistry()
    metrics, exposures = AlertMetrics(registry), ExposureMetrics(registry)
    WebhookMetrics(registry)
    ExposureMetrics(registry, of="contaminants")
    describe_masking(registry, {})
    ConfigMetrics(registry)
    metrics.clients.brokers = {("consumer", "b1"): BrokerState(True, 0.1, 0)}
    exposures.last.judged("c", "e", True, {"1": (1.0, None)}, 1.0)
    return generate_latest(registry).decode()


def test_promtool_has_nothing_to_say_of_the_metrics(debian: Path) -> None:
    """Names, units and help as Prometheus wants them."""
    assert "" == said(debian / "promtool", "check", "metrics", given=page())


@pytest.mark.parametrize("limit", sorted(set(re.findall(r'le="([\d.]+)"', RULES))))
def test_limits_are_bounds_of_buckets(limit: str) -> None:
    """A limit between two bounds would select nothing."""
    assert f'streamfilter_latency_seconds_bucket{{le="{limit}",since="light"}}' in page()


def test_rules_name_metrics_that_exist() -> None:
    """A renamed metric would silence its alert for ever."""
    known = set(re.findall(r"^# TYPE (\w+)", page(), re.MULTILINE)) | {"streamfilter_consumer_lag"}
    expressions = re.sub(r"- name: \w+|#.*", "", RULES)
    named = set(re.findall(r"\bstreamfilter_\w+(?=[{\[ )\n])", expressions))
    assert named
    unknown = {re.sub("_(bucket|count)$", "", name) for name in named} - known
    assert set() == unknown, "not on the page of a worker (streamfilter/metrics)"
