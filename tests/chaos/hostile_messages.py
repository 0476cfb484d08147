"""What anyone who may write into a topic can do to its readers."""

import time
from collections.abc import Callable

import pytest
from audit import DAMAGED, JUDGED, Due
from confluent_kafka import Producer
from filter_process import FilterProcess
from kafka_desk import ANSWER_S
from raw_record import produce_raw
from stage import PARTITIONS, CannotBe, Stage, consumer, packets

RawHeaders = tuple[tuple[bytes, bytes], ...]
_UNREADABLE = "headers_malformed"


def _as_it_is(value: bytes) -> bytes:
    return value


HOSTILE: tuple[tuple[RawHeaders, Callable[[bytes], bytes], Due], ...] = (
    # Names of headers that no reader in Python can have.
    (((b"bad\xff\xfename", b"v"),), _as_it_is, DAMAGED),
    (((b"\xed\xa0\x80", b"half a surrogate pair"),), _as_it_is, DAMAGED),
    (((b"good", b"v"),) * 100 + ((b"\xc3", b"cut short"),), _as_it_is, DAMAGED),
    (((b"\xff" * 1000, b""),), lambda value: value[:20], DAMAGED),
    # Odd ones that are text, and values of any kind.
    (((b"", b"\xff\x00"), (b"\xc3\xa9", b"")), _as_it_is, JUDGED),
    (((b"many", b"\xff" * 100),) * 500, _as_it_is, JUDGED),
    (((b"streamfilter-verdict", b"\xff"), (b"streamfilter-offset", b"0")), _as_it_is, JUDGED),
    # Values that begin as those of both surveys do.
    ((), lambda _: b"", DAMAGED),
    ((), lambda _: b"\x00", DAMAGED),
    ((), lambda _: b"\x00\xff\xff\xff\xff" + bytes(100), DAMAGED),
    ((), lambda _: b"Obj\x01" + b"\xff" * 1000, DAMAGED),
    ((), lambda value: value[:5] + b"\xff" * 10_000, DAMAGED),
)
"""Headers, what is done to an alert, and what is due to it."""


def hostile_messages(stage: Stage) -> None:
    """Each kind of them stands among alerts, in every partition in turn."""
    worker = stage.start()
    unreadable = 0
    for turn in range(stage.rounds):
        with stage.fault():
            for number, (headers, change, due) in enumerate(HOSTILE):
                key = b"hostile-%d-%02d\xff" % (turn, number)
                stage.due[key] = due
                unreadable += due is DAMAGED and bool(headers)
                stage.send(PARTITIONS)
                value = change(packets()[number])
                partition = (turn + number) % PARTITIONS
                _produce(stage, partition, headers, value, key)
        stage.send(10 * PARTITIONS)
    stage.wait_all()
    rejected = stage.broker.read(stage.outputs["rejected"])
    reasons = [(dict(each.headers)["streamfilter-reason"] or b"").decode() for each in rejected]
    if (count := reasons.count(_UNREADABLE)) != unreadable:
        stage.wrong.append(f"{count} rejected as {_UNREADABLE}, not {unreadable}")
    if worker.process.poll() is not None:
        stage.wrong.append(f"{worker.log.name} ended")


def _produce(stage: Stage, partition: int, headers: RawHeaders, value: bytes, key: bytes) -> None:
    try:
        produce_raw(
            stage.broker.bootstrap, stage.topic, headers, value=value, key=key, partition=partition
        )
    except pytest.skip.Exception as why:
        raise CannotBe(str(why)) from why


_MB = 1_000_000
_UNPACKED_MB = 20  # of a batch that is some kB packed
_STALL_S = 5.0
_LATE_S = 10.0  # statistics, the look at them and a busy machine
_SMALL = {
    "receive_message_max_bytes": 3 * _MB, "fetch_max_bytes": 2 * _MB, "message_max_bytes": _MB,
    "statistics_interval_ms": 500,
}  # fmt: skip


def unpackable(stage: Stage) -> None:
    """A batch that no reader unpacks stands in a partition, until it is stepped over or read.

    Both are what the runbook says: the group goes on behind it, or workers may unpack as much.
    """
    tight = {**consumer(**_SMALL), "kafka.stall_s": str(_STALL_S)}
    stage.send(40)
    for turn in range(stage.rounds):
        worker = stage.start(tight)
        stage.wait_all()
        first = len(stage.keys_in(0))
        with stage.fault():
            bombs = _bomb(stage, turn)
        stage.send(20, partitions=(0,))
        others = stage.send(40, partitions=(1, 2, 3))
        _wait_unhealthy(stage, worker, f"{stage.topic}[0]@{first}: ")
        stage.wait_for(others)
        stage.stop(worker)
        if turn % 2:
            worker = stage.start()
        else:
            stage.broker.step_to(stage.group, stage.topic, 0, first + len(bombs))
            stage.leave_unread(bombs)
            stage.remarks.append(f"{len(bombs)} messages stepped over by hand")
            worker = stage.start(tight)
        stage.wait_all()
        stage.stop(worker)


def _wait_unhealthy(stage: Stage, worker: FilterProcess, place: str) -> None:
    """Return once the worker's health page names the place, which is to be soon."""
    since_s = stage.faults[-1].at_s
    stage.wait_until(lambda: place in worker.get("/healthz")[1], f"{place} on the health page")
    took = time.time() - since_s
    stage.remarks.append(f"unhealthy after {took:.0f} s")
    if took > _STALL_S + _LATE_S:
        stage.wrong.append(f"unhealthy after {took:.0f} s, kafka.stall_s is {_STALL_S:.0f}")
    if worker.get("/healthz")[0] != 503:
        stage.wrong.append(f"{worker.log.name} looks well")


def _bomb(stage: Stage, turn: int) -> list[bytes]:
    """Send messages of zeros in one batch to the first partition; their keys."""
    stage.feed.flush()
    bomb = Producer(
        {
            "bootstrap.servers": stage.broker.bootstrap, "compression.type": "zstd",
            "message.max.bytes": 30 * _MB, "batch.size": 30 * _MB, "linger.ms": 1000,
        }
    )  # fmt: skip
    keys = [b"bomb-%d-%02d" % (turn, number) for number in range(_UNPACKED_MB)]
    for key in keys:
        bomb.produce(stage.topic, bytes(_MB), key, 0)
    assert bomb.flush(ANSWER_S) == 0
    stage.due |= dict.fromkeys(keys, DAMAGED)
    stage.partitions |= dict.fromkeys(keys, (stage.topic, 0))
    return keys
