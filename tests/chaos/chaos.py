"""The chaos suite: runs every scenario on a real Kafka, audits it, and writes the report.

``make chaos``; ``python tests/chaos/chaos.py --only 'broker killed'`` for one.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE.parent / each) for each in ("kafka_server", "integration", "deploy", "chaos")
]

from audit import faults_found  # noqa: E402
from kafka_desk import Broker  # noqa: E402
from kafka_node import KafkaNode  # noqa: E402
from report import Outcome, line, write  # noqa: E402
from scenarios import SCENARIOS, Scenario  # noqa: E402
from stage import CannotBe, Guarantee, stage  # noqa: E402

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
        broker, folder, home, guarantee, rounds=rounds, settings=scenario.settings,
        stamped_by=scenario.stamped_by,
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
            scenario=scenario.name, faults=scenario.faults, guarantee=guarantee, account=seen,
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
    parser.add_argument("--bounded", action="store_true", help="as `make test` runs them")
    chosen = parser.parse_args()
    home = default_home(os.environ)
    for name in ("maximask", "maxitrack"):
        fetch(name, home, progress=print)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as made:
        scratch = chosen.keep or Path(made)
        scratch.mkdir(parents=True, exist_ok=True)
        node = KafkaNode(scratch)
        node.start()
        broker = Broker(node.bootstrap, node)
        try:
            for scenario in SCENARIOS:
                rounds = scenario.rounds_bounded if chosen.bounded else scenario.rounds
                if not rounds or (chosen.only and scenario.name not in chosen.only):
                    continue
                usual = scenario.bounded if chosen.bounded else tuple(Guarantee)
                for guarantee in chosen.guarantee or usual:
                    folder = scratch / f"{scenario.name} {guarantee}".replace(" ", "-")
                    folder.mkdir()
                    try:
                        outcome = run(scenario, guarantee, broker, folder, home, rounds=rounds)
                    except CannotBe as why:
                        outcome = Outcome.not_run(scenario.name, scenario.faults, guarantee, why)
                    outcomes.append(outcome)
                    print(line(outcome), flush=True)
        finally:
            node.remove()
    if chosen.report:
        write(chosen.report, outcomes, {each.name: each.faults for each in SCENARIOS})
    return 1 if not outcomes or any(each.wrong for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
