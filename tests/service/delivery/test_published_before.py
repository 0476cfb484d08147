"""What is kept beside an offset says what is published of the messages behind it."""

import random

import pytest
from structlog.testing import capture_logs

from streamfilter.kafka.ledger import Place
from streamfilter.records import Origin
from streamfilter.service.delivery.parcel import Parcel
from streamfilter.service.delivery.published_before import (
    MOST_OPEN,
    PublishedBefore,
    PublishedState,
)

PARTITION = ("exposures", 3)


def parcel(origins: list[int], finished: list[int]) -> Parcel:
    """Records of these messages; of some nothing more will be published."""
    return Parcel(
        [],
        {Origin(*PARTITION, n): 0 for n in origins},
        tuple(Origin(*PARTITION, n) for n in finished),
        instead=lambda _, __: None,
        delivered=lambda _: None,
        dropped=lambda _: None,
    )


def states(published: PublishedBefore, first: int, count: int) -> list[int]:
    return [int(published.of(Origin(*PARTITION, first + n))) for n in range(count)]


def after_a_restart(published: PublishedBefore, offset: int) -> PublishedBefore:
    """What the next worker knows."""
    again = PublishedBefore()
    again.recall(PARTITION, Place(offset, published.note(PARTITION, offset, [])))
    return again


def test_a_restart_knows_what_is_published_behind_the_offset() -> None:
    """7 is open with its record out, 8 is all out, of 9 nothing is; what is before 7 is done."""
    published = PublishedBefore()
    done = [parcel([5, 6], [5, 6]), parcel([7], []), parcel([8], []), parcel([8], [8])]
    published.committed({PARTITION: Place(7)}, done)
    assert [0, 0, 1, 2, 0] == states(after_a_restart(published, 7), 5, 5)


def test_what_is_not_committed_is_not_published() -> None:
    """A note speaks of the parcels of its own transaction, which may be aborted."""
    published = PublishedBefore()
    note = published.note(PARTITION, 5, [parcel([5], []), parcel([6], [6])])
    again = PublishedBefore()
    again.recall(PARTITION, Place(5, note))
    assert [1, 2] == states(again, 5, 2)
    assert [0, 0] == states(published, 5, 2)


def test_nothing_is_kept_where_the_offset_covers_all() -> None:
    """The note of a partition without open exposures is empty."""
    assert "" == PublishedBefore().note(PARTITION, 7, [parcel([5, 6], [5, 6])])


def test_a_partition_that_comes_back_is_known_by_its_offset_alone() -> None:
    """Another worker may have published in between."""
    published = PublishedBefore()
    published.committed({PARTITION: Place(5)}, [parcel([5], [])])
    published.recall(PARTITION, Place(9))
    assert [0] == states(published, 5, 1)


@pytest.mark.parametrize("seed", range(3))
def test_any_states_of_the_most_open_messages_fit_beside_an_offset(seed: int) -> None:
    """Brokers keep 4096 bytes; also the worst mixture is read back as it was."""
    chance = random.Random(seed)
    found = [chance.choice(list(PublishedState)) for _ in range(MOST_OPEN)]
    published = PublishedBefore()
    out = [n for n, state in enumerate(found) if state]
    finished = [n for n, state in enumerate(found) if state is PublishedState.ALL]
    published.committed({PARTITION: Place(0)}, [parcel(out, finished)])
    note = published.note(PARTITION, 0, [])
    assert len(note) < 4096
    assert note.isascii()
    assert found == states(after_a_restart(published, 0), 0, MOST_OPEN)


@pytest.mark.parametrize("note", ["somebody else's", "1:!", "1:abcd", "1:é"])
def test_a_note_that_is_not_ours_is_said_and_left(note: str) -> None:
    """Another program committed in our group: nothing is suppressed."""
    published = PublishedBefore()
    with capture_logs() as events:
        published.recall(PARTITION, Place(5, note))
    assert "not known what was published; some may come twice" == events[0]["event"]
    assert [0] == states(published, 5, 1)
