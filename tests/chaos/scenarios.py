"""The scenarios: what is broken while alerts flow."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stage import GUARANTEES, IN_FLIGHT, CannotBe, Guarantee, Stage

Act = Callable[[Stage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the report: what is done, how often, and what may come of it.

    Attributes
    ----------
    faults
        What is done, in a few words.
    rounds
        How often, in the whole run and in the bounded one; 0: not in the bounded one.
    repeats
        Whether at-least-once may publish alerts again.
    """

    name: str
    faults: str
    act: Act
    rounds: int
    rounds_bounded: int = 0
    repeats: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    guarantees: tuple[Guarantee, ...] = GUARANTEES


def kill_workers(stage: Stage) -> None:
    """Each worker is killed with alerts in the network; the next one goes on for it."""
    stage.send(50 * stage.rounds + 150)
    for turn in range(stage.rounds):
        worker = stage.start()
        stage.wait_answered(40 * (turn + 1))
        stage.wait_in_network(worker)
        with stage.fault():
            worker.kill()
    stage.start()


def kill_broker(stage: Stage) -> None:
    """The broker is killed under load and started again on the same data."""
    node = stage.broker.node
    if node is None:
        raise CannotBe("the broker is not ours to kill (STREAMFILTER_TEST_BOOTSTRAP)")
    stage.start()
    with stage.flowing(per_s=30):
        for turn in range(stage.rounds):
            stage.wait_answered(60 * (turn + 1))
            with stage.fault():
                node.kill()
            time.sleep(2)
            node.start()
    stage.send(IN_FLIGHT)


def poison(stage: Stage) -> None:
    """One message in three of one partition is damaged; the others hold good alerts."""
    stage.start()
    with stage.fault():
        stage.send(40 * stage.rounds, partitions=(0,), damaged_every=3)
    stage.send(80 * stage.rounds, partitions=(1, 2, 3))


def terminate(stage: Stage) -> None:
    """SIGTERM with a full queue; the next worker goes on where it left off."""
    stage.send(80 * stage.rounds + 60)
    for turn in range(stage.rounds):
        worker = stage.start()
        stage.wait_answered(50 * (turn + 1))
        stage.wait_in_network(worker)
        with stage.fault():
            stage.stop(worker)
    stage.start()


SCENARIOS = (
    Scenario(
        name="worker killed",
        faults="kill -9 of the worker with alerts in the network",
        act=kill_workers, rounds=10, rounds_bounded=2, repeats=True,
    ),
    Scenario(
        name="broker killed",
        faults="kill -9 of the broker under load, restart after 2 s",
        act=kill_broker, rounds=3, rounds_bounded=1, repeats=True,
    ),
    Scenario(
        name="poisoned partition",
        faults="one message in three of a partition is cut short",
        act=poison, rounds=3, rounds_bounded=1,
    ),
    Scenario(
        name="SIGTERM under load",
        faults="SIGTERM with a full queue, then another worker",
        act=terminate, rounds=5, rounds_bounded=1,
    ),
)  # fmt: skip
