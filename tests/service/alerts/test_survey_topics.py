"""A survey without topics of its own costs its own alerts, and nothing else."""

from collections.abc import Sequence

import pytest

from streamfilter.errors import MessageRejected, Reason, TransportFailed
from streamfilter.service.alerts.survey_topics import SurveyTopics


class Brokers:
    """Topics that are there, and how often was asked."""

    def __init__(self, *topics: str) -> None:
        self.topics = set(topics)
        self.away = False
        self.asked = 0
        self.now_s = 0.0

    def absent(self, names: Sequence[str]) -> tuple[str, ...]:
        self.asked += 1
        if self.away:
            raise TransportFailed("nobody answers")
        return tuple(name for name in names if name not in self.topics)

    def survey_topics(self) -> SurveyTopics:
        return SurveyTopics(self.absent, lambda: self.now_s)


def test_topics_that_are_there_are_asked_for_once() -> None:
    """And those that no name asks for, never."""
    brokers = Brokers("notes-ztf", "clean-ztf")
    made = brokers.survey_topics()
    for _ in range(3):
        made.require("ztf", ("notes-ztf", "clean-ztf"))
        made.require("ztf", ())
        brokers.now_s += 1e6
    assert 1 == brokers.asked


def test_a_missing_topic_is_named_with_the_command_that_makes_it() -> None:
    """The alert is rejected, and can be sent in again."""
    brokers = Brokers("notes-ztf")
    with pytest.raises(MessageRejected) as caught:
        brokers.survey_topics().require("ztf", ("notes-ztf", "clean-ztf"))
    assert Reason.TOPIC_MISSING == caught.value.reason
    assert "survey ztf has no topic clean-ztf; make it" in caught.value.detail
    assert "streamfilter topics create --survey ztf --config FILE" in caught.value.detail


def test_a_topic_that_was_made_is_noticed() -> None:
    """Without a restart, and without a question for each alert."""
    brokers = Brokers()
    made = brokers.survey_topics()
    for _ in range(2):
        with pytest.raises(MessageRejected):
            made.require("ztf", ("clean-ztf",))
    brokers.topics.add("clean-ztf")
    with pytest.raises(MessageRejected):
        made.require("ztf", ("clean-ztf",))
    assert 1 == brokers.asked
    brokers.now_s += 31
    made.require("ztf", ("clean-ztf",))
    assert 2 == brokers.asked


def test_brokers_that_are_away_reject_no_alert() -> None:
    """The producer waits for them; they are asked again later."""
    brokers = Brokers()
    brokers.away = True
    made = brokers.survey_topics()
    for _ in range(2):
        made.require("ztf", ("clean-ztf",))
    brokers.away = False
    brokers.now_s += 31
    with pytest.raises(MessageRejected):
        made.require("ztf", ("clean-ztf",))
    assert 2 == brokers.asked
