"""Grouping by size or deadline: pure, the clock is passed in."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Key, Item]):
    """Items of one key in the order of their arrival."""

    key: Key
    items: tuple[Item, ...]


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    """Items that wait for company, and until when the oldest may wait."""

    deadline_s: float
    items: list[Item] = field(default_factory=list)


class Batcher(Generic[Key, Item]):
    """Groups items of a key until they are ``max_items`` or the oldest has waited ``max_wait_s``.

    Not for several threads at once; ``now`` is any clock in seconds that does not go back.
    """

    def __init__(self, *, max_items: int = 16, max_wait_s: float = 0.020) -> None:
        if max_items < 1 or max_wait_s < 0:
            raise ValueError(
                f"max_items is {max_items} and max_wait_s {max_wait_s}; "
                "they must be at least 1 and 0"
            )
        self._max_items = max_items
        self._max_wait_s = max_wait_s
        self._waiting: dict[Key, _Waiting[Item]] = {}

    def __len__(self) -> int:
        """Items that wait."""
        return sum(len(group.items) for group in self._waiting.values())

    def add(self, key: Key, item: Item, now: float) -> Batch[Key, Item] | None:
        """Let an item wait; the batch that it fills, if it does."""
        group = self._waiting.get(key)
        if group is None:
            group = self._waiting[key] = _Waiting(now + self._max_wait_s)
        group.items.append(item)
        return self._take(key) if len(group.items) >= self._max_items else None

    def due(self, now: float) -> list[Batch[Key, Item]]:
        """Batches whose oldest item has waited long enough, oldest first."""
        keys = [key for key, group in self._waiting.items() if group.deadline_s <= now]
        return [self._take(key) for key in keys]

    def next_deadline(self) -> float | None:
        """When ``due`` will next have something; None while nothing waits."""
        return min((group.deadline_s for group in self._waiting.values()), default=None)

    def flush(self) -> list[Batch[Key, Item]]:
        """Everything that waits, oldest first."""
        return [self._take(key) for key in list(self._waiting)]

    def _take(self, key: Key) -> Batch[Key, Item]:
        return Batch(key, tuple(self._waiting.pop(key).items))
