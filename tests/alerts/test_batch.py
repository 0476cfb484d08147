"""Batches are handed on when they are full or their oldest item has waited long enough."""

import pytest

from streamfilter.alerts.batch import Batch, Batcher


def fill(batcher: Batcher[int, str], items: str, *, key: int = 64, now: float = 0.0) -> None:
    for item in items:
        batcher.add(key, item, now)


def test_a_full_batch_is_handed_on_at_once_in_order() -> None:
    """The item that fills a batch takes it along."""
    batcher: Batcher[int, str] = Batcher(max_items=3)
    fill(batcher, "ab")
    assert Batch(64, ("a", "b", "c")) == batcher.add(64, "c", 0.0)
    assert batcher.next_deadline() is None


def test_keys_fill_apart() -> None:
    """Stamps of another side do not fill a batch."""
    batcher: Batcher[int, str] = Batcher(max_items=2)
    assert batcher.add(64, "a", 0.0) is None
    assert batcher.add(96, "b", 0.0) is None
    assert Batch(64, ("a", "c")) == batcher.add(64, "c", 0.0)


def test_the_deadline_counts_from_the_oldest_item() -> None:
    """Later items do not put off what waits already."""
    batcher: Batcher[int, str] = Batcher(max_wait_s=0.5)
    batcher.add(64, "a", 10.0)
    batcher.add(64, "b", 10.4)
    assert 10.5 == batcher.next_deadline()
    assert [] == batcher.due(10.4)
    assert [Batch(64, ("a", "b"))] == batcher.due(10.5)


def test_what_follows_a_full_batch_has_its_own_deadline() -> None:
    """The clock starts anew with the first item after a batch was taken."""
    batcher: Batcher[int, str] = Batcher(max_items=2, max_wait_s=1.0)
    fill(batcher, "ab", now=0.0)
    batcher.add(64, "c", 0.9)
    assert 1.9 == batcher.next_deadline()


def test_only_due_keys_are_handed_on() -> None:
    """A younger key waits on, and its deadline is the next one."""
    batcher: Batcher[int, str] = Batcher(max_wait_s=1.0)
    batcher.add(96, "old", 0.0)
    batcher.add(64, "young", 0.5)
    assert [Batch(96, ("old",))] == batcher.due(1.0)
    assert 1.5 == batcher.next_deadline()


def test_flush_hands_on_everything_once() -> None:
    """After a flush nothing waits."""
    batcher: Batcher[int, str] = Batcher()
    fill(batcher, "ab")
    fill(batcher, "c", key=96)
    assert 3 == len(batcher)
    assert [Batch(64, ("a", "b")), Batch(96, ("c",))] == batcher.flush()
    assert [] == batcher.flush()


@pytest.mark.parametrize(("items", "wait_s"), [(0, 0.02), (16, -1.0)])
def test_bounds_that_could_never_work_are_refused(items: int, wait_s: float) -> None:
    """An empty batch and a deadline in the past are no settings."""
    with pytest.raises(ValueError, match="max_items"):
        Batcher(max_items=items, max_wait_s=wait_s)
