"""References over HTTPS, against a real server on this machine."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, receiving
from reference_factories import CONTENT, MOST, reading, refer, refused

from streamfilter.errors import CallFailed, Reason
from streamfilter.exposures.references import References
from streamfilter.exposures.references.https import Https
from streamfilter.outgoing import Allowed, Caller


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as made:
        made.answer = serving(CONTENT)
        yield made


def serving(content: bytes, status: int = 200, **headers: str) -> Callable[..., None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def make(server: Receiver, *hosts: str, total_s: float = 10.0, **changes: Any) -> References:
    fields: dict[str, Any] = {
        "hosts": (f"127.0.0.1:{server.port}", *hosts),
        "internal_networks": (ip_network("127.0.0.0/8"),),
        "ca_file": server.ca_file,
    }
    return reading("https", Https(Caller(Allowed(**{**fields, **changes})), total_s))


def test_an_announced_file_is_read(server: Receiver) -> None:
    """The request asks for the bytes as they are."""
    assert CONTENT == make(server).fetch(refer(f"{server.url}/night/x.fits?token=a%2Fb"))
    call = server.calls.get()
    assert ("GET", "/night/x.fits?token=a%2Fb", "identity") == (
        call.method,
        call.path,
        call.headers["Accept-Encoding"],
    )


def test_another_size_or_sha256_is_rejected(server: Receiver) -> None:
    """What was announced is what is judged."""
    reference = refer(f"{server.url}/x")
    for other in (
        replace(reference, sha256="0" * 64),
        replace(reference, size=len(CONTENT) + 1),
        replace(reference, size=len(CONTENT) - 1),
    ):
        assert Reason.REFERENCE_DIFFERS == refused(make(server), other)[0]


def test_no_more_is_read_than_was_announced(server: Receiver) -> None:
    """A server that sends without end, in a chunk after the other, is left."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.released.is_set():
            handler.wfile.write(b"x" * 65536)

    server.answer = endless
    reason, detail = refused(make(server), refer(f"{server.url}/x"))
    assert (Reason.REFERENCE_DIFFERS, True) == (reason, detail.startswith("over 2880 bytes"))


def test_too_large_ones_are_not_asked_for(server: Receiver) -> None:
    """The announced size is enough to know."""
    reference = replace(refer(f"{server.url}/x"), size=MOST + 1)
    assert Reason.REFERENCE_TOO_LARGE == refused(make(server), reference)[0]
    assert server.calls.empty()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, Reason.REFERENCE_MISSING),
        (410, Reason.REFERENCE_MISSING),
        (401, Reason.REFERENCE_UNREACHABLE),
        (206, Reason.REFERENCE_UNREACHABLE),
    ],
)
def test_what_is_missing_or_closed_is_rejected(
    server: Receiver, status: int, reason: Reason
) -> None:
    """The status says why."""
    server.answer = serving(b"", status)
    assert (reason, f"status {status}") == refused(make(server), refer(f"{server.url}/x"))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_trouble_of_the_server_passes(server: Receiver, status: int) -> None:
    """It is no reason to reject yet."""
    server.answer = serving(b"", status)
    with pytest.raises(CallFailed, match=f"status {status}"):
        make(server).fetch(refer(f"{server.url}/x"))


def test_a_broken_connection_and_a_slow_one_pass(server: Receiver) -> None:
    """Half of a file, and one that never ends."""
    server.answer = serving(CONTENT[:100], Content_Length=str(len(CONTENT)))
    with pytest.raises(CallFailed, match="broke off after 100 bytes"):
        make(server).fetch(refer(f"{server.url}/x"))

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.released.wait(0.02):
            handler.wfile.write(b"x")

    server.answer = drip
    with pytest.raises(CallFailed, match=r"within 0\.3 s"):
        make(server, total_s=0.3).fetch(refer(f"{server.url}/x"))


def redirecting(to: str, server: Receiver) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        last = serving(b"", 302, Location=to) if handler.path == "/x" else serving(CONTENT)
        last(handler)

    return answer


def test_redirects_lead_only_where_messages_may(server: Receiver) -> None:
    """To an allowed host; not to others, to internal addresses, to http or to files."""
    server.answer = redirecting("/y", server)
    assert CONTENT == make(server).fetch(refer(f"{server.url}/x"))
    for to in (
        "https://169.254.169.254/latest/meta-data/",
        f"https://127.0.0.2:{server.port}/y",
        "https://evil.example.org/y",
        f"http://evil.example.org:{server.port}/y",
        "file:///etc/passwd",
    ):
        server.answer = redirecting(to, server)
        assert Reason.REFERENCE_REFUSED == refused(make(server), refer(f"{server.url}/x"))[0]


def test_redirects_end(server: Receiver) -> None:
    """A circle is left."""
    server.answer = redirecting("/x", server)
    reason, detail = refused(make(server), refer(f"{server.url}/x"))
    assert (Reason.REFERENCE_UNREACHABLE, "over 3 redirects") == (reason, detail)


def test_an_allowed_name_with_an_internal_address_is_refused(
    server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the name's zone may point it anywhere."""
    found = [(0, 0, 0, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    references = make(server, "data.example.org", internal_networks=())
    reason, detail = refused(references, refer("https://data.example.org/x"))
    assert (Reason.REFERENCE_REFUSED, True) == (reason, "internal address" in detail)
