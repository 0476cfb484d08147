"""What ``streamfilter demo`` says at the end."""

import pytest

from streamfilter.cli.demo import words
from streamfilter.demo.alerts import DAMAGED, Tally
from streamfilter.demo.side_by_side import REAL


def finished(seconds: float) -> Tally:
    """Ten alerts, all of them rejected, in so many seconds."""
    names = [str(number) for number in range(10)]
    tally = Tally(truth=dict(zip(names, [REAL, "CR", "TRL", *[DAMAGED] * 7], strict=True)))
    tally.copies.update({("rejected", name): 1 for name in names})
    tally.latencies_s, tally.started_s, tally.ended_s = [0.04] * 10, 100.0, 100.0 + seconds
    return tally


def test_every_name_in_the_table_is_explained() -> None:
    """Codes of classes are no words of a newcomer's."""
    assert words(finished(1.0), rate=10)[0] == (
        "real event: nothing was put in; CR: cosmic ray; TRL: trail; damaged: a packet cut short"
    )


@pytest.mark.parametrize(("seconds", "said"), [(1.0, False), (5.0, True)])
def test_a_machine_that_is_too_slow_is_told(seconds: float, said: bool) -> None:
    """Otherwise seconds in a queue look like the latency of the filter."""
    found = words(finished(seconds), rate=10)
    assert said == any("10 alerts/s were offered" in line for line in found)
    assert said == any("--rate 1 leaves room" in line for line in found)
