"""Fixtures that every room's tests share."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog
from debian_tools import ToolsUnavailable, tools
from kafka_desk import Broker
from kafka_node import KafkaNode, KafkaUnavailable
from registry_node import RegistryNode
from shared_node import shared
from tiers import Guard, sort_into_tiers

from streamfilter.inference import manifest
from streamfilter.inference.cache import default_home
from streamfilter.inference.fetch import fetch
from streamfilter.redaction import SECRETS
from training.samples import absent, samples_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
# The same examples in every run of CI; at a desk new ones are looked for. Neither is a bench.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True)
def no_command_s_log_level() -> None:
    """Reset the level of the log, which a command in the tests' process may have set."""
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def no_other_test_s_secrets() -> None:
    """A secret that one test reads would be missing in what the next one prints."""
    SECRETS.forget()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real packets and frames; they are not part of the project."""
    folder = samples_folder()
    if not folder.is_dir():
        pytest.skip(absent(folder))
    return folder


GUARD = Guard()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before ``-m`` chooses: each test gets its marks and its tier."""
    sort_into_tiers(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Watch the tests that are said to need nothing: a mark that was forgotten fails."""
    GUARD.armed = item.get_closest_marker("check") is not None
    try:
        return (yield)
    finally:
        GUARD.armed = False


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
    base = tmp_path_factory.getbasetemp()
    # Each worker of pytest-xdist has a folder of its own in the one of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kafka"
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(shared(folder))
        except KafkaUnavailable as why:
            pytest.skip(f"no Kafka: {why}")
        yield broker


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
    """The engine cache with every network in it, fetched on first use."""
    home = default_home(os.environ)
    for name in manifest.names():
        fetch(name, home, progress=print)
    return home


@pytest.fixture(scope="session")
def debian() -> Path:
    """The folder with prometheus, promtool, prometheus-alertmanager and amtool."""
    try:
        return tools()
    except ToolsUnavailable as why:
        pytest.skip(f"no Prometheus: {why}")


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """Debian's Chromium, driven by Playwright."""
    reason = "no playwright: install the extra dev"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
