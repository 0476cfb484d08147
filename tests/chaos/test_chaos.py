"""A bounded part of the chaos suite; `make chaos` runs all of it and writes REPORT.md."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import run
from kafka_desk import Broker
from kafka_node import KafkaNode, KafkaUnavailable
from report import line
from scenarios import SCENARIOS, Scenario
from stage import CannotBe, Guarantee

BOUNDED = [
    pytest.param(each, guarantee, id=f"{each.name} {guarantee}".replace(" ", "-"))
    for each in SCENARIOS
    if each.rounds_bounded
    for guarantee in each.bounded
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of these tests alone: it is killed."""
    if address := os.environ.get("STREAMFILTER_TEST_BOOTSTRAP"):
        yield Broker(address)
        return
    try:
        node = KafkaNode(tmp_path_factory.mktemp("chaos"))
        node.start()
    except KafkaUnavailable as why:
        pytest.skip(f"no Kafka: {why}")
    yield Broker(node.bootstrap, node)
    node.remove()


@pytest.mark.chaos
@pytest.mark.parametrize(("scenario", "guarantee"), BOUNDED)
def test_the_guarantee_is_kept(
    scenario: Scenario, guarantee: Guarantee, broker: Broker, tmp_path: Path, engine_home: Path
) -> None:
    """Nothing is missing, nothing comes twice beyond what may, and the stream goes on by itself."""
    rounds = scenario.rounds_bounded
    try:
        outcome = run(scenario, guarantee, broker, tmp_path, engine_home, rounds=rounds)
    except CannotBe as why:
        pytest.skip(str(why))
    print(line(outcome))
    assert () == outcome.wrong
    assert outcome.count >= 1


def test_what_is_bounded_needs_one_broker() -> None:
    """A cluster takes long to start."""
    assert {1} == {each.brokers for each in SCENARIOS if each.rounds_bounded}


def test_every_scenario_has_a_name_of_its_own() -> None:
    """The report and `--only` go by it."""
    names = [each.name for each in SCENARIOS]
    assert len(names) == len(set(names))
