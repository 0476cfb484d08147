"""Calls over HTTPS to hosts that are allowed, and to no address behind a name that is not.

The name is resolved once and the connection goes to the address that was checked, so a name that
changes its mind in between (DNS rebinding) gains nothing. Redirects are never followed here.
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
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from urllib.parse import quote, urlsplit

from streamfilter.errors import AddressRefused, CallFailed, told

_PORTS = {"https": 443, "http": 80}
_CONNECT_S = 5.0
"""Longest silence while connecting and of each read."""
_NAT64 = IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Whom to call.

    Attributes
    ----------
    hosts
        ``host`` (on the usual port), ``host:port``, or either as ``*.domain``.
    internal_networks
        Networks that may be reached though they are not of the open internet. Plain ``http`` is
        for addresses of this machine, where these hold them.
    ca_file
        Authorities (PEM) that are trusted beside those of the system.
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
    """Makes calls, each on a connection of its own.

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
        """Refuse a URL by what stands in it, without asking anyone.

        Raises
        ------
        AddressRefused
            Its scheme or host is not allowed, or it is no URL.
        """
        self._target(url)

    def resolve(self, url: str) -> list[str]:
        """The addresses behind a URL, if all of them may be called.

        Raises
        ------
        AddressRefused
            The URL, or an address behind its name, is not allowed.
        CallFailed
            The name has no address, or nobody says which.
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
        """The answer, its body unread; whoever reads it bounds how much.

        Parameters
        ----------
        total_s
            For all of it, the reading of the body too: a server that drips does not hold us.

        Raises
        ------
        AddressRefused
            The URL, or the address behind its name, is not allowed.
        CallFailed
            No connection, no trust, no answer, or not in time.
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
            raise CallFailed(late or f"{where} gives no answer: {told(error)}") from error
        finally:
            timer.cancel()
            connection.close()
        if connection.expired:
            raise CallFailed(f"no whole answer within {total_s:.1f} s")

    def _target(self, url: str) -> _Target:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
            (parts.hostname or "").encode("idna")  # what a resolver stumbles over
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
        """What the name stands for, if all of that may be reached."""
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in texts:
            address = _embedded(ipaddress.ip_address(text))
            named = any(address in network for network in self._allowed.internal_networks)
            if not named and (not address.is_global or address.is_multicast):
                raise AddressRefused(f"{target.host} is the internal address {text}")
            if target.scheme == "http" and not (address.is_loopback and named):
                raise AddressRefused("http is for addresses of this machine; expected https")
        return texts


class _Connection(http.client.HTTPConnection):
    """A connection to one of the addresses that were checked, under the name that was asked."""

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
        """End it, in whatever it is; called by a timer's thread."""
        self.expired = True
        if self._wire is not None:
            with suppress(OSError):
                # Not the wrapped one's own, which speaks TLS while another thread does.
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


def _matches(entry: str, host: str, port: int, scheme: str) -> bool:
    try:
        allowed = urlsplit(f"//{entry}")
        name, named_port = (allowed.hostname or "").rstrip("."), allowed.port or _PORTS[scheme]
    except ValueError:
        return False
    same = host.endswith(name[1:]) if name.startswith("*.") else host == name
    return same and port == named_port


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address
