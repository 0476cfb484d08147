"""Rejected messages read back from their headers."""

import pytest

from streamfilter.headers import HEADERS
from streamfilter.records import Headers, Message, Origin
from streamfilter.rejections import MOST_REPLAYS, Rejection, rejection_of, replay_of

OURS: Headers = (
    ("streamfilter-reason", b"avro_malformed"),
    ("streamfilter-detail", b"a length of 900, expected at most 12 at byte 40"),
    ("streamfilter-schema-id", b"1100"),
    ("streamfilter-timestamp", b"1700000000000"),
    ("streamfilter-version", b"0.1.0"),
    ("streamfilter-topic", b"alerts"),
    ("streamfilter-partition", b"3"),
    ("streamfilter-offset", b"77"),
)


def rejection(*extra: tuple[str, bytes | None], value: bytes | None = b"abc") -> Rejection:
    found = rejection_of(Message(Origin("rejected", 0, 5), value, b"k", 1, (*extra, *OURS)))
    assert found is not None
    return found


def test_the_headers_say_why_and_from_where() -> None:
    """They also give the byte where decoding failed, and the original's timestamp."""
    found = rejection()
    assert Origin("alerts", 3, 77) == found.origin
    assert ("avro_malformed", 40, "1100") == (found.reason, found.byte, found.schema_id)
    assert (1_700_000_000_000, 0, None) == (
        found.timestamp_ms, found.replayed, found.why_not_replayable
    )  # fmt: skip


def test_a_message_without_a_reason_is_none_of_ours() -> None:
    """Others may write to the rejected topic too."""
    assert rejection_of(Message(Origin("rejected", 0, 5), b"x")) is None


@pytest.mark.parametrize("text", [b"", b"-1", b"x", b"\xff", "\u00b2".encode(), b"9" * 5000])
def test_numbers_that_are_none_leave_the_origin_unknown(text: bytes) -> None:
    """Headers are bytes that anyone may write."""
    headers = tuple(each for each in OURS if each[0] != "streamfilter-offset")
    stored = Message(Origin("r", 0, 5), b"x", None, None, (*headers, ("streamfilter-offset", text)))
    found = rejection_of(stored)
    assert found is not None
    assert found.origin is None


def test_a_replay_is_the_original_with_one_mark() -> None:
    """Bytes, key and headers as they came; none of what we wrote when it was rejected."""
    output = replay_of(rejection(("producer_timestamp", b"12")), "again")
    assert ("again", b"abc", b"k") == (output.topic, output.value, output.key)
    assert (("producer_timestamp", b"12"), ("streamfilter-replayed", b"1")) == output.headers


def test_what_was_replayed_too_often_is_left() -> None:
    """The mark is counted up, and bounds how often a message goes round."""
    assert (("streamfilter-replayed", b"3"),) == replay_of(
        rejection(("streamfilter-replayed", b"2")), "t"
    ).headers
    text = str(MOST_REPLAYS).encode()
    assert "replayed 3 times" in str(rejection(("streamfilter-replayed", text)).why_not_replayable)


def test_what_has_no_bytes_is_left() -> None:
    """The message was too large for the rejected topic."""
    assert "no bytes" in str(rejection(value=None).why_not_replayable)


def test_every_header_read_is_one_that_is_written() -> None:
    """The encoder's table names them all."""
    assert {name for name, _ in OURS} <= set(HEADERS)
