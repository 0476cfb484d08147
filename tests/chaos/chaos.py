"""The chaos suite: runs every scenario on a real Kafka, audits it, and writes the report.

``make chaos``; ``python tests/chaos/chaos.py --only 'broker killed'`` for one.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE.parent / each) for each in ("kafka_server", "integration", "deploy", "chaos")
]

from audit import faults_found  # noqa: E402
from kafka_cluster import Cluster  # noqa: E402
from kafka_desk import Broker  # noqa: E402
from kafka_node import KafkaNode  # noqa: E402
from report import Outcome, line, write  # noqa: E402
from scenarios import SCENARIOS, Scenario  # noqa: E402
from stage import CannotBe, Guarantee, stage  # noqa: E402

from streamfilter.inference import manifest  # noqa: E402
from streamfilter.inference.cache import default_home  # noqa: E402
from streamfilter.inference.fetch import fetch  # noqa: E402


def run(
    scenario: Scenario,
    guarantee: Guarantee,
    broker: Broker,
    folder: Path,
    home: Path,
    *,
    rounds: int,
) -> Outcome:
    """Act a scenario once, and hold what came out against what went in.

    Raises
    ------
    CannotBe
        This machine has not what the fault takes.
    """
    started = time.monotonic()
    with stage(
        broker, folder, home, guarantee, rounds=rounds, stamped_by=scenario.stamped_by
    ) as made:  # fmt: skip
        try:
            scenario.act(made)
        except AssertionError as stuck:  # the audit still says what came of it
            made.wrong.append(str(stuck))
        seen = made.settle()
        may_repeat = scenario.repeats and guarantee is Guarantee.AT_LEAST_ONCE
        allowed = sum(each.exposed for each in made.faults) if may_repeat else 0
        wrong = faults_found(seen, most_repeated=allowed) + made.wrong
        if not made.faults:
            wrong.append("no fault happened")
        return Outcome(
            scenario=scenario.name, guarantee=guarantee, account=seen,
            count=len(made.faults), recoveries_s=tuple(made.recoveries_s), allowed=allowed,
            remarks=tuple(made.remarks), wrong=tuple(wrong), took_s=time.monotonic() - started,
        )  # fmt: skip


def main() -> int:
    """Run what is asked for; 1 where a guarantee was not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--report", type=Path, help="write the table there, beside what it holds")
    parser.add_argument("--only", action="append", help="name of a scenario")
    parser.add_argument("--guarantee", action="append", type=Guarantee, choices=list(Guarantee))
    parser.add_argument("--keep", type=Path, help="folder for logs; it must not exist")
    chosen = parser.parse_args()
    home = default_home(os.environ)
    for name in manifest.names():
        fetch(name, home, progress=print)
    kept = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as made:
        scratch = chosen.keep or Path(made)
        scratch.mkdir(parents=True, exist_ok=True)
        for outcome in outcomes(chosen, scratch, home):
            kept.append(not outcome.wrong)
            print(line(outcome), flush=True)
            if chosen.report:
                write(chosen.report, outcome, {each.name: each.faults for each in SCENARIOS})
    return 0 if kept and all(kept) else 1


def outcomes(chosen: argparse.Namespace, scratch: Path, home: Path) -> Iterator[Outcome]:
    """Run what is asked for, one after the other."""
    with ExitStack() as running:
        brokers: dict[int, Broker] = {}
        for scenario in SCENARIOS:
            if chosen.only and scenario.name not in chosen.only:
                continue
            if (count := scenario.brokers) not in brokers:
                brokers[count] = running.enter_context(started(count, scratch))
            for guarantee in chosen.guarantee or tuple(Guarantee):
                folder = scratch / f"{scenario.name} {guarantee}".replace(" ", "-")
                folder.mkdir()
                rounds = scenario.rounds
                try:
                    yield run(scenario, guarantee, brokers[count], folder, home, rounds=rounds)
                except CannotBe as why:
                    yield Outcome(scenario=scenario.name, guarantee=guarantee, left_out=str(why))


@contextmanager
def started(count: int, scratch: Path) -> Iterator[Broker]:
    """One broker, or a cluster."""
    folder = scratch / f"brokers-{count}"
    folder.mkdir()
    if count == 1:
        node = KafkaNode(folder)
        node.start()
        try:
            yield Broker(node.bootstrap, node)
        finally:
            node.remove()
    else:
        cluster = Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.remove()


if __name__ == "__main__":
    sys.exit(main())
