"""Calls over HTTPS to allowed hosts, and only to addresses that are allowed as well.

The name is resolved once, and the connection goes to the address that was checked: a name that
changes its address in between (DNS rebinding) gains nothing. Redirects are never followed here.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import quote, urlsplit

from streamfilter.addresses import Address, embedded, is_public, is_this_machine
from streamfilter.errors import AddressRefused, CallFailed, plain_words

_PORTS = {"https": 443, "http": 80}
_CONNECT_S = 5.0
"""Time-out of connecting and of each read."""
_HOST = re.compile(r"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The hosts and networks that may be called.

    Attributes
    ----------
    hosts
        ``host`` (on the usual port), ``host:port``, or either as ``*.domain``.
    internal_networks
        Networks that may be called though they are not of the public internet. Plain ``http`` is
        allowed only to addresses of this machine, and only where these networks contain them.
    ca_file
        Certificate authorities (PEM) that are trusted besides the system's.
    """

    hosts: tuple[str, ...]
    internal_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: str


class Caller:
    """Makes calls to allowed addresses, each on its own connection.

    Raises
    ------
    OSError
        ``ca_file`` cannot be read, or holds no certificate.
    """

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._context = ssl.create_default_context()
        if allowed.ca_file is not None:
            self._context.load_verify_locations(allowed.ca_file)

    def check(self, url: str) -> None:
        """Refuse a URL that is not allowed by its text alone; no name is resolved.

        Raises
        ------
        AddressRefused
            The scheme or host is not allowed, or the text is no URL.
        """
        self._target(url)

    def resolve(self, url: str) -> list[str]:
        """Returns the addresses of a URL's host; all of them must be allowed.

        Raises
        ------
        AddressRefused
            The URL, or an address of its host, is not allowed.
        CallFailed
            The name has no address, or no name server answers.
        """
        target = self._target(url)
        try:
            return self._addresses(target)
        except OSError as error:
            raise CallFailed(f"{target.host}: {error.strerror or error}") from error

    @contextmanager
    def call(
        self,
        method: str,
        url: str,
        *,
        total_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yields the answer with its body unread; the caller limits how much it reads.

        Parameters
        ----------
        total_s
            Limit for the whole call with the reading of the body: a slow server cannot hold us.

        Raises
        ------
        AddressRefused
            The URL, or an address of its host, is not allowed.
        CallFailed
            There is no connection, no trusted certificate, no answer, or no answer in time.
        """
        target = self._target(url)
        connection = _Connection(target, self._context if target.scheme == "https" else None)
        timer = threading.Timer(total_s, connection.expire)
        timer.daemon = True
        timer.start()
        try:
            connection.addresses = self._addresses(target)
            connection.request(method, target.path, body=body, headers=dict(headers or {}))
            # The answer may hold the socket longer than the connection does.
            with closing(connection.getresponse()) as answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            late = f"no whole answer within {total_s:.1f} s" if connection.expired else None
            where = f"{target.host}:{target.port}"
            raise CallFailed(late or f"{where} gives no answer: {plain_words(error)}") from error
        finally:
            timer.cancel()
            connection.close()
        if connection.expired:
            raise CallFailed(f"no whole answer within {total_s:.1f} s")

    def _target(self, url: str) -> _Target:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
            (parts.hostname or "").encode("idna")  # a resolver would fail on a bad label
        except ValueError as error:
            raise AddressRefused("no URL: its host or port cannot be read") from error
        host = (parts.hostname or "").rstrip(".")
        plain = parts.scheme == "http"
        if parts.scheme not in _PORTS or (
            plain and not any(each.is_loopback for each in self._allowed.internal_networks)
        ):
            raise AddressRefused(f"scheme {parts.scheme[:20]!r}; expected https")
        if "@" in parts.netloc or _HOST.fullmatch(host) is None:
            raise AddressRefused("expected https://host/path, without user and password")
        if not any(_matches(each, host, port, parts.scheme) for each in self._allowed.hosts):
            raise AddressRefused(f"host {host[:100]}:{port} is not allowed")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?") if parts.query else ""
        return _Target(parts.scheme, host, port, path + query)

    def _addresses(self, target: _Target) -> list[str]:
        """Returns the addresses of the target's host; raises where one of them is not allowed."""
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in texts:
            address = ipaddress.ip_address(text)
            if not (self._named(address) or is_public(address)):
                raise AddressRefused(f"{target.host} is the internal address {text}")
            if target.scheme == "http" and not (self._named(address) and is_this_machine(address)):
                raise AddressRefused("http is for addresses of this machine; expected https")
        return texts

    def _named(self, address: Address) -> bool:
        """Whether an address is in a network that may be reached, or leads into such ones alone."""
        inner = embedded(address)
        return self._in_networks(address) or (
            bool(inner) and all(self._in_networks(each) for each in inner)
        )

    def _in_networks(self, address: Address) -> bool:
        return any(address in network for network in self._allowed.internal_networks)


class _Connection(http.client.HTTPConnection):
    """A connection to one of the checked addresses; TLS still verifies the host's name."""

    def __init__(self, target: _Target, context: ssl.SSLContext | None) -> None:
        self.default_port = _PORTS[target.scheme]
        self.addresses: Sequence[str] = ()
        self.expired = False
        self._wire: socket.socket | None = None
        self._context = context
        super().__init__(target.host, target.port, timeout=_CONNECT_S)

    def connect(self) -> None:
        """Connect to the first address that answers."""
        failure: OSError | None = None
        for address in self.addresses:
            try:
                self.sock = self._wire = socket.create_connection(
                    (address, self.port), self.timeout
                )
                break
            except OSError as error:
                failure = error
        else:
            raise failure or OSError("the name has no address")
        if self._context is not None:
            # Wrapped before the handshake, so that its time is bounded too.
            wrapped = self._context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock = self._wire = wrapped
            wrapped.do_handshake()
        if self.expired:
            raise TimeoutError("connected too late")

    def expire(self) -> None:
        """End the connection whatever it is doing; a timer's thread calls this."""
        self.expired = True
        if self._wire is not None:
            with suppress(OSError):
                # The TLS socket's own shutdown would speak TLS while another thread does.
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


def _matches(entry: str, host: str, port: int, scheme: str) -> bool:
    try:
        allowed = urlsplit(f"//{entry}")
        name, named_port = (allowed.hostname or "").rstrip("."), allowed.port or _PORTS[scheme]
    except ValueError:
        return False
    same = host.endswith(name[1:]) if name.startswith("*.") else host == name
    return same and port == named_port
