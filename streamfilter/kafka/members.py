"""Asks for the members of a consumer group, in a process of its own.

librdkafka 2.16 ends its process by an assertion (``eonce->refcnt > 0``) where such a question is
open and the broker is killed, or a token cannot be had. A worker must not go with it.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from confluent_kafka import KafkaException

from streamfilter.errors import TransportFailed
from streamfilter.kafka.client import ClientErrors, Settings
from streamfilter.kafka.topics import open_admin

_ANSWER_S = 10.0
_LONGEST_S = 30.0  # with the start of the process on a busy machine


class _Silent(ClientErrors):
    """Reports no error: the worker's consumer already reports brokers that are away."""

    def log(self, level: int, template: str, facility: str, client: str, line: str) -> None:
        """Leave a line of librdkafka out."""


def ask_members(settings: Settings, group: str) -> Callable[[], tuple[str, ...] | None]:
    """Begin to ask for a group's members, without waiting.

    Returns
    -------
    callable
        Polled: the client ids, or None while there is no answer. It raises TransportFailed where
        there is none to be had.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # Not on the command line, which other users see: passwords are among the settings.
    with process.stdin as pipe:
        json.dump({"settings": dict(settings), "group": group}, pipe)
    until, output = time.monotonic() + _LONGEST_S, process.stdout

    def poll() -> tuple[str, ...] | None:
        code = process.poll()
        if code is None and time.monotonic() < until:
            return None
        process.kill()
        process.wait()
        with output:
            text = output.read()
        if code != 0:
            raise TransportFailed(f"group {group}: its members cannot be asked for (exit {code})")
        return tuple(json.loads(text))

    return poll


def _client_ids(settings: Settings, group: str) -> list[str]:
    admin = open_admin({**settings, "log_level": 0}, _Silent("client"))
    asked = admin.describe_consumer_groups([group], request_timeout=_ANSWER_S)[group]
    while not asked.done():
        admin.poll(0.1)
    found: Any = asked.result()
    return [member.client_id for member in found.members]


def main() -> int:
    """Answer the question on standard input; the exit code is 1 where there is no answer."""
    signal.alarm(round(_LONGEST_S))  # also where the worker was killed, and ends nobody
    question = json.load(sys.stdin)
    try:
        with redirect_stdout(sys.stderr):  # log lines go there by default, beside the answer
            found = _client_ids(question["settings"], question["group"])
    except (KafkaException, TransportFailed):
        return 1
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
