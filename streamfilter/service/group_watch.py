"""Warns when the members of a consumer group have different settings.

Members with different settings share the messages of a topic, and each of them works well alone,
so nothing else reveals the difference. The client id of a worker contains a digest of the settings
that decide verdicts and outputs, and brokers list the client ids of a group.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from streamfilter.errors import ConfigurationInvalid, TransportFailed

log = structlog.get_logger(__name__)

_PREFIX = "streamfilter-"
_OURS = re.compile(rf"{_PREFIX}([0-9a-f]{{12}})")
_INTERVAL_S = 60.0
"""Between two comparisons without a rebalance: a new member need not move any partition of ours."""
_TICK_S = 0.5

Question = Callable[[], tuple[str, ...] | None]
"""A question that is polled: returns the members' client ids, or None until they are known."""


def client_id(digest: str) -> str:
    """Returns the client id of a worker whose settings have no ``client.id``."""
    return f"{_PREFIX}{digest}"


def digest_in(name: str) -> str | None:
    """Returns the digest in a client id; None if it contains none."""
    found = _OURS.fullmatch(name)
    return None if found is None else found[1]


def others(own: str, client_ids: Sequence[str]) -> Counter[str]:
    """Counts the members with other settings, by their digest or, without one, by their client id.

    Returns
    -------
    Counter
        Empty if ``own`` contains no digest, since there is then nothing to compare with.
    """
    if digest_in(own) is None:
        return Counter()
    return Counter(digest_in(each) or each for each in client_ids if each != own)


class GroupWatch:
    """Compares the members at the start, after each rebalance, and once a minute.

    Parameters
    ----------
    group
        The name of the group, for the log.
    own
        The client id of this worker.
    ask
        Starts a question about the members of the group.
    rebalances
        Returns the number of rebalances so far.
    show
        Takes the number of different settings in the group, for the metrics.
    """

    def __init__(
        self,
        group: str,
        own: str,
        *,
        ask: Callable[[], Question],
        rebalances: Callable[[], int],
        show: Callable[[int], None],
    ) -> None:
        self._group, self._own = group, own
        self._ask, self._rebalances, self._show = ask, rebalances, show
        self._before: Counter[str] = Counter()

    def watch(self, stopping: Callable[[], bool]) -> None:
        """Compares the members until the worker stops; a failed question is only logged."""
        if digest_in(self._own) is None:
            log.info("members not compared", group=self._group, client_id=self._own)
            return
        compared, due_s = -1, 0.0
        while not stopping():
            moved = self._rebalances() != compared
            if moved or time.monotonic() >= due_s:
                compared, due_s = self._rebalances(), time.monotonic() + _INTERVAL_S
                self._compare(stopping, moved=moved)
            time.sleep(_TICK_S)

    def _compare(self, stopping: Callable[[], bool], *, moved: bool) -> None:
        try:
            question = self._ask()
            while (members := question()) is None:
                if stopping():
                    return
                time.sleep(_TICK_S / 5)
        except (TransportFailed, ConfigurationInvalid) as error:
            log.debug("members not known", group=self._group, detail=str(error))
            return
        self._report(others(self._own, members), moved=moved)

    def _report(self, differing: Counter[str], *, moved: bool) -> None:
        self._show(1 + len(differing))
        if differing and (moved or differing != self._before):
            log.warning(
                "members differ",
                group=self._group,
                own=digest_in(self._own),
                others=dict(differing),
                mend="give all workers of the group the same settings, or a group of their own",
            )
        elif self._before and not differing:
            log.info("members alike", group=self._group)
        self._before = differing
