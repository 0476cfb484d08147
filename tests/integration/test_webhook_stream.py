"""A failed exposure calls a webhook, and no receiver holds the stream: on a real Kafka."""

import base64
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from filter_process import FilterProcess
from notices import SECRET, genuine
from receiver import Receiver, receiving
from test_exposure_stream import Site, noise, site, trailed

__all__ = ["site"]
ANSWER_S = 30.0
PREFIX = "streamfilter_webhook_notices_total"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as made:
        yield made


def start(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, **more: str
) -> FilterProcess:
    """A worker with a webhook, its secret from the environment."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return site.start(
        webhook__url=f"{receiver.url}/exposures",
        webhook__secret="${HOOK_SECRET}",
        webhook__max_waiting="1",
        webhook__stop_s="0.5",
        outgoing__internal_networks='["127.0.0.0/8"]',
        outgoing__ca_file=str(receiver.ca_file),
        **more,
    )


def test_a_failed_exposure_is_told(
    site: Site, receiver: Receiver, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a first attempt that fails: signed, with a picture; what tracked is not told."""
    receiver.statuses = [503]
    worker = start(site, receiver, monkeypatch)
    site.announce("noise", noise())
    site.announce("lco", trailed(samples), detector="CCD1")
    first, call = (receiver.calls.get(timeout=ANSWER_S) for _ in range(2))
    assert first.body == call.body
    assert genuine()(SECRET, call.headers, call.body)
    told = json.loads(call.body)
    assert ("lco", "tracking_error", ["CCD1"]) == (
        told["exposure_id"],
        told["decision"],
        [each["detector"] for each in told["worst_detectors"]],
    )
    assert base64.b64decode(told["picture"]["base64"]).startswith(b"\x89PNG")
    while not worker.metric(f'{PREFIX}{{result="delivered"}}'):
        time.sleep(0.05)  # counted after the answer
    assert 0 == worker.stop()
    assert receiver.calls.empty()
    assert SECRET not in worker.log.read_text()


def test_a_receiver_that_hangs_does_not_hold_the_stream(
    site: Site, receiver: Receiver, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts come while it hangs; news beyond the queue is dropped; the stop is orderly."""

    def hang(handler: BaseHTTPRequestHandler) -> None:
        receiver.released.wait()

    receiver.answer = hang
    # On a slow machine the verdicts take longer than the default.
    worker = start(site, receiver, monkeypatch, webhook__timeout_s="60")
    names = [f"e{number}" for number in range(4)]
    for name in names:
        site.announce(name, trailed(samples))
    receiver.calls.get(timeout=ANSWER_S)
    verdicts = site.verdicts(len(names))
    assert {"tracking_error"} == {each["judgement"]["decision"] for each in verdicts.values()}
    while worker.metric(f'{PREFIX}{{result="dropped"}}') < 2:
        time.sleep(0.05)
    assert 0 == worker.stop()
    assert len(names) == site.committed()
    ends = [e["event"] for e in worker.events() if str(e["event"]).startswith("webhook notice")]
    # What the stop finds at hand has one more attempt, which may end before the stop does.
    assert ["webhook notice dropped"] * 2 == ends[:2]
    assert {"webhook notice dropped", "webhook notice failed"} >= set(ends[2:])
    assert len(names) == len(ends)
