"""The webhook's thread, against a real receiver over HTTPS."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exposure_factories import make_announced, make_evidence, make_verdict
from notices import SECRET, genuine
from prometheus_client import CollectorRegistry
from receiver import Receiver, receiving

from streamfilter.config import Webhook
from streamfilter.exposures.figures import DetectorPicture
from streamfilter.exposures.records import Decision
from streamfilter.metrics.webhook import WebhookMetrics
from streamfilter.outgoing import Allowed, Caller
from streamfilter.service.exposures.alarm import Alarm

ANSWER_S = 10.0


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as made:
        yield made


class Desk:
    """An alarm that calls a receiver, and its metrics."""

    def __init__(self, receiver: Receiver, **rules: Any) -> None:
        self.registry = CollectorRegistry()
        networks = (ip_network("127.0.0.0/8"),)
        allowed = Allowed((f"127.0.0.1:{receiver.port}",), networks, receiver.ca_file)
        fields = {"url": f"{receiver.url}/hook", "secret": SECRET, "timeout_s": 5.0, **rules}
        metrics = WebhookMetrics(self.registry)
        self.alarm = Alarm(Webhook(**fields), Caller(allowed), metrics, first_delay_s=0.01)

    def tell(self, count: int = 1, **changes: Any) -> None:
        for number in range(count):
            fields = {"exposure_id": f"e{number}", **changes}
            self.alarm.judged(make_verdict(**fields), make_announced())

    def ended(self) -> dict[str, float]:
        """How many notices came to which end."""
        return {
            result: self.registry.get_sample_value(
                "streamfilter_webhook_notices_total", {"result": result}
            )
            or 0.0
            for result in ("delivered", "failed", "dropped")
        }

    def wait(self, **ends: int) -> None:
        """Until so many notices ended, each so."""
        expected = {"delivered": 0, "failed": 0, "dropped": 0, **ends}
        end = time.monotonic() + ANSWER_S
        while sum(self.ended().values()) < sum(expected.values()):
            assert time.monotonic() < end, self.ended()
            time.sleep(0.01)
        assert expected == self.ended()


def test_a_notice_arrives_signed(receiver: Receiver) -> None:
    """The receiver's own check accepts it."""
    desk = Desk(receiver)
    desk.alarm.start()
    desk.tell()
    call = receiver.calls.get(timeout=ANSWER_S)
    assert ("POST", "/hook") == (call.method, call.path)
    assert genuine()(SECRET, call.headers, call.body)
    desk.wait(delivered=1)
    desk.alarm.close()
    assert 1 == desk.registry.get_sample_value("streamfilter_webhook_seconds_count")


def test_trouble_is_tried_again_under_one_identity(receiver: Receiver) -> None:
    """Two answers of trouble, then success."""
    desk = Desk(receiver)
    receiver.statuses = [503, 429]
    desk.alarm.start()
    desk.tell()
    desk.wait(delivered=1)
    desk.alarm.close()
    ids = {receiver.calls.get().headers["Streamfilter-Id"] for _ in range(3)}
    assert (1, True) == (len(ids), receiver.calls.empty())


@pytest.mark.parametrize(("status", "attempts"), [(500, 3), (401, 1), (302, 1)])
def test_attempts_end(receiver: Receiver, status: int, attempts: int) -> None:
    """What will not mend itself is tried once; the next notice is delivered."""
    desk = Desk(receiver, attempts=3)
    receiver.statuses = [status] * attempts
    desk.alarm.start()
    desk.tell(2)
    desk.wait(failed=1, delivered=1)
    desk.alarm.close()
    assert attempts + 1 == receiver.calls.qsize()


def test_a_receiver_that_hangs_costs_news_not_time(receiver: Receiver) -> None:
    """One in the call, two wait, the others are dropped at once; the stop is bounded."""

    def hang(handler: BaseHTTPRequestHandler) -> None:
        receiver.released.wait()

    receiver.answer = hang
    desk = Desk(receiver, max_waiting=2, stop_s=0.3, timeout_s=60.0, attempts=1)
    desk.alarm.start()
    desk.tell()
    receiver.calls.get(timeout=ANSWER_S)
    desk.tell(6)  # the first of them is known
    assert {"delivered": 0, "failed": 0, "dropped": 3} == desk.ended()
    desk.alarm.close()
    assert 6 == desk.ended()["dropped"]


def test_what_waits_is_delivered_at_the_stop(receiver: Receiver) -> None:
    """In one more attempt each."""
    desk = Desk(receiver)
    desk.tell(3)
    desk.alarm.start()
    desk.alarm.close()
    desk.wait(delivered=3)


def test_only_news_is_told(receiver: Receiver) -> None:
    """A revision with the same decision is none; the end of an alarm is."""
    desk = Desk(receiver)
    fine = replace(make_evidence().judgement, decision=Decision.OK)
    desk.tell(revision=1)
    desk.tell(revision=2)
    desk.tell(revision=3, judgement=fine)
    desk.alarm.start()
    desk.alarm.close()
    desk.wait(delivered=2)
    told = [json.loads(receiver.calls.get().body) for _ in range(2)]
    assert [("tracking_error", None, 1), ("ok", "tracking_error", 3)] == [
        (each["decision"], each["previous_decision"], each["revision"]) for each in told
    ]


def seen(detector: str, probability: float) -> DetectorPicture:
    judgement = replace(make_evidence().judgement, probability=probability)
    evidence = make_evidence(detector=detector, judgement=judgement, tiles=make_evidence().tiles)
    image = np.random.default_rng(1).normal(size=(320, 320)).astype(np.float32)
    return DetectorPicture(evidence, image, (400, 512), ())


def test_the_picture_shows_the_worst_detectors_and_is_bounded(receiver: Receiver) -> None:
    """A PNG of at most 400 kB, though every pixel is noise; names are no formulas."""
    # On a new machine it first lists all fonts, for seconds.
    pytest.importorskip("matplotlib.font_manager", reason="figures need the extra 'figures'")
    desk = Desk(receiver)
    for number in range(9):
        desk.alarm.keep_pictures(
            make_announced(exposure_id="e0"), [seen(f"$\\x{number}$", number / 10)]
        )
    desk.tell()
    desk.alarm.start()
    desk.alarm.close()
    desk.wait(delivered=1)
    picture = json.loads(receiver.calls.get().body)["picture"]["base64"]
    assert picture.startswith("iVBORw0KGgo")
    assert 10_000 < len(picture) * 3 / 4 < 400_000


def test_pictures_of_many_exposures_take_bounded_memory(receiver: Receiver) -> None:
    """Three detectors each of the last sixteen exposures."""
    desk = Desk(receiver)
    one = seen("1", 0.5)
    for number in range(40):
        desk.alarm.keep_pictures(make_announced(exposure_id=f"e{number}"), [one] * 5)
    assert [3] * 16 == [len(each) for each in desk.alarm._pictures.values()]
