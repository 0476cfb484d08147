"""Which topics settings name, and for whom."""

from streamfilter.config import Settings
from streamfilter.service.assembly.topics import named_topics


def test_labels_have_a_topic_that_no_worker_needs() -> None:
    """`topics create` makes it; a worker starts without it."""
    settings = Settings.model_validate({"outputs": {"labels": "said"}})
    assert "said" in {topic.name for topic in named_topics(settings)}
    assert "said" not in {topic.name for topic in named_topics(settings, ["alerts"])}
