"""Bounds who is connected to the worker's HTTP server, and for how long.

A probe must get through whatever else is connected. So a new connection is never refused because of
old ones: where there is no room, the oldest connection of the address that has the most is closed.
A probe takes milliseconds, so it is not the one that is closed.
"""

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer

import structlog

log = structlog.get_logger(__name__)

# A Prometheus, an orchestrator and some people; each takes a thread.
MOST = 64
MOST_OF_ADDRESS = 16
# Of a whole request, from its connection to the last byte of the answer. A scrape gives up then.
TOTAL_S = 10.0
# Threads of closed connections take a while to end; with so many no connection is accepted.
_MOST_THREADS = 4 * MOST
# Prefix of an IPv6 network that counts as one address, as one customer has it.
_PREFIX_BITS = 64

Closed = Callable[[str], None]
"""Called with ``late`` or ``crowded`` when a connection is closed before its answer."""


@dataclass(slots=True, eq=False)
class _Connection:
    wire: socket.socket
    address: str
    began_s: float = field(default_factory=time.monotonic)
    closed: bool = False

    def close(self) -> None:
        """Close the connection, whatever its thread is doing."""
        self.closed = True
        with suppress(OSError):
            # Not the TLS socket's own shutdown: its thread may be in a TLS call.
            socket.socket.shutdown(self.wire, socket.SHUT_RDWR)


class Connections:
    """The open connections, bounded in number, by address and in time."""

    def __init__(
        self,
        on_closed: Closed,
        *,
        most: int = MOST,
        most_of_address: int = MOST_OF_ADDRESS,
        total_s: float = TOTAL_S,
    ) -> None:
        self._on_closed = on_closed
        self._most, self._most_of_address, self._total_s = most, most_of_address, total_s
        self._lock = threading.Lock()
        self._threads: dict[int, _Connection] = {}  # by their wire, oldest first

    def open(self, wire: socket.socket, host: str) -> bool:
        """Make room for a connection; False where closing others made none."""
        made = _Connection(wire, address_of(host))
        with self._lock:
            if len(self._threads) >= _MOST_THREADS:
                return False
            crowd = [each for each in self._threads.values() if not each.closed]
            held = Counter(each.address for each in crowd)
            gone = None
            if held[made.address] >= self._most_of_address:
                gone = next(each for each in crowd if each.address == made.address)
            elif len(crowd) >= self._most:
                most = max(held.values())
                gone = next(each for each in crowd if held[each.address] == most)
            if gone is not None:
                gone.close()
            self._threads[id(wire)] = made
        if gone is not None:
            self._on_closed("crowded")
        return True

    def done(self, wire: socket.socket) -> None:
        """Forget a connection whose thread has ended."""
        with self._lock:
            self._threads.pop(id(wire), None)

    def close_late(self) -> None:
        """Close connections that take too long for handshake, request or answer."""
        end_s = time.monotonic() - self._total_s
        with self._lock:
            late = [e for e in self._threads.values() if e.began_s < end_s and not e.closed]
            for each in late:
                each.close()
        for _ in late:
            self._on_closed("late")


class BoundedServer(ThreadingMixIn, WSGIServer):
    """Serves each connection on a thread of its own, within the bounds of ``Connections``."""

    daemon_threads = True
    # The kernel's own queue: a burst of connections does not push a probe out of it.
    request_queue_size = 128

    connections = Connections(lambda _: None)  # replaced by whoever counts what is closed

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve on a thread of its own."""
        if self.connections.open(request, client_address[0]):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, then forget it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.done(request)

    def service_actions(self) -> None:
        """Close late connections; called several times a second."""
        self.connections.close_late()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a client that breaks off, or speaks no TLS, is ordinary."""
        log.debug("http client failed", detail=repr(sys.exception()))


class BoundedServerOfIPv6(BoundedServer):
    """Listens on an IPv6 address."""

    address_family = socket.AF_INET6


def address_of(host: str) -> str:
    """Returns the address for which a connection counts: an IPv4 address, or an IPv6 network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.version == 4:
        return str(address)
    return str(ip_network((address, _PREFIX_BITS), strict=False))
