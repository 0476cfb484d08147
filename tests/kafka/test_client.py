"""What all clients share: waiting for a call that has no time-out of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from streamfilter.kafka.client import within

# Waits 2 s for a line on its input, once it said that it is about to.
WAITING = """
import sys
from streamfilter.kafka.client import within
print("ready", flush=True)
print(within(2.0, sys.stdin.readline), flush=True)
"""


def test_an_answer_in_time_is_returned() -> None:
    assert [3] == within(5.0, lambda: 3)


def test_no_answer_in_time_is_none() -> None:
    began = time.monotonic()
    assert [] == within(0.7, lambda: time.sleep(5))
    assert 0.7 <= time.monotonic() - began < 5


@pytest.mark.process
def test_a_pause_of_the_process_is_no_time_that_passed() -> None:
    """The answer may be on its way: a worker that was paused must not take it for lost."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
        time.sleep(0.3)  # it waits now
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(child.pid, signal.SIGCONT)
        time.sleep(0.3)
        answer, _ = child.communicate("an answer\n", timeout=30)
    assert r"['an answer\n']" == answer.strip()
