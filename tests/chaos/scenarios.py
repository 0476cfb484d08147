"""The scenarios: what is broken while alerts flow, how often, and what may come of it."""

from collections.abc import Callable
from dataclasses import dataclass

from hostile_messages import hostile_messages, unpackable
from inputs import frames_beside, poison, remake_topic
from members import differ, keep_name, take_name
from processes import (
    freeze,
    kill_broker,
    kill_two_brokers,
    kill_workers,
    roll_brokers,
    storm,
    terminate,
)
from skipped_offsets import new_topics, overtaken
from stage import Guarantee, Stage
from surroundings import (
    far_ahead,
    full_disk,
    jump,
    refusing_outputs,
    registry_trouble,
    slow_outputs,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the report.

    Attributes
    ----------
    faults
        What is done, in a few words.
    rounds
        How often, in the whole run and in the bounded one; 0: not in the bounded one.
    bounded
        Under which guarantees in the bounded run.
    repeats
        Whether at-least-once may publish alerts again.
    stamped_by
        ``message.timestamp.type`` of the outputs.
    brokers
        How many there are: one, or three that replicate.
    """

    name: str
    faults: str
    act: Callable[[Stage], None]
    rounds: int
    rounds_bounded: int = 0
    repeats: bool = False
    stamped_by: str = "LogAppendTime"
    bounded: tuple[Guarantee, ...] = tuple(Guarantee)
    brokers: int = 1


SCENARIOS = (
    Scenario(
        name="worker killed",
        faults="kill -9 of the worker with alerts in the network, then another worker",
        act=kill_workers, rounds=10, rounds_bounded=2, repeats=True,
    ),
    Scenario(
        name="worker frozen",
        faults="SIGSTOP of the worker with alerts in the network until another of its name has "
        "gone on, then SIGCONT",
        act=freeze, rounds=3, repeats=True,
    ),
    Scenario(
        name="broker killed",
        faults="kill -9 of the broker under load, restart after 2 s",
        act=kill_broker, rounds=3, rounds_bounded=1, repeats=True,
    ),
    Scenario(
        name="rebalance storm",
        faults="for a minute a worker joins and another leaves, every third by kill -9",
        act=storm, rounds=1, repeats=True,
    ),
    Scenario(
        name="poisoned partition",
        faults="one message in three of a partition is cut short",
        act=poison, rounds=3, rounds_bounded=1, bounded=(Guarantee.EXACTLY_ONCE,),
    ),
    Scenario(
        name="registry in trouble",
        faults="new schemas in one partition while the registry hangs, answers nonsense, is gone",
        act=registry_trouble, rounds=1,
    ),
    Scenario(
        name="disk full",
        faults="no room in the engine cache (a tmpfs of 40 MB): at the start, and under way",
        act=full_disk, rounds=1,
    ),
    Scenario(
        name="clock jumps",
        faults="the worker's wall clock jumps by half an hour ahead, two hours back, and home "
        "(libfaketime: what it reads as the time of day; waits that the kernel times do not jump)",
        act=jump, rounds=3, stamped_by="CreateTime",
    ),
    Scenario(
        name="clock a day ahead",
        faults="the worker's wall clock jumps a day ahead: the broker refuses what it stamps, the "
        "worker says so, is killed, and another goes on",
        act=far_ahead, rounds=1, repeats=True, stamped_by="CreateTime",
    ),
    Scenario(
        name="slow outputs",
        faults="a quota lets the worker publish 2 MB/s for 10 s",
        act=slow_outputs, rounds=3,
    ),
    Scenario(
        name="SIGTERM under load",
        faults="SIGTERM with a full queue, then another worker",
        act=terminate, rounds=5, rounds_bounded=1, bounded=(Guarantee.EXACTLY_ONCE,),
    ),
    Scenario(
        name="topic made again",
        faults="the topic is deleted and made again, after 3 s and at once, and filled further "
        "than before",
        act=remake_topic, rounds=3,
    ),
    Scenario(
        name="frames beside alerts",
        faults="frames of 30 MB are watched in the same process",
        act=frames_beside, rounds=4,
    ),
    Scenario(
        name="hostile messages",
        faults="among alerts: names of headers that are not UTF-8, hundreds of headers, headers "
        "with our names, values that begin as alerts do",
        act=hostile_messages, rounds=3, rounds_bounded=1, bounded=(Guarantee.EXACTLY_ONCE,),
    ),
    Scenario(
        name="batch that cannot be unpacked",
        faults="a batch of 20 MB of zeros where workers may unpack 3 MB: `/healthz` names the "
        "place once `kafka.stall_s` (5 s) is over, then the group's offset is set behind it, or "
        "the next worker may unpack more",
        act=unpackable, rounds=2,
    ),
    Scenario(
        name="same group.instance.id",
        faults="a worker comes under the name of another, which is fenced, ends with exit code 1 "
        "and says so",
        act=take_name, rounds=2, repeats=True,
    ),
    Scenario(
        name="same group.instance.id, newer protocol",
        faults="a worker comes under the name of another, is refused, ends with exit code 1 and "
        "says so",
        act=keep_name, rounds=2,
    ),
    Scenario(
        name="retention overtakes",
        faults="retention deletes what the group has not read, while its worker lags and while "
        "none is there: what has no answer is as much as was counted as skipped",
        act=overtaken, rounds=2,
    ),
    Scenario(
        name="new topics of a pattern",
        faults="topics that a pattern names come with alerts in them; `latest` skips what is there "
        "and counts it, and is refused with a pattern",
        act=new_topics, rounds=2,
    ),
    Scenario(
        name="outputs refuse all",
        faults="annotations and rejected topic take 200 bytes: the worker ends, and so does each "
        "next one, and nothing is committed without an answer until that is mended",
        act=refusing_outputs, rounds=1, repeats=True,
    ),
    Scenario(
        name="two configurations",
        faults="a worker with other priors joins two that are alike, and leaves, or is killed: "
        "gauge and log of all three say so meanwhile",
        act=differ, rounds=2, repeats=True,
    ),
    Scenario(
        name="brokers killed one by one",
        faults="kill -9 of each of three brokers under load; started again once the other two "
        "have gone on without it",
        act=roll_brokers, rounds=1, repeats=True, brokers=3,
    ),
    Scenario(
        name="two of three brokers killed",
        faults="kill -9 of two of three brokers at once, restart of one after 10 s: nothing is "
        "answered meanwhile; restart of the other once the stream has gone on",
        act=kill_two_brokers, rounds=1, repeats=True, brokers=3,
    ),
)  # fmt: skip
