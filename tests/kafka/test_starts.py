"""Where reading begins is decided without a broker, and what would skip alerts is refused."""

import pytest

from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.starts import Skip, Start, refuse_skipping, start_of


@pytest.mark.parametrize(
    ("policy", "stood", "start"),
    [
        ("earliest", None, Start(10)),
        ("latest", None, Start(20, range(10, 20), Skip.LATEST)),
        ("earliest", 5, Start(10, range(5, 10), Skip.RETENTION)),
        ("latest", 5, Start(10, range(5, 10), Skip.RETENTION)),
        ("earliest", 30, Start(10)),
    ],
)
def test_where_reading_begins(policy: str, stood: int | None, start: Start) -> None:
    """Of a topic that holds offsets 10 to 19; as little is skipped as can be."""
    assert start == start_of(policy, stood, 10, 20)


def test_nothing_is_skipped_of_a_topic_that_holds_nothing() -> None:
    """Reading begins where the next message will stand."""
    assert Start(10) == start_of("latest", None, 10, 10)


@pytest.mark.parametrize(
    ("policy", "topic", "words"),
    [
        ("latest", "^ztf_.*", r"pattern.*--reset-offsets --to-latest"),
        ("newest", "ztf", "'newest'; expected earliest, latest or error"),
    ],
)
def test_what_would_skip_alerts_is_refused(policy: str, topic: str, words: str) -> None:
    """The first messages of each night's topic would be skipped; the words say what to do."""
    with pytest.raises(ConfigurationInvalid, match=words):
        refuse_skipping(policy, (topic,))
