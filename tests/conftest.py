"""Fixtures that every room's tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog
from debian_tools import ToolsUnavailable, tools
from kafka_desk import Broker
from kafka_node import KafkaNode, KafkaUnavailable
from registry_node import RegistryNode

from streamfilter.inference.cache import default_home
from streamfilter.inference.fetch import fetch

ROOT = Path(__file__).parent.parent
# The same examples in every run of CI; at a desk new ones are looked for.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


@pytest.fixture(autouse=True)
def no_command_s_log_level() -> None:
    """A command run in the tests' own process sets the level for all that comes after it."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real packets and frames; they are not part of the project."""
    folder = Path(os.environ.get("STREAMFILTER_SAMPLES", ROOT.parent / "shared" / "samples"))
    if not folder.is_dir():
        pytest.skip(f"no real packets at {folder}: set STREAMFILTER_SAMPLES")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real broker or registry, so that ``-m 'not kafka'`` leaves it out."""
    for item in items:
        if {"broker", "private_broker", "registry_url"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def started(folder: Path) -> KafkaNode:
    try:
        node = KafkaNode(folder)
        node.start()
    except KafkaUnavailable as why:
        pytest.skip(f"no Kafka: {why}")
    return node


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka, shared by all tests: use unique topics and groups."""
    address = os.environ.get("STREAMFILTER_TEST_BOOTSTRAP")
    if address:
        yield Broker(address)
        return
    node = started(tmp_path_factory.mktemp("kafka"))
    yield Broker(node.bootstrap, node)
    node.remove()


@pytest.fixture
def private_broker(tmp_path: Path) -> Iterator[Broker]:
    """A Kafka of this test alone, which may stop, kill, freeze and start its ``node``."""
    node = started(tmp_path)
    yield Broker(node.bootstrap, node)
    node.remove()


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real schema registry, shared by all tests: use unique subjects."""
    try:
        node = RegistryNode(tmp_path_factory.mktemp("registry"))
        node.start()
    except KafkaUnavailable as why:
        pytest.skip(f"no schema registry: {why}")
    yield node.url
    node.stop()


@pytest.fixture(scope="session")
def engine_home() -> Path:
    """The engine cache with MaxiMask and MaxiTrack in it, fetched on first use."""
    home = default_home(os.environ)
    for name in ("maximask", "maxitrack"):
        fetch(name, home, progress=print)
    return home


@pytest.fixture(scope="session")
def debian() -> Path:
    """The folder with prometheus, promtool, prometheus-alertmanager and amtool."""
    try:
        return tools()
    except ToolsUnavailable as why:
        pytest.skip(f"no Prometheus: {why}")
