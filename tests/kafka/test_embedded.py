"""The embedded broker carries alerts, ends with its parent, and says so when it crashes."""

import os
import signal
import subprocess
import sys
import time

import pytest
from joined_source import joined

from streamfilter.errors import TransportFailed
from streamfilter.kafka.embedded import EmbeddedBroker
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.records import Message, Origin, Output

pytestmark = pytest.mark.process
PARENT = """
import time
from streamfilter.kafka.embedded import EmbeddedBroker
broker = EmbeddedBroker()
print(broker._child.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie that nobody has waited for does not)."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] not in {"", "Z"}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_alerts_pass_through_all_partitions(protocol: str) -> None:
    """What the sink sends, the source reads, with as many partitions as asked for."""
    with EmbeddedBroker({"alerts": 6}) as broker:
        address = {"bootstrap.servers": broker.bootstrap}
        sink, seen = KafkaSink(address), list[Undeliverable | None]()
        for offset in range(60):
            output = Output(Origin("", 0, offset), "alerts", b"x" * 1000, b"%d" % offset)
            sink.send(output, lambda _, error: seen.append(error))
        assert 0 == sink.flush(20.0)
        source = joined(
            {**address, "group.id": "g", "group.protocol": protocol}, ["alerts"]
        )  # fmt: skip
        found: list[Message] = []
        end = time.monotonic() + 30.0
        while len(found) < 60 and time.monotonic() < end:
            found += source.poll(100, 0.1)
        source.close()
        sink.close()
    assert ([None] * 60, 6) == (seen, len({message.origin.partition for message in found}))
    assert {b"%d" % offset for offset in range(60)} == {message.key for message in found}


def test_the_child_ends_when_the_broker_is_closed() -> None:
    """Nothing is left behind."""
    with EmbeddedBroker() as broker:
        pid = broker._child.pid
        assert alive(pid)
    assert not alive(pid)


def test_the_child_ends_when_its_parent_is_killed() -> None:
    """A demo that dies leaves no broker behind."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    end = time.monotonic() + 10.0
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid)


def crash(broker: EmbeddedBroker) -> None:
    os.kill(broker._child.pid, signal.SIGSEGV)
    broker._child.wait()


def crash_in_use() -> None:
    with EmbeddedBroker() as broker:
        crash(broker)
        raise TimeoutError("nothing came")


def test_a_crash_of_the_child_is_a_transport_failure() -> None:
    """It is told when asked."""
    broker = EmbeddedBroker()
    broker.check()
    crash(broker)
    with pytest.raises(TransportFailed, match="ended with status -11"):
        broker.check()
    broker.close()


def test_a_crash_explains_what_went_wrong_in_the_with_block() -> None:
    """The time-out that it led to is the cause shown beneath."""
    with pytest.raises(TransportFailed, match="ended with status -11") as caught:
        crash_in_use()
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_a_child_that_cannot_start_says_why() -> None:
    """The reason of the child is in the failure."""
    with pytest.raises(TransportFailed, match=r"(?s)ended with status 1: .*'a' has 0 partitions"):
        EmbeddedBroker({"a": 0})
