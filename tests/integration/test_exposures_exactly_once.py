"""Exposures exactly once on a real Kafka: restarts in the middle of focal planes, all counted."""

import time
from collections import Counter
from pathlib import Path

from filter_process import FilterProcess
from test_exposure_stream import Site, noise, site, trailed

__all__ = ["site"]

WAIT_S = 60.0


def begin(site: Site, name: str = "worker-0") -> FilterProcess:
    """Start a worker that delivers exactly once."""
    return site.start(
        delivery__guarantee="exactly-once",
        delivery__transactional_id=name,
        delivery__transaction_timeout_s="5",
    )


def wait(site: Site, detectors: int, exposures: int, rejected: int = 0) -> None:
    """Return once so much is published."""
    end = time.monotonic() + WAIT_S
    while (
        len(site.records("detector")) < detectors
        or len(site.records("exposure")) < exposures
        or len(site.broker.read(site.rejected)) < rejected
    ):
        assert time.monotonic() < end, site.workers[-1].log.read_text()
        time.sleep(0.2)


def published(site: Site) -> Counter[tuple[str, str, str]]:
    """How often each record stands there."""
    return Counter(
        (record["kind"], record["exposure_id"], record.get("detector") or "")
        for kind in ("detector", "exposure")
        for record in site.records(kind)
    )


def test_a_kill_in_the_middle_of_a_focal_plane_repeats_nothing(site: Site, samples: Path) -> None:
    """One exposure is open while others close behind it, a frame among them is damaged.

    Twice a worker is killed then. The offset stands before the open one all the time, and what is
    out is known from beside it.
    """
    site.announce("open", noise(1), expected=2, detector="1")
    site.announce("closed", trailed(samples), detector="1")
    site.announce("damaged", b"not FITS", expected=None)
    first = begin(site)
    wait(site, detectors=2, exposures=1, rejected=1)
    assert 0 == site.committed()
    first.kill()
    second = begin(site)
    site.announce("later", noise(2), detector="1")
    wait(site, detectors=3, exposures=2, rejected=1)
    second.kill()
    third = begin(site)
    site.announce("open", noise(3), expected=2, detector="2")
    wait(site, detectors=4, exposures=3, rejected=1)
    assert 0 == third.stop()
    detectors = [("open", "1"), ("open", "2"), ("closed", "1"), ("later", "1")]
    expected = [("detector", *each) for each in detectors]
    expected += [("exposure", name, "") for name in ("open", "closed", "later")]
    assert Counter(expected) == published(site)
    assert (1, 5) == (len(site.broker.read(site.rejected)), site.committed())
    (verdict,) = (each for each in site.records("exposure") if each["exposure_id"] == "open")
    assert ("complete", 2, 1) == (
        verdict["closing"],
        len(verdict["detectors"]),
        verdict["revision"],
    )


def test_a_stop_and_another_worker_repeat_nothing(site: Site, samples: Path) -> None:
    """SIGTERM leaves what is open; a worker of another name goes on with it."""
    site.announce("e1", trailed(samples), expected=2, detector="1")
    first = begin(site)
    wait(site, detectors=1, exposures=0)
    assert 0 == first.stop()
    site.announce("e1", trailed(samples), expected=2, detector="2")
    second = begin(site, "worker-1")
    wait(site, detectors=2, exposures=1)
    assert second.metric('streamfilter_exposure_transactions_total{result="committed"}') > 0
    assert 0 == second.stop()
    expected = [("detector", "e1", "1"), ("detector", "e1", "2"), ("exposure", "e1", "")]
    assert Counter(expected) == published(site)
    assert 2 == site.committed()
