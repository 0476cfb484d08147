"""Exactly once on a real Kafka: every output is counted as a reader of committed data sees it.

Each test bounds its waits: ``Site.wait``, and the process's own bounds on starting and stopping.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from filter_process import FilterProcess
from filter_site import Site, answered, packets, repeated
from kafka_desk import Broker

TIMES = 5


class ExactSite(Site):
    """Its workers deliver exactly once."""

    def begin(self, name: str = "", **more: str) -> FilterProcess:
        """Start a worker under this transactional id."""
        chosen = {
            "delivery__guarantee": "exactly-once",
            "delivery__transactional_id": name,
            "delivery__transaction_timeout_s": "5",
        }
        return self.start(**{**chosen, **more})

    def feed(self, samples: Path, mark: bytes = b"", times: int = TIMES) -> dict[bytes, bytes]:
        """Produce a few hundred alerts, whose keys end with the mark."""
        values = {key + mark: value for key, value in repeated(packets(samples), times).items()}
        self.broker.produce(self.alerts, values.values(), keys=list(values))
        return values

    def audit(self, values: dict[bytes, bytes]) -> None:
        """Each alert has each of its outputs once, and all offsets are committed."""
        broken = Counter(key for key in values if key.startswith(b"broken/"))
        good = Counter(list(values)) - broken
        assert good == self.counts("annotations") == self.counts("enriched")
        assert good == self.counts("clean") + self.counts("contaminated")
        assert broken == self.counts("rejected")
        # Between the last message and the end of a partition nothing is left.
        assert len(values) == self.committed()


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[ExactSite]:
    with ExactSite.whole(broker, tmp_path, engine_home) as made:
        yield made


def read(worker: FilterProcess, count: float) -> None:
    """Return once a worker has read so many alerts."""
    end = time.monotonic() + 60
    while worker.metric("streamfilter_messages_total") < count:
        assert time.monotonic() < end, worker.log.read_text()
        time.sleep(0.02)


def test_alerts_come_out_once_and_transactions_are_counted(site: ExactSite, samples: Path) -> None:
    """SIGTERM commits what is under way; nothing is aborted on a quiet day."""
    values = site.feed(samples)
    worker = site.begin()
    site.wait(set(values), answered)
    assert 0 < worker.metric('streamfilter_transactions_total{result="committed"}') < len(values)
    assert 0 == worker.metric('streamfilter_transactions_total{result="aborted"}')
    assert 0 == worker.stop()
    site.audit(values)


@pytest.mark.parametrize("name", ["", "worker-0"], ids=["a new id", "the same id"])
def test_kills_in_the_middle_repeat_and_lose_nothing(
    site: ExactSite, samples: Path, name: str
) -> None:
    """Three SIGKILLs, each a quarter further on; the next worker goes on at the last commit."""
    values = site.feed(samples)
    for _ in range(3):
        worker = site.begin(name)
        read(worker, len(values) / 5)
        worker.kill()
    last = site.begin(name)
    site.wait(set(values), answered)
    assert 0 == last.stop()
    site.audit(values)


def test_a_paused_worker_is_fenced_by_the_next_of_its_id(site: ExactSite, samples: Path) -> None:
    """It ends with what to do when it next publishes, and nothing of that is seen."""
    values = site.feed(samples)
    zombie = site.begin("worker-0")
    read(zombie, len(values) / 4)
    zombie.process.send_signal(signal.SIGSTOP)
    second = site.begin("worker-0")
    site.wait(set(values), answered)
    zombie.process.send_signal(signal.SIGCONT)
    # Paused between two transactions it finds out when it next has something to publish; the other
    # worker is quick, so there must be alerts left once it is back in the group.
    end = time.monotonic() + 60
    while zombie.process.poll() is None:
        assert time.monotonic() < end, zombie.log.read_text()
        values |= site.feed(samples, b"-%d" % len(values), times=1)
        time.sleep(2)
    assert 1 == zombie.process.returncode
    assert "delivery.transactional_id" in zombie.log.read_text()
    site.wait(set(values), answered)
    assert 0 == second.stop()
    site.audit(values)


def test_a_paused_worker_of_another_id_is_fenced_by_the_group(
    site: ExactSite, samples: Path
) -> None:
    """Its partitions went on while it slept: what it still held is refused by their generation."""
    values = site.feed(samples)
    zombie = site.begin("worker-0")
    read(zombie, len(values) / 4)
    zombie.process.send_signal(signal.SIGSTOP)
    second = site.begin("worker-1")
    read(second, len(values) / 4)
    zombie.process.send_signal(signal.SIGCONT)
    site.wait(set(values), answered)
    zombie.process.send_signal(signal.SIGTERM)
    zombie.process.wait(30)
    assert 0 == second.stop()
    site.audit(values)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_workers_that_come_and_go_repeat_and_lose_nothing(
    site: ExactSite, samples: Path, protocol: str
) -> None:
    """Partitions move four times while alerts flow, once by a kill; in either group protocol."""
    session = '"session.timeout.ms" = 6000, ' if protocol == "classic" else ""
    group = {"kafka__consumer": f'{{{session}"group.protocol" = "{protocol}"}}'}
    first, second = site.begin(**group), site.begin(**group)
    values = site.feed(samples)
    site.wait_for_share(second)
    third = site.begin(**group)
    assert 0 == first.stop()
    second.kill()
    fourth = site.begin(**group)
    site.wait(set(values), answered)
    assert [0, 0] == [third.stop(), fourth.stop()]
    site.audit(values)


def test_what_an_output_topic_refuses_is_rejected_once(site: ExactSite, samples: Path) -> None:
    """The transaction is aborted for it, and what was in it beside is published all the same."""
    site.topics["enriched"] = site.broker.topic(stem="small", max_message_bytes="20000")
    values = packets(samples)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.begin()
    site.wait(set(values), answered)
    assert worker.metric('streamfilter_transactions_total{result="aborted"}') > 0
    assert 0 == worker.stop()
    refused = Counter[bytes | None](list(values)) - site.counts("enriched")
    assert len(refused) > 20
    assert refused == site.counts("rejected")
    broken = {key for key in values if key.startswith(b"broken/")}
    assert Counter(values.keys() - broken) == site.counts("annotations")


def test_a_broker_that_restarts_is_waited_for(
    private_broker: Broker, tmp_path: Path, engine_home: Path, samples: Path
) -> None:
    """SIGKILL of the broker in the middle of transactions: the same alerts go out in new ones."""
    node = private_broker.node
    assert node is not None
    site = ExactSite.whole(private_broker, tmp_path, engine_home)
    values = site.feed(samples)
    with site.begin("worker-0", delivery__transaction_timeout_s="30") as worker:
        read(worker, len(values) / 4)
        node.kill()
        time.sleep(3)
        node.start()
        site.wait(set(values), answered)
        assert 0 == worker.stop()
    site.audit(values)
