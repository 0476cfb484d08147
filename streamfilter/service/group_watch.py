"""Do all members of a consumer group work by the same settings?

The client id carries a digest of what decides verdicts and outputs, and brokers show the client
ids of a group to its members. Two configurations in one group share the messages between them:
each looks well alone.
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
_LOOK_S = 60.0
"""Between two looks where nothing moved: a member may have come with no effect on this one."""
_TICK_S = 0.5

Question = Callable[[], tuple[str, ...] | None]
"""Polled: the client ids of the group's members once they are known, None until then."""


def client_id(digest: str) -> str:
    """How a worker that was given no name calls itself."""
    return f"{_PREFIX}{digest}"


def digest_in(name: str) -> str | None:
    """The digest that a client id carries; None where it carries none."""
    found = _OURS.fullmatch(name)
    return None if found is None else found[1]


def others(own: str, client_ids: Sequence[str]) -> Counter[str]:
    """Members with other settings, by digest, or by name where they show none.

    Nothing is known where this worker's own name was set by somebody: others' are then theirs.
    """
    if digest_in(own) is None:
        return Counter()
    return Counter(digest_in(each) or each for each in client_ids if each != own)


class GroupWatch:
    """Looks at the group at the start, after each rebalance, and now and then.

    Parameters
    ----------
    group
        Its name, for the log.
    own
        Client id of this worker.
    ask
        Begins a question for the group's members.
    rebalances
        How many there were.
    show
        Takes the number of configurations in the group, for the metrics.
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
        """Look until the worker stops; what cannot be known is no failure."""
        if digest_in(self._own) is None:
            log.info("members not compared", group=self._group, client_id=self._own)
            return
        seen, due_s = -1, 0.0
        while not stopping():
            moved = self._rebalances() != seen
            if moved or time.monotonic() >= due_s:
                seen, due_s = self._rebalances(), time.monotonic() + _LOOK_S
                self._look(stopping, moved=moved)
            time.sleep(_TICK_S)

    def _look(self, stopping: Callable[[], bool], *, moved: bool) -> None:
        try:
            question = self._ask()
            while (members := question()) is None:
                if stopping():
                    return
                time.sleep(_TICK_S / 5)
        except (TransportFailed, ConfigurationInvalid) as error:
            log.debug("members not known", group=self._group, detail=str(error))
            return
        self._tell(others(self._own, members), moved=moved)

    def _tell(self, found: Counter[str], *, moved: bool) -> None:
        self._show(1 + len(found))
        if found and (moved or found != self._before):
            log.warning(
                "members differ",
                group=self._group,
                own=digest_in(self._own),
                others=dict(found),
                mend="give all workers of the group the same settings, or a group of their own",
            )
        elif self._before and not found:
            log.info("members alike", group=self._group)
        self._before = found
