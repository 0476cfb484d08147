"""Which offsets may be committed: the contiguous settled prefix of each partition."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from streamfilter.records import Origin

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where reading goes on in a partition, and what is kept beside it (at most 4 kB)."""

    offset: int
    note: str = ""


def partition_of(origin: Origin) -> Partition:
    """Where a message was read."""
    return origin.topic, origin.partition


@dataclass(slots=True)
class _Account:
    """One partition: what was read and is not yet part of the prefix, in the order of reading."""

    generation: int
    pending: OrderedDict[int, bool] = field(default_factory=OrderedDict)
    unsettled: int = 0
    next_offset: int | None = None
    marked: int | None = None


class Ledger:
    """The book of messages read and settled; it does no I/O and may be used by several threads.

    Offsets need not be consecutive: compacted topics and transactions leave gaps. A message that
    is read again while it is outstanding counts once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._accounts: dict[Partition, _Account] = {}
        self._forgotten = 0

    def track(self, origin: Origin) -> int:
        """A message was read.

        Returns
        -------
        int
            The generation of its partition: another one after the partition was given up.
        """
        with self._lock:
            account = self._accounts.get(partition_of(origin))
            if account is None:
                account = self._accounts[partition_of(origin)] = _Account(self._forgotten)
            if origin.offset not in account.pending:
                account.pending[origin.offset] = False
                account.unsettled += 1
            return account.generation

    def holds(self, origin: Origin, generation: int) -> bool:
        """Whether the partition was not given up since a message of this generation was read."""
        with self._lock:
            account = self._accounts.get(partition_of(origin))
            return account is not None and account.generation == generation

    def after(
        self, partitions: Iterable[Partition], finished: Collection[Origin]
    ) -> dict[Partition, int]:
        """Where reading would go on in partitions that are held, were these settled too."""
        with self._lock:
            return {
                each: _after(account, each, finished)
                for each in partitions
                if (account := self._accounts.get(each)) is not None
            }

    def settle(self, origin: Origin) -> None:
        """All outputs of a message are acknowledged; unknown and forgotten origins are ignored."""
        with self._lock:
            account = self._accounts.get(partition_of(origin))
            if account is None or account.pending.get(origin.offset, True):
                return
            account.pending[origin.offset] = True
            account.unsettled -= 1
            while account.pending:
                offset = next(iter(account.pending))
                if not account.pending[offset]:
                    return
                del account.pending[offset]
                account.next_offset = offset + 1

    def committable(self) -> dict[Partition, int]:
        """The offset to read next after a restart, where it moved since it was last committed."""
        with self._lock:
            return {
                partition: account.next_offset
                for partition, account in self._accounts.items()
                if account.next_offset is not None and account.next_offset != account.marked
            }

    def settled(self) -> dict[Partition, int]:
        """Of partitions of which all that was read is settled, the offset after the last."""
        with self._lock:
            return {
                partition: account.next_offset
                for partition, account in self._accounts.items()
                if account.next_offset is not None and not account.pending
            }

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has taken these offsets."""
        with self._lock:
            for partition, offset in offsets.items():
                if partition in self._accounts:
                    self._accounts[partition].marked = offset

    def span(self) -> int:
        """From the first message that is not settled to the last that was read, at the most."""
        with self._lock:
            return max(
                (
                    next(reversed(account.pending)) - next(iter(account.pending))
                    for account in self._accounts.values()
                    if account.pending
                ),
                default=0,
            )

    def waiting(self) -> dict[Partition, int]:
        """The first message of each partition that was read and is not settled."""
        with self._lock:
            return {
                partition: next(iter(account.pending))
                for partition, account in self._accounts.items()
                if account.pending
            }

    def outstanding(self, partitions: Iterable[Partition] | None = None) -> int:
        """How many messages were read and are not settled, in all or in some partitions."""
        with self._lock:
            wanted = self._accounts if partitions is None else partitions
            accounts = (self._accounts.get(each) for each in wanted)
            return sum(account.unsettled for account in accounts if account is not None)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These partitions were given up: what is outstanding there is another worker's now."""
        with self._lock:
            for partition in partitions:
                if self._accounts.pop(partition, None) is not None:
                    self._forgotten += 1


def _after(account: _Account, partition: Partition, finished: Collection[Origin]) -> int:
    last = -1
    for offset, settled in account.pending.items():
        if not settled and Origin(*partition, offset) not in finished:
            return offset
        last = offset
    return last + 1 if last >= 0 else account.next_offset or 0
