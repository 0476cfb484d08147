"""The HTTP endpoint of a worker."""

import base64
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry

from streamfilter.config import Metrics as Listening
from streamfilter.errors import ConfigurationInvalid
from streamfilter.metrics.alerts import AlertMetrics
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
    AlertMetrics(registry)
    listening = Listening(port=0)
    server = Endpoint(listening, registry, healthy=lambda: None, ready=lambda: state.wrong)
    yield server
    server.close()


def get(url: str, *, context: ssl.SSLContext | None = None, login: str = "") -> tuple[int, str]:
    """Status and text of a page."""
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_exposed(endpoint: Endpoint) -> None:
    """Prometheus finds every instrument before the first alert."""
    status, text = get(f"{endpoint.url}/metrics")
    assert status == 200
    assert 'streamfilter_stage_seconds_count{stage="infer"} 0.0' in text


def test_the_page_has_no_moments_of_creation(endpoint: Endpoint) -> None:
    """Each would be a series of its own; nor where single families are asked for."""
    for address in ("/metrics", "/metrics?name[]=streamfilter_messages_total"):
        status, text = get(f"{endpoint.url}{address}")
        assert (200, True) == (status, "streamfilter_messages_total" in text)
        assert "_created" not in text


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost", "127.0.0.1"])
def test_it_listens_on_either_kind_of_address(host: str) -> None:
    """An IPv6 address may stand in brackets; the address that the log names can be used."""
    if ":" in host and not ipv6():
        pytest.skip("this machine has no IPv6")
    listening = Listening(host=host, port=0)
    server = Endpoint(listening, CollectorRegistry(), healthy=lambda: None, ready=lambda: None)
    try:
        assert ":" not in host or server.url.startswith("http://[::1]:")
        assert 200 == get(f"{server.url}/healthz")[0]
    finally:
        server.close()


def ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


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
        Endpoint(Listening(port=port), CollectorRegistry(), healthy=str, ready=str)


@contextmanager
def listening(**settings: Any) -> Iterator[Endpoint]:
    """An endpoint with these settings, all well."""
    registry = CollectorRegistry()
    AlertMetrics(registry)
    section = Listening(port=0, **settings)
    server = Endpoint(section, registry, healthy=lambda: None, ready=lambda: None)
    yield server
    server.close()


@pytest.mark.parametrize("login", ["", "ops", "ops:wrong", "other:right", "ops:right:"])
def test_metrics_ask_for_the_password(login: str) -> None:
    """All but the checks, which orchestrators make without one."""
    with listening(user="ops", password="right") as endpoint:
        assert 401 == get(f"{endpoint.url}/metrics", login=login)[0]
        assert 401 == get(f"{endpoint.url}/other", login=login)[0]
        assert 200 == get(f"{endpoint.url}/healthz", login=login)[0]


def test_metrics_are_shown_to_who_has_the_password() -> None:
    """Also where it is not ASCII."""
    with listening(user="ops", password="schlüssel") as endpoint:
        assert 200 == get(f"{endpoint.url}/metrics", login="ops:schlüssel")[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """Settings of a certificate for this machine."""
    made = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made.cert_chain_pems[0].write_to_path(certificate)
    made.private_key_pem.write_to_path(key)
    return {"certificate_file": certificate, "key_file": key}


def test_the_endpoint_speaks_tls(authority: trustme.CA, tls: dict[str, Any]) -> None:
    """A client that trusts the authority reads it; a silent one does not hold it up."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with listening(**tls) as endpoint:
        host, port = endpoint.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))):
            assert 200 == get(f"{endpoint.url}/metrics", context=context)[0]


def test_plain_http_is_not_answered(tls: dict[str, Any]) -> None:
    """Nor is it a traceback in the log."""
    with listening(**tls) as endpoint, pytest.raises(OSError, match=r"reset|closed|refused|timed"):
        get(endpoint.url.replace("https", "http"))


def test_a_certificate_that_cannot_be_used_is_a_start_up_error(tmp_path: Path) -> None:
    """The files are named."""
    files: dict[str, Any] = {
        "certificate_file": tmp_path / "none.crt",
        "key_file": tmp_path / "none.key",
    }
    with pytest.raises(ConfigurationInvalid, match=r"none\.crt"):
        Endpoint(Listening(**files), CollectorRegistry(), healthy=str, ready=str)
