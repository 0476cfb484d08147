"""The HTTP endpoint of a worker."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from streamfilter.errors import ConfigurationInvalid
from streamfilter.metrics import Metrics
from streamfilter.service.http import Endpoint


class State:
    """What the checks answer, set by a test."""

    wrong: str | None = None


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def endpoint(state: State) -> Iterator[Endpoint]:
    registry = CollectorRegistry()
    Metrics(registry)
    server = Endpoint("127.0.0.1", 0, registry, healthy=lambda: None, ready=lambda: state.wrong)
    yield server
    server.close()


def get(url: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_exposed(endpoint: Endpoint) -> None:
    """Prometheus finds every instrument before the first alert."""
    status, text = get(f"{endpoint.url}/metrics")
    assert status == 200
    assert 'streamfilter_stage_seconds_count{stage="infer"} 0.0' in text


def test_readiness_follows_its_check(endpoint: Endpoint, state: State) -> None:
    """A worker that warms up says so with 503."""
    state.wrong = "warming up"
    assert get(f"{endpoint.url}/readyz") == (503, "warming up\n")
    state.wrong = None
    assert get(f"{endpoint.url}/readyz") == (200, "ok\n")


def test_health_is_apart_from_readiness(endpoint: Endpoint, state: State) -> None:
    """A worker without partitions is not restarted."""
    state.wrong = "no partitions"
    assert get(f"{endpoint.url}/healthz") == (200, "ok\n")


def test_another_path_says_what_there_is(endpoint: Endpoint) -> None:
    """A person who opens the root is helped."""
    assert get(endpoint.url) == (404, "try /metrics, /healthz or /readyz\n")


def test_a_taken_port_is_a_start_up_error(endpoint: Endpoint) -> None:
    """Two workers on one port do not fight silently."""
    port = int(endpoint.url.rsplit(":", 1)[1])
    with pytest.raises(ConfigurationInvalid, match="choose another port"):
        Endpoint("127.0.0.1", port, CollectorRegistry(), healthy=str, ready=str)
