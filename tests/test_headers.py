"""The headers of what is published, and what a rejected message becomes."""

from factories import make_message

from streamfilter import __version__
from streamfilter.errors import Reason
from streamfilter.headers import rejected_message
from streamfilter.records import Rejected


def test_a_rejection_keeps_the_value_and_says_why() -> None:
    """The original bytes and headers, the reason, and the place of the original."""
    rejected = Rejected(make_message(b"\x00\xff"), Reason.SCHEMA_UNKNOWN, "id 7 " * 400, 7)
    value, headers = rejected_message(rejected)
    assert b"\x00\xff" == value
    assert {
        "producer_timestamp": b"1765000029000",
        "streamfilter-reason": b"schema_unknown",
        "streamfilter-detail": b"id 7 " * 200,
        "streamfilter-schema-id": b"7",
        "streamfilter-timestamp": b"1765000030000",
        "streamfilter-version": __version__.encode(),
        "streamfilter-topic": b"lsst-alerts-v10",
        "streamfilter-partition": b"7",
        "streamfilter-offset": b"123456789",
    } == dict(headers)


def test_a_rejected_tombstone_stays_one() -> None:
    """A message without a value is published without a value."""
    value, _ = rejected_message(Rejected(make_message(None), Reason.EMPTY, "no value"))
    assert value is None
