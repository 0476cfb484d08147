"""Workers and brokers that die, leave, freeze and come."""

import signal
import time
from collections.abc import Callable

from filter_process import FilterProcess
from kafka_cluster import Cluster
from stage import IN_FLIGHT, CannotBe, Guarantee, Stage, consumer

_STORM_S = 60.0  # a round of the storm
_OUTAGE_S = 8.0  # two of three brokers are away
# So long the group waits for a member that was killed; where none is, a busy machine loses none.
_SESSION = consumer(session_timeout_ms=10_000)


def kill_workers(stage: Stage) -> None:
    """Each worker is killed; the next one goes on for it."""
    stage.settings |= _SESSION
    _relay(stage, FilterProcess.kill)


def terminate(stage: Stage) -> None:
    """Each worker is told to end; the next one goes on where it left off."""
    _relay(stage, stage.stop)


def _relay(stage: Stage, leave: Callable[[FilterProcess], None]) -> None:
    """Workers follow each other, each leaves with alerts in the network and a full queue."""
    stage.send(60 * stage.rounds + 100)
    for turn in range(stage.rounds):
        worker = stage.start()
        stage.wait_answered(40 * (turn + 1))
        stage.wait_in_network(worker)
        with stage.fault():
            leave(worker)
    stage.start()


def freeze(stage: Stage) -> None:
    """A worker is frozen until another has taken its place, its name too, and then goes on."""
    stage.settings |= _SESSION
    with stage.flowing(per_s=25):
        worker = stage.start()
        for turn in range(stage.rounds):
            stage.wait_answered(60 * (turn + 1))
            stage.wait_in_network(worker)
            with stage.fault():
                worker.process.send_signal(signal.SIGSTOP)
            follower = stage.start(follows=worker)
            stage.wait_answered(len(stage.watch.keys) + 60)
            worker.process.send_signal(signal.SIGCONT)
            if stage.guarantee is Guarantee.EXACTLY_ONCE:
                # It finds out when it next has something to publish, and leaves the other alone.
                if (code := stage.wait_ended(worker)) != 1:
                    stage.wrong.append(f"{worker.log.name}: exit code {code}, not fenced")
            else:
                stage.stop(worker)
            worker = follower


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


def roll_brokers(stage: Stage) -> None:
    """One of three brokers after the other is killed; the other two go on without it."""
    cluster = _cluster(stage)
    stage.start()
    with stage.flowing(per_s=25):
        for node in cluster.nodes * stage.rounds:
            stage.wait_answered(len(stage.watch.keys) + 40)
            with stage.fault():
                node.kill()
            stage.wait_answered(len(stage.watch.keys) + 80)
            cluster.start(node)
    stage.send(IN_FLIGHT)


def kill_two_brokers(stage: Stage) -> None:
    """Two of three brokers are killed at once: all waits until one is back, and then goes on."""
    cluster = _cluster(stage)
    worker = stage.start()
    with stage.flowing(per_s=25):
        for turn in range(stage.rounds):
            stage.wait_answered(len(stage.watch.keys) + 60)
            first, last = (node for n, node in enumerate(cluster.nodes) if n != turn % 3)
            with stage.fault():
                first.kill()
                last.kill()
            time.sleep(2)  # answers that all three had are still read
            before = len(stage.watch.keys)
            time.sleep(_OUTAGE_S)
            if more := len(stage.watch.keys) - before:
                stage.wrong.append(f"{more} answers that one broker alone had")
            if worker.process.poll() is not None:
                stage.wrong.append(f"{worker.log.name} did not wait for the brokers")
            first.start()
            stage.wait_answered(len(stage.watch.keys) + 40)
            cluster.start(last)
    stage.send(IN_FLIGHT)


def _cluster(stage: Stage) -> Cluster:
    if not isinstance(stage.broker, Cluster):
        raise CannotBe("three brokers are not ours to kill (STREAMFILTER_TEST_BOOTSTRAP)")
    return stage.broker


def storm(stage: Stage) -> None:
    """Workers join and leave all the while, every third of them without a word."""
    stage.settings |= _SESSION
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
