"""Two configurations in one group are noticed by both."""

from collections.abc import Callable

import structlog
from structlog.testing import capture_logs

from streamfilter.errors import TransportFailed
from streamfilter.service import group_watch
from streamfilter.service.group_watch import GroupWatch, client_id, digest_in, others

OWN, OTHER = client_id("0" * 12), client_id("1" * 12)


class Group:
    """Members as a broker tells of them: after one question that has no answer yet."""

    def __init__(self, *members: str) -> None:
        self.members: tuple[str, ...] | None = members
        self.rebalances = 1
        self.shown: list[int] = []
        self.looks = 0
        self._then: list[Callable[[], None]] = []

    def ask(self) -> group_watch.Question:
        self.looks += 1
        if self.members is None:
            raise TransportFailed("nobody answers")
        answers = iter((None, self.members))
        return lambda: next(answers)

    def then(self, *steps: Callable[[], None]) -> None:
        """What happens after each look."""
        self._then = list(steps)

    def stopping(self) -> bool:
        """Once all has happened; the watch asks after each look, and while it waits."""
        if len(self.shown) + (self.members is None) <= self._done:
            return False
        self._done += 1
        if not self._then:
            return True
        self._then.pop(0)()
        return False

    _done = 0

    def watched(self, own: str = OWN) -> list[str]:
        """The events of the log."""
        watch = GroupWatch(
            "g", own, ask=self.ask, rebalances=lambda: self.rebalances, show=self.shown.append
        )
        with capture_logs() as events:
            watch.watch(self.stopping)
        return [str(event["event"]) for event in events if event["log_level"] != "debug"]


def test_the_digest_is_read_back_from_the_name() -> None:
    """And from no other name."""
    assert "0" * 12 == digest_in(OWN)
    assert [None] * 3 == [digest_in(each) for each in ("rdkafka", f"{OWN}0", "my-" + OWN)]


def test_others_are_counted_by_digest_or_by_name() -> None:
    """Nothing is known where a name was given."""
    members = [OWN, OWN, OTHER, OTHER, "console-consumer"]
    assert {"1" * 12: 2, "console-consumer": 1} == others(OWN, members)
    assert {} == others(OWN, [OWN])
    assert {} == others("site-7", members)


def test_a_group_of_one_configuration_is_silent() -> None:
    """However many members it has."""
    group = Group(OWN, OWN)
    assert ([], [1]) == (group.watched(), group.shown)


def test_other_members_are_told_at_the_start_and_at_each_rebalance() -> None:
    """And that they went."""
    group = Group(OWN, OTHER)

    def rebalance() -> None:
        group.rebalances += 1

    def leave() -> None:
        group.members = (OWN,)
        group.rebalances += 1

    group.then(rebalance, leave)
    events = group.watched()
    assert ["members differ", "members differ", "members alike"] == events
    assert [2, 2, 1] == group.shown


def test_a_broker_that_does_not_tell_is_no_failure() -> None:
    """The worker works without."""
    group = Group()
    group.members = None
    assert [] == group.watched()
    assert [] == group.shown


def test_a_name_that_was_given_is_not_compared() -> None:
    """Quotas may hang on it; the log says so once."""
    group = Group("site-1", "site-2")
    structlog.reset_defaults()
    assert ["members not compared"] == group.watched("site-1")
    assert 0 == group.looks
