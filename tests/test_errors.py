"""The messages of failures."""

from streamfilter.errors import MessageRejected, Reason


def test_a_message_cannot_write_to_a_terminal() -> None:
    """What it put into a reason is escaped: colours, new lines, halves of characters."""
    found = MessageRejected(Reason.SURVEY_UNKNOWN, "record 'ä\x1b[31m\n\ud800\x9b'", 7).detail
    assert "record 'ä\\x1b[31m\\n\\ud800\\x9b' at byte 7" == found
    assert found.encode()
