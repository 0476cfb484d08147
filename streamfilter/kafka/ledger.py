"""Which offsets may be committed: up to the first unsettled message of each partition."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from streamfilter.records import Origin

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(frozen=True, slots=True)
class Place:
    """The next offset to read in a partition, and the note committed with it (at most 4 kB)."""

    offset: int
    note: str = ""


def partition_of(origin: Origin) -> Partition:
    """Returns the partition of a message."""
    return origin.topic, origin.partition


@dataclass(slots=True)
class _Account:
    """The messages of one partition from the first unsettled one on, in the order of reading."""

    generation: int
    pending: OrderedDict[int, bool] = field(default_factory=OrderedDict)
    """By offset, whether the message is settled."""
    unsettled: int = 0
    next_offset: int | None = None
    committed: int | None = None


class Ledger:
    """Keeps which messages were read and which are settled; no I/O, any thread may call.

    Offsets need not be consecutive: compacted topics and transactions leave gaps. A message that is
    read again before it is settled counts once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._accounts: dict[Partition, _Account] = {}
        self._generation = 0

    def track(self, origin: Origin) -> int:
        """Note that a message was read.

        Returns
        -------
        int
            The generation of its partition, which changes when the partition is given up.
        """
        with self._lock:
            account = self._accounts.get(partition_of(origin))
            if account is None:
                account = self._accounts[partition_of(origin)] = _Account(self._generation)
            if origin.offset not in account.pending:
                account.pending[origin.offset] = False
                account.unsettled += 1
            return account.generation

    def holds(self, origin: Origin, generation: int) -> bool:
        """Returns whether the partition was kept since a message of this generation was read."""
        with self._lock:
            account = self._accounts.get(partition_of(origin))
            return account is not None and account.generation == generation

    def after(
        self, partitions: Iterable[Partition], finished: Collection[Origin]
    ) -> dict[Partition, int]:
        """Returns the next offset of each held partition as if ``finished`` were settled too."""
        with self._lock:
            return {
                each: _after(account, each, finished)
                for each in partitions
                if (account := self._accounts.get(each)) is not None
            }

    def settle(self, origin: Origin) -> None:
        """Note that all outputs of a message are acknowledged; unknown origins are ignored."""
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
        """Returns the next offset of each partition where it changed since the last commit."""
        with self._lock:
            return {
                partition: account.next_offset
                for partition, account in self._accounts.items()
                if account.next_offset is not None and account.next_offset != account.committed
            }

    def settled(self) -> dict[Partition, int]:
        """Returns the offset after the last message of each partition that is fully settled."""
        with self._lock:
            return {
                partition: account.next_offset
                for partition, account in self._accounts.items()
                if account.next_offset is not None and not account.pending
            }

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Note that the broker has committed these offsets."""
        with self._lock:
            for partition, offset in offsets.items():
                if partition in self._accounts:
                    self._accounts[partition].committed = offset

    def span(self) -> int:
        """Returns the largest distance, in offsets, from a first unsettled to a last message."""
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
        """Returns the first unsettled message of each partition."""
        with self._lock:
            return {
                partition: next(iter(account.pending))
                for partition, account in self._accounts.items()
                if account.pending
            }

    def outstanding(self, partitions: Iterable[Partition] | None = None) -> int:
        """Returns the number of unsettled messages, in all or in the given partitions."""
        with self._lock:
            wanted = self._accounts if partitions is None else partitions
            accounts = (self._accounts.get(each) for each in wanted)
            return sum(account.unsettled for account in accounts if account is not None)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop partitions that were given up: another worker reads their unsettled messages."""
        with self._lock:
            for partition in partitions:
                if self._accounts.pop(partition, None) is not None:
                    self._generation += 1


def _after(account: _Account, partition: Partition, finished: Collection[Origin]) -> int:
    last = -1
    for offset, settled in account.pending.items():
        if not settled and Origin(*partition, offset) not in finished:
            return offset
        last = offset
    return last + 1 if last >= 0 else account.next_offset or 0
