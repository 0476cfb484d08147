"""A rehearsal and a backlog are not taken for a delay; a delay is."""

from streamfilter.records import FROM_FILES, Headers, Message, Origin
from streamfilter.service.live import Live, NotLive

NOW_S = 1_800_000_000.0
MINUTE_S, DAY_S = 60.0, 86_400.0


def sent(
    unix_s: float, partition: int = 0, headers: Headers = (), topic: str = "alerts"
) -> Message:
    return Message(Origin(topic, partition, 0), b"", None, round(unix_s * 1000), headers)


def why(live: Live, sent_s: float, read_s: float, light_s: float | None = None) -> NotLive | None:
    return live.why_not([(sent(sent_s), read_s)], light_s)


def test_what_comes_as_it_is_sent_is_live() -> None:
    """From the first message on, with its light of minutes ago or without."""
    live = Live()
    assert None is why(live, NOW_S, NOW_S + 0.01)
    assert None is why(live, NOW_S, NOW_S + 0.01, NOW_S - MINUTE_S)
    assert None is live.why_not([(Message(Origin("t", 0, 0), b""), NOW_S)], NOW_S - MINUTE_S)


def test_a_header_marks_what_is_replayed() -> None:
    """Whether it came from files or was rejected before."""
    for headers in (FROM_FILES, (("streamfilter-replayed", b"2"),)):
        message = sent(NOW_S, headers=headers)
        assert NotLive.REPLAYED is Live().why_not([(message, NOW_S)], None)


def test_light_of_another_day_is_an_archives() -> None:
    """A survey that is a few hours behind is late, and no archive."""
    assert NotLive.ARCHIVED is why(Live(), NOW_S, NOW_S, NOW_S - 2 * DAY_S)
    assert None is why(Live(), NOW_S, NOW_S, NOW_S - DAY_S / 2)


def test_what_waited_for_a_worker_is_backlog_and_so_is_what_came_meanwhile() -> None:
    """Until the partition caught up, after which a delay is one."""
    live, began_s = Live(), NOW_S
    assert NotLive.BACKLOG is why(live, began_s - 10 * MINUTE_S, began_s)
    assert NotLive.BACKLOG is why(live, began_s - MINUTE_S, began_s + MINUTE_S)
    assert NotLive.BACKLOG is why(live, began_s + MINUTE_S, began_s + 2 * MINUTE_S)
    assert None is why(live, began_s + 3 * MINUTE_S, began_s + 3 * MINUTE_S + 0.5)
    assert None is why(live, began_s + 4 * MINUTE_S, began_s + 6 * MINUTE_S)


def test_a_worker_that_never_catches_up_is_late() -> None:
    """It has as long as its first message had waited."""
    live = Live()
    assert NotLive.BACKLOG is why(live, NOW_S - 10 * MINUTE_S, NOW_S)
    assert NotLive.BACKLOG is why(live, NOW_S + 9 * MINUTE_S, NOW_S + 19 * MINUTE_S)
    assert None is why(live, NOW_S + 11 * MINUTE_S, NOW_S + 21 * MINUTE_S)


def test_each_partition_catches_up_for_itself() -> None:
    """One that comes from another worker may bring its own backlog."""
    live = Live()
    assert None is why(live, NOW_S, NOW_S)
    later = sent(NOW_S - MINUTE_S, partition=1)
    assert NotLive.BACKLOG is live.why_not([(later, NOW_S)], None)
    assert None is why(live, NOW_S, NOW_S + MINUTE_S)


def test_one_message_of_many_makes_a_verdict_not_live() -> None:
    """Of an exposure's detectors the first may have waited."""
    live = Live()
    pair = [(sent(NOW_S - MINUTE_S), NOW_S), (sent(NOW_S), NOW_S)]
    assert NotLive.BACKLOG is live.why_not(pair, None)
