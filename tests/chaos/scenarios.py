"""The scenarios: what is broken while alerts flow, how often, and what may come of it."""

from collections.abc import Callable
from dataclasses import dataclass

from inputs import frames_beside, poison, remake_topic
from processes import freeze, kill_broker, kill_workers, storm, terminate
from stage import Guarantee, Stage
from surroundings import far_ahead, full_disk, jump, registry_trouble, slow_outputs


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
    """

    name: str
    faults: str
    act: Callable[[Stage], None]
    rounds: int
    rounds_bounded: int = 0
    repeats: bool = False
    stamped_by: str = "LogAppendTime"
    bounded: tuple[Guarantee, ...] = tuple(Guarantee)


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
        "worker ends and says so, another worker goes on",
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
)  # fmt: skip
