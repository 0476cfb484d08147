"""Exposures by reference over HTTPS, on a real Kafka: trouble is waited out, or rejected."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from filter_process import FilterProcess
from receiver import Receiver, receiving
from test_exposure_stream import Site, noise, site, trailed

from streamfilter.exposures.records import FrameReference

__all__ = ["site"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as made:
        yield made


def start(site: Site, server: Receiver) -> FilterProcess:
    """A worker that may read from the server."""
    return site.start(
        exposures__reference_hosts=f'["127.0.0.1:{server.port}"]',
        exposures__reference_attempts="3",
        outgoing__internal_networks='["127.0.0.0/8"]',
        outgoing__ca_file=str(server.ca_file),
    )


def test_trouble_is_waited_out_while_others_are_judged(
    site: Site, server: Receiver, samples: Path
) -> None:
    """One server is down for good, another once; a frame inside its message overtakes both."""
    content = trailed(samples)
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        up = handler.path == "/lco" and asked.count("/lco") > 1
        handler.send_response(200 if up else 503)
        handler.send_header("Content-Length", str(len(content) if up else 0))
        handler.end_headers()
        handler.wfile.write(content if up else b"")

    server.answer = answer
    digest = hashlib.sha256(content).hexdigest()
    for name in ("down", "lco"):
        reference = FrameReference(f"{server.url}/{name}", len(content), digest)
        site.announce(name, reference, detector="1")
    site.announce("inside", noise())
    worker = start(site, server)
    verdicts = site.verdicts(3)
    assert ("tracking_error", "cannot_tell") == tuple(
        verdicts[name]["judgement"]["decision"] for name in ("lco", "down")
    )
    (headers,) = site.refusals(1)
    assert ("reference_unreachable", "status 503; attempts: 3") == (
        headers["streamfilter-reason"],
        headers["streamfilter-detail"],
    )
    order = [record["exposure_id"] for record in site.records("exposure")]
    assert (["inside", "lco", "down"], {"/lco": 2, "/down": 3}) == (
        order,
        {path: asked.count(path) for path in ("/lco", "/down")},
    )
    assert 0 == worker.stop()
    assert 3 == site.committed()


def test_a_stop_leaves_what_could_not_be_reached_to_the_next_worker(
    site: Site, server: Receiver
) -> None:
    """It is neither rejected nor committed."""
    content = noise()
    server.statuses = [503]
    reference = FrameReference(
        f"{server.url}/e1", len(content), hashlib.sha256(content).hexdigest()
    )
    site.announce("e1", reference, detector="1")
    first = start(site, server)
    server.calls.get(timeout=30)
    assert 0 == first.stop()
    assert (0, 0) == (site.committed(), site.broker.size(site.rejected))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(content)

    server.answer = answer
    second = start(site, server)
    assert "cannot_tell" == site.verdicts(1)["e1"]["judgement"]["decision"]
    assert 0 == second.stop()
    assert (1, 0) == (site.committed(), site.broker.size(site.rejected))
