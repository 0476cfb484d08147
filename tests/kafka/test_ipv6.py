"""Brokers and registries that are named by an IPv6 address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kafka_desk import Broker

from streamfilter import config
from streamfilter.doctor import State, registries
from streamfilter.kafka.inspection import Inspector
from streamfilter.kafka.topics import missing


class OfIPv6(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


class Forgetful(BaseHTTPRequestHandler):
    """A registry that knows no schema."""

    def do_GET(self) -> None:
        body = b'{"error_code": 40403, "message": "Schema not found"}'
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not printed."""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    try:
        found = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with found:
        yield found


def forwarding(listening: socket.socket, bootstrap: str) -> str:
    """The address of a door of IPv6 to a broker of IPv4."""
    host, _, port = bootstrap.rpartition(":")

    def pour(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                target.sendall(part)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection((host, int(port))) as broker:
            answers = threading.Thread(target=pour, args=(broker, client), daemon=True)
            answers.start()
            pour(client, broker)
            answers.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"[::1]:{listening.getsockname()[1]}"


def test_a_broker_is_reached_by_an_address_in_brackets(
    broker: Broker, listening: socket.socket
) -> None:
    """With brackets, as the settings ask for them."""
    settings = {"bootstrap.servers": forwarding(listening, broker.bootstrap)}
    assert ("none",) == missing(settings, [broker.topic(), "none"])
    assert broker.bootstrap.rpartition(":")[2] in str(Inspector(settings, timeout_s=30).cluster())


def test_a_registry_is_reached_by_an_address_in_brackets(listening: socket.socket) -> None:
    """And named as it was."""
    listening.close()
    server = OfIPv6(("::1", 0), Forgetful)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://[::1]:{server.server_address[1]}"
    settings = config.load(environment={}, overrides=[f"schemas.registry.url={url}"])
    try:
        found, _ = registries.check(settings, [])
    finally:
        server.shutdown()
        server.server_close()
    assert (State.OK, True) == (found.state, url in found.subject), found
