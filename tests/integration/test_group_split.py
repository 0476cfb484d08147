"""Two configurations in one group, on a real Kafka: each member says so, and the doctor."""

import time
from pathlib import Path

import pytest
from filter_process import FilterProcess
from kafka_desk import Broker

from streamfilter import config
from streamfilter.doctor import State, brokers

PATIENCE_S = 60.0
GAUGE = "streamfilter_group_configurations"


def until(holds: FilterProcess, value: float) -> None:
    end = time.monotonic() + PATIENCE_S
    while holds.metric(GAUGE) != value:
        assert time.monotonic() < end, holds.log.read_text()
        time.sleep(0.2)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_with_other_settings_are_told(
    broker: Broker, tmp_path: Path, engine_home: Path, protocol: str
) -> None:
    """As long as there are any; the digest stands in the log, and in the doctor's report."""
    topics = {name: broker.topic(2, stem=name) for name in ("alerts", "annotations", "rejected")}
    settings = {
        "kafka.bootstrap": broker.bootstrap,
        "kafka.group": f"g-{topics['alerts']}",
        'kafka.consumer."statistics.interval.ms"': "500",
        'kafka.consumer."group.protocol"': protocol,
        "alerts.topics": f'["{topics["alerts"]}"]',
        "outputs.annotations": topics["annotations"],
        "outputs.rejected": topics["rejected"],
        "engine.workers": "1",
    }
    other = settings | {"surveys.ztf": "{priors = {CR = 1e-6}}"}
    with FilterProcess(tmp_path / "one.log", settings, engine_home) as one:
        one.wait_ready()
        until(one, 1)
        with FilterProcess(tmp_path / "two.log", other, engine_home) as two:
            two.wait_ready()
            until(two, 2)
            until(one, 2)
            found = next(
                each
                for each in brokers.check(
                    config.load(environment={}, overrides=given(settings)), []
                )
                if each.check == "group"
            )
            assert (State.WARNING, True) == (
                found.state,
                "with other settings: 1 by" in found.found,
            )
            (told, *_) = [e for e in two.events() if e["event"] == "members differ"]
            assert {str(told["own"]): 1} != told["others"]
            assert str(told["own"]) in found.found
            assert 0 == two.stop()
        until(one, 1)
        assert 0 == one.stop()


def given(settings: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]
