"""Probes get through whoever else is connected."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry

from streamfilter.config import Metrics as Listening
from streamfilter.metrics.process import HttpMetrics
from streamfilter.service.connections import MOST, Connections, address_of
from streamfilter.service.http import Endpoint

PROBE = b"GET /healthz HTTP/1.1\r\n\r\n"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=[False, True], ids=["http", "https"])
def served(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path: Any
) -> Iterator[tuple[int, ssl.SSLContext | None]]:
    """A port, and how to speak TLS to it."""
    files: dict[str, Any] = {}
    context = None
    if request.param:
        made = authority.issue_cert("127.0.0.1")
        made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
        files = {"certificate_file": tmp_path / "tls.pem", "key_file": tmp_path / "tls.pem"}
        context = ssl.create_default_context()
        authority.configure_trust(context)
    registry = CollectorRegistry()
    listening = Listening(port=0, **files)
    endpoint = Endpoint(listening, registry, healthy=lambda: None, ready=lambda: None)
    yield int(endpoint.url.rpartition(":")[2]), context
    endpoint.close()


def probed(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a probe is answered within the time that an orchestrator gives it."""
    wire = socket.create_connection(("127.0.0.1", port), 3.0)
    if context is not None:
        wire = context.wrap_socket(wire, server_hostname="127.0.0.1")
    with wire:
        wire.sendall(PROBE)
        return b"200 OK" in wire.recv(100)


def test_slow_connections_do_not_starve_a_probe(
    served: tuple[int, ssl.SSLContext | None],
) -> None:
    """Not even from the probe's own address; they send a byte now and then."""
    port, context = served
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(MOST)
        ]
        for _ in range(4):
            for wire in slow:
                with suppress(OSError):
                    wire.sendall(b"\x16" if context else b"G")
            assert probed(port, context)


def test_connections_that_say_nothing_do_not_starve_a_probe(
    served: tuple[int, ssl.SSLContext | None],
) -> None:
    """Many times as many as there is room for."""
    port, context = served
    with ExitStack() as stack:
        for _ in range(5 * MOST):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5.0))
        assert probed(port, context)


@pytest.fixture
def wires() -> Iterator[list[socket.socket]]:
    """Connected sockets; every second one is a client's."""
    made = [end for _ in range(8) for end in socket.socketpair()]
    yield made
    for each in made:
        each.close()


def ended(wire: socket.socket) -> bool:
    """Whether the other side was closed."""
    wire.settimeout(0.0)
    try:
        return wire.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_request_has_a_deadline_as_a_whole(wires: list[socket.socket]) -> None:
    """A byte now and then does not prolong it."""
    closed: list[str] = []
    open_ones = Connections(closed.append, total_s=0.2)
    assert open_ones.open(wires[0], "10.0.0.1")
    end_s = time.monotonic() + 0.3
    while time.monotonic() < end_s:
        with suppress(OSError):
            wires[1].send(b"G")
        time.sleep(0.05)
        open_ones.close_late()
    assert ended(wires[1])
    assert ["late"] == closed


def test_the_address_that_has_the_most_makes_room(wires: list[socket.socket]) -> None:
    """The oldest of its own where it has its share, else of the one that has more than others."""
    closed: list[str] = []
    open_ones = Connections(closed.append, most=4, most_of_address=3)
    for number, host in enumerate(["10.0.0.9", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"]):
        assert open_ones.open(wires[2 * number], host)
    clients = wires[1::2]
    assert [False, True, False, False, False] == [ended(each) for each in clients[:5]]
    assert open_ones.open(wires[10], "10.0.0.2")
    assert [False, True, True, False, False, False] == [ended(each) for each in clients[:6]]
    assert ["crowded", "crowded"] == closed


def test_a_deadline_holds_in_a_running_server() -> None:
    """The closing is counted."""
    metrics = HttpMetrics(CollectorRegistry())
    endpoint = Endpoint(
        Listening(port=0), CollectorRegistry(), healthy=str, ready=str, metrics=metrics
    )
    endpoint._server.connections = Connections(
        lambda why: metrics.connections_closed.labels(why).inc(), total_s=0.2
    )
    port = int(endpoint.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5.0) as wire:
        wire.sendall(b"GET /metrics HT")
        assert b"" == wire.recv(1)
    endpoint.close()
    assert 1 == metrics.connections_closed.labels("late")._value.get()
    assert not [each for each in threading.enumerate() if each.name == "http"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1%eth0", "2001:db8::/64"),
        ("", ""),
    ],
)
def test_an_address_is_counted_as_whom_it_belongs_to(host: str, address: str) -> None:
    """Whoever has one address of IPv6 has 2^64 of them."""
    assert address == address_of(host)
