"""Names of output topics; where the survey stands in one, each survey has a topic of its own."""

import re
from typing import Annotated

from pydantic import AfterValidator

_SURVEY = "{survey}"
_BRACES = re.compile(r"\{[^{}]*\}|[{}]")


def has_survey(topic: str) -> bool:
    """Whether each survey has a topic of its own by this name."""
    return _SURVEY in topic


def of_survey(topic: str, survey: str) -> str:
    """A topic's name for the alerts of a survey."""
    return topic.replace(_SURVEY, survey)


def _of_each_survey(topic: str) -> str:
    for found in _BRACES.findall(topic):
        if found != _SURVEY:
            raise ValueError(
                f"{topic!r}: found {found!r}; {_SURVEY} alone may stand in braces, for the name of "
                "the alert's survey"
            )
    return topic


def _of_no_survey(topic: str) -> str:
    for found in _BRACES.findall(topic):
        raise ValueError(
            f"{topic!r}: found {found!r}, but what comes here belongs to no survey, or was never "
            f"read; give it one topic: {_SURVEY} is for annotations, enriched, clean, contaminated"
        )
    return topic


OfEachSurvey = Annotated[str, AfterValidator(_of_each_survey)]
"""A topic of alerts that were read: it may be one for each survey."""
OfNoSurvey = Annotated[str, AfterValidator(_of_no_survey)]
"""A topic of messages that have no survey."""
