"""Who is in a consumer group, asked in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from uuid import uuid4

import pytest
from confluent_kafka import Consumer
from kafka_desk import Broker

from streamfilter.errors import TransportFailed
from streamfilter.kafka import members

pytestmark = pytest.mark.process
NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}


def answer(question: Callable[[], tuple[str, ...] | None]) -> tuple[str, ...]:
    """The answer, once it is there."""
    while (found := question()) is None:
        time.sleep(0.02)
    return found


def test_brokers_that_are_away_give_no_answer() -> None:
    """The failure names the group, and comes by itself."""
    with pytest.raises(TransportFailed, match="group g: its members cannot be asked for"):
        answer(members.ask_members(NOWHERE, "g"))


def test_a_question_that_ends_its_process_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka's assertion is SIGABRT, there."""
    code = "import os, sys; sys.stdin.read(); os.abort()"
    started = subprocess.Popen

    def aborting(_: list[str], **options: object) -> object:
        return started([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", aborting)
    with pytest.raises(TransportFailed, match=r"exit -6"):
        answer(members.ask_members(NOWHERE, "g"))


def test_an_outage_beside_the_answer_leaves_it_whole(broker: Broker) -> None:
    """Most brokers refuse: what is logged of them does not come between."""
    group, topic = f"members-{uuid4()}", broker.topic()
    member = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": group, "client.id": "the-one"}
    )
    with closing(member):
        member.subscribe([topic])
        while not member.assignment():
            member.poll(0.1)
        away = ",".join(f"127.0.0.1:{port}" for port in range(1, 9))
        settings = {"bootstrap.servers": f"{away},{broker.bootstrap}"}
        assert ("the-one",) == answer(members.ask_members(settings, group))
