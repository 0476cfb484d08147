"""Outgoing calls: which hosts they may reach, and how long they may last."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, receiving

from streamfilter.errors import AddressRefused, CallFailed
from streamfilter.outgoing import Allowed, Caller

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as made:
        yield made


def make_caller(receiver: Receiver, **changes: Any) -> Caller:
    fields: dict[str, Any] = {
        "hosts": (f"127.0.0.1:{receiver.port}",),
        "internal_networks": LOOPBACK,
        "ca_file": receiver.ca_file,
    }
    return Caller(Allowed(**{**fields, **changes}))


def status(caller: Caller, url: str, total_s: float = 10.0) -> int:
    with caller.call("GET", url, total_s=total_s) as answer:
        answer.read()
        return answer.status


def test_an_allowed_host_is_called(receiver: Receiver) -> None:
    """Path and query arrive as they stand in the URL."""
    assert 200 == status(make_caller(receiver), f"{receiver.url}/a%20b?c=d%2Fe")
    assert "/a%20b?c=d%2Fe" == receiver.calls.get().path


@pytest.mark.parametrize(
    "url",
    [
        "http://data.example.org/x",
        "ftp://data.example.org/x",
        "file:///etc/passwd",
        "//data.example.org",
        "https://other.example.org/x",
        "https://data.example.org:8443/x",
        "https://data.example.org.evil.org/x",
        "https://me:pw@data.example.org/x",
        "https://data.example.org\\@evil.org/x",
        "https://data.example.org:port/x",
        "https://[::1/x",
        "https://bücher.example.org/x",
        "",
    ],
)
def test_other_schemes_hosts_and_ports_are_refused(url: str) -> None:
    """The text of the URL decides, before any name is resolved."""
    with pytest.raises(AddressRefused):
        Caller(Allowed(("data.example.org",))).check(url)


def test_hosts_can_be_named_with_ports_and_below_a_domain() -> None:
    """A domain's star stands for names below it, not for itself."""
    caller = Caller(Allowed(("Data.example.org", "*.cdn.org", "a.org:8443")))
    for url in ("https://data.EXAMPLE.org./x", "https://x.y.cdn.org", "https://a.org:8443/"):
        caller.check(url)
    for url in ("https://cdn.org/", "https://a.org/", "https://evilcdn.org/"):
        with pytest.raises(AddressRefused):
            caller.check(url)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1"),
        *("64:ff9b::a00:1", "2002:7f00:1::", "255.255.255.255"),
        *("::127.0.0.1", "64:ff9b:1::a00:1", "2001:0:808:808::f5fe:fdfc", "fec0::1"),
        *("168.63.129.16", "192.0.0.192", "192.88.99.1", "3fff::1", "5f00::1", "fe80::1%lo"),
    ],
)
def test_internal_addresses_behind_a_name_are_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public name may point anywhere: what it stands for decides, one bad address is enough."""
    found = [(0, 0, 0, "", (each, 443)) for each in ("93.184.216.34", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("connected"))
    with pytest.raises(AddressRefused, match="internal address"):
        status(Caller(Allowed(("data.example.org",))), "https://data.example.org/x")


def test_the_checked_address_is_the_one_that_is_called(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that points elsewhere the next time gains nothing: it is asked once."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if host == "127.0.0.1":
            return real(host, port, *rest, **more)
        asked.append(host)
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    caller = make_caller(receiver, hosts=(f"localhost:{receiver.port}",))
    with pytest.raises(CallFailed, match="certificate verify failed"):
        status(caller, f"https://localhost:{receiver.port}/")
    assert ["localhost"] == asked


def test_a_stranger_is_not_trusted(receiver: Receiver) -> None:
    """Without the authority's certificate there is no call."""
    with pytest.raises(CallFailed, match="certificate verify failed"):
        status(make_caller(receiver, ca_file=None), receiver.url)
    assert receiver.calls.empty()


def test_plain_http_is_for_this_machine_where_allowed(tmp_path: Path) -> None:
    """Anybody on the network could read plain http to other machines."""
    with receiving(tmp_path, tls=False) as plain:
        hosts, url = (f"127.0.0.1:{plain.port}",), f"http://127.0.0.1:{plain.port}/"
        assert 200 == status(Caller(Allowed(hosts, LOOPBACK)), url)
        with pytest.raises(AddressRefused, match="expected https"):
            status(Caller(Allowed(hosts)), url)
    networks = (*LOOPBACK, ip_network("10.0.0.0/8"))
    with pytest.raises(AddressRefused, match="expected https"):
        status(Caller(Allowed(("10.1.1.1",), networks)), "http://10.1.1.1/")


def test_redirects_are_answers_like_others(receiver: Receiver) -> None:
    """A redirect could lead to an address that is not allowed."""
    receiver.statuses = [302]
    assert 302 == status(make_caller(receiver), receiver.url)


def test_a_server_that_drips_is_left_in_time(receiver: Receiver) -> None:
    """Each byte comes soon enough, the whole never does."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        while not receiver.released.wait(0.05):
            handler.wfile.write(b"H")
            handler.wfile.flush()

    receiver.answer = drip
    with pytest.raises(CallFailed, match=r"no whole answer within 0\.3 s"):
        status(make_caller(receiver), receiver.url, total_s=0.3)


@pytest.mark.parametrize("host", ["a..example.org", f"{'a' * 64}.example.org"])
def test_names_that_cannot_be_are_no_mistake_of_ours(host: str) -> None:
    """A message may name any host below an allowed domain."""
    with pytest.raises(AddressRefused):
        status(Caller(Allowed(("*.example.org",))), f"https://{host}/")


def test_nobody_there_is_a_failed_call(receiver: Receiver) -> None:
    """An unknown name is a failed call too."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(CallFailed, match="refused"):
        status(make_caller(receiver, hosts=(f"127.0.0.1:{port}",)), f"https://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("address", "network", "allowed"),
    [
        ("64:ff9b::a00:1", "10.0.0.0/8", True),
        ("::ffff:10.0.0.1", "10.0.0.0/8", True),
        ("64:ff9b:1::a00:1", "64:ff9b:1::/48", True),
        ("64:ff9b::a00:1", "172.16.0.0/12", False),
        ("2001:0:a00:1::f7f7:f7f7", "10.0.0.0/8", False),
        ("fd00::1", "fd00::/8", True),
    ],
)
def test_a_network_may_be_named_by_what_is_in_an_address(
    address: str, network: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or by the address itself; every address that it leads to has to be named."""
    found = [(0, 0, 0, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    caller = Caller(Allowed(("data.example.org",), (ip_network(network),)))
    if allowed:
        assert [address] == caller.resolve("https://data.example.org/x")
    else:
        with pytest.raises(AddressRefused, match="internal address"):
            caller.resolve("https://data.example.org/x")
