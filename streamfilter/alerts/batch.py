"""Grouping of items by number or deadline; the caller passes the time."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Key, Item]):
    """Items of one key, in the order in which they came."""

    key: Key
    items: tuple[Item, ...]


@dataclass(slots=True)
class _OpenBatch(Generic[Item]):
    """A batch that still collects items, and when the wait of its oldest item ends."""

    deadline_s: float
    items: list[Item] = field(default_factory=list)


class Batcher(Generic[Key, Item]):
    """Groups items by key, up to ``max_items`` or until the oldest has waited ``max_wait_s``.

    Only one thread may use it. ``now`` is the time in seconds of any clock that never goes back.
    """

    def __init__(self, *, max_items: int = 16, max_wait_s: float = 0.020) -> None:
        if max_items < 1 or max_wait_s < 0:
            raise ValueError(
                f"max_items is {max_items} and max_wait_s {max_wait_s}; "
                "they must be at least 1 and 0"
            )
        self._max_items = max_items
        self._max_wait_s = max_wait_s
        self._open: dict[Key, _OpenBatch[Item]] = {}

    def __len__(self) -> int:
        """Returns the number of waiting items."""
        return sum(len(group.items) for group in self._open.values())

    def add(self, key: Key, item: Item, now: float) -> Batch[Key, Item] | None:
        """Add an item; returns the batch that it completes, else None."""
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = _OpenBatch(now + self._max_wait_s)
        group.items.append(item)
        return self._take(key) if len(group.items) >= self._max_items else None

    def due(self, now: float) -> list[Batch[Key, Item]]:
        """Returns the batches whose oldest item has waited long enough, oldest first."""
        keys = [key for key, group in self._open.items() if group.deadline_s <= now]
        return [self._take(key) for key in keys]

    def next_deadline(self) -> float | None:
        """Returns the time of the next ``due`` batch; None while nothing waits."""
        return min((group.deadline_s for group in self._open.values()), default=None)

    def flush(self) -> list[Batch[Key, Item]]:
        """Returns everything that waits, oldest first."""
        return [self._take(key) for key in list(self._open)]

    def _take(self, key: Key) -> Batch[Key, Item]:
        return Batch(key, tuple(self._open.pop(key).items))
