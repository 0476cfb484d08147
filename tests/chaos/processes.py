"""Workers and brokers that die, leave and come."""

import time

from stage import IN_FLIGHT, CannotBe, Stage

_STORM_S = 60.0  # a round of the storm


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


def storm(stage: Stage) -> None:
    """Workers join and leave all the while, every third of them without a word."""
    alive = [stage.start()]
    end = time.monotonic() + _STORM_S * stage.rounds
    with stage.flowing(per_s=25):
        while time.monotonic() < end:
            alive.append(stage.start())
            oldest = alive.pop(0)
            with stage.fault():
                if len(stage.faults) % 3 == 2:
                    oldest.kill()
                else:
                    stage.stop(oldest)
